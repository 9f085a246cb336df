"""The least roles, by the very SQL that the documentation shows: one makes a backup, another one brings it back."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from resguardo.postgres.run import FOLDER_VARIABLE
from tests.fixtures.place import SECONDS, Place

DOCS = Path(__file__).parents[2] / "docs"
PASSWORD = "put-the-password-here"

#: All that a role must be let at: tables, row security, sequences, large objects, what only the owner may.
CONTENTS = [
    "CREATE TABLE peticoes (id bigint GENERATED ALWAYS AS IDENTITY, texto text)",
    "INSERT INTO peticoes (texto) SELECT 'petição ' || n FROM generate_series(1, 1000) n",
    "CREATE TABLE sigilosas (n int)",
    "INSERT INTO sigilosas SELECT generate_series(1, 7)",
    "ALTER TABLE sigilosas ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE sigilosas FORCE ROW LEVEL SECURITY",
    "CREATE POLICY nobody ON sigilosas USING (false)",
    "CREATE SEQUENCE protocolo START 2026",
    "SELECT lo_from_bytea(0, 'documento')",
]


def blocks(page: str, heading: str) -> list[str]:
    """The SQL under a heading."""
    _, _, section = (DOCS / page).read_text().partition(f"\n## {heading}\n")
    return re.findall(r"```sql\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)


def psql(place: Place, script: str, database: str) -> None:
    login = place.postgres.login
    done = subprocess.run(
        ["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-h", login.host, "-p", str(login.port), "-U", login.username, database],
        input=script, text=True, check=False, capture_output=True, timeout=SECONDS,
        env={"PATH": os.environ["PATH"], "PGPASSWORD": login.password},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture
def agepar(place: Place) -> Iterator[Place]:
    """The documentation's own names: the database agepar, which agepar_owner owns and PUBLIC may not enter."""
    drop = [
        'DROP DATABASE IF EXISTS "agepar" WITH (FORCE)',
        "DROP DATABASE IF EXISTS agepar_2 WITH (FORCE)",
        *(f"DROP ROLE IF EXISTS {role}" for role in ("resguardo", "resguardo_restore", "agepar_owner")),
    ]
    place.postgres.execute(
        *drop,
        "CREATE ROLE agepar_owner",
        "CREATE DATABASE agepar OWNER agepar_owner",
        "REVOKE CONNECT ON DATABASE agepar FROM PUBLIC",
    )
    place.postgres.execute(
        "GRANT CREATE ON SCHEMA public TO agepar_owner", "SET ROLE agepar_owner", *CONTENTS, database="agepar"
    )
    place.database = "agepar"
    if programs := os.environ.get(FOLDER_VARIABLE):  # where the server is not of this machine's version
        place.environment[FOLDER_VARIABLE] = programs
    yield place
    place.postgres.execute(*drop)


def test_the_least_roles_of_the_documentation_make_a_backup_and_bring_it_back(agepar: Place) -> None:
    backup_sql, _, large_objects = blocks("backuppolicy.md", "Rights of the database role")[:3]
    (restore_sql,) = blocks("restorerequest.md", "Rights of the role")

    # Each line of it is needed: before it, the check names what is missing
    agepar.postgres.execute(f"CREATE ROLE resguardo LOGIN PASSWORD '{PASSWORD}'")
    agepar.credentials(database__username="resguardo", database__password=PASSWORD)
    assert agepar.fail("check", "-f", agepar.policy()).reason == "PermissionDenied"
    agepar.postgres.execute("DROP ROLE resguardo")

    psql(agepar, backup_sql, "agepar")
    report = agepar.fail("check", "-f", agepar.policy())
    assert (report.reason, "large object" in report.message.lower()) == ("PermissionDenied", True)
    psql(agepar, large_objects, "agepar")
    checked, _, _ = agepar.run("check", "-f", agepar.policy())
    assert checked.succeeded, checked.message
    made, _, _ = agepar.run("backup", "-f", agepar.policy())
    assert made.succeeded, made.message

    psql(agepar, restore_sql, "postgres")
    if agepar.postgres.query("SHOW server_version_num")[0][0] >= "160000":
        psql(agepar, "GRANT agepar_owner TO resguardo_restore WITH INHERIT TRUE, SET TRUE", "postgres")
    agepar.credentials(database__username="resguardo_restore")
    agepar.database = "agepar_2"
    request = agepar.request("again")
    agepar.database = "agepar"
    restored, _, errors = agepar.run("restore", "-f", request, "-f", agepar.policy())
    assert restored.succeeded, (restored.message, errors)
    rows = agepar.postgres.query(
        "SELECT (SELECT count(*) FROM peticoes), (SELECT count(*) FROM sigilosas), "
        "(SELECT convert_from(lo_get(oid), 'UTF8') FROM pg_largeobject_metadata)",
        database="agepar_2",
    )
    assert rows == [(1000, 7, "documento")]
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'agepar_2'"
    assert agepar.postgres.query(owner) == [("agepar_owner",)]
    roles = "SELECT count(*) FROM pg_roles WHERE rolsuper AND rolname LIKE 'resguardo%'"
    assert agepar.postgres.query(roles) == [(0,)]
