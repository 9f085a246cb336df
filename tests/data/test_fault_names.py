"""Every string that a person may choose, with everything that some parser between could take for its own."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.fixtures.place import RESGUARDO, SECONDS, Place

pytestmark = pytest.mark.fault

SQL = 'x"; DROP TABLE "alunos"; --'
SHELL = "$(id) `id` ; rm -rf * | & > < !"
NAMES = {
    "quotes": "a'b\"c''d\"\"e",
    "spaces": "  a  b  ",
    "Unicode": "Município de São João — ção €",
    "percent": "100%s %(x)s %% %d",
    "newline": "first\nsecond\r\nthird",
    "backslash": "\\ \\\\ \\n \\' C:\\temp\\",
    "SQL": SQL,
    "shell": SHELL,
    "conninfo": "host=evil dbname='x' sslmode=disable",
    "URI": "postgres://a:b@evil/x?sslmode=disable&y=1#z",
    "an option": "--help -c x=y",
    "dollar quotes": "$$ $a$ :name :'x' {0} {x} ${HOME}",
    "pg_dump's pattern": "a.b*c?[d](e)|f^g",
    "63 bytes": "é" * 31 + "x",
    "control characters": "\t\x01\x1b[31m\x7f",
}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"


def as_prefix(name: str) -> str:
    """What of a name a prefix may hold: the model refuses line ends and control characters, and slashes at the ends."""
    return "".join(letter for letter in name if letter.isprintable()).replace("//", "/").strip("/ ")


def as_password(name: str) -> str:
    """A password file is lines of text, and says so where a password is not."""
    return "".join(letter for letter in name if letter not in "\r\n")


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_is_nothing_but_a_name_from_the_backup_to_the_restore(place: Place, name: str) -> None:
    assert len(name.encode()) <= 63
    role, password = name, as_password(name)
    place.postgres.execute(
        f"DROP DATABASE IF EXISTS {quoted(name)}",
        f"DROP ROLE IF EXISTS {quoted(role)}",
        f"CREATE ROLE {quoted(role)} SUPERUSER LOGIN PASSWORD {literal(password)}",
        f"CREATE DATABASE {quoted(name)} OWNER {quoted(role)}",
        f"COMMENT ON DATABASE {quoted(name)} IS {literal(name)}",
    )
    place.postgres.execute(
        f"CREATE SCHEMA {quoted(name)} AUTHORIZATION {quoted(role)}",
        f"CREATE TABLE {quoted(name)}.{quoted(name)} ({quoted(name)} text)",
        f"ALTER TABLE {quoted(name)}.{quoted(name)} OWNER TO {quoted(role)}",
        f"INSERT INTO {quoted(name)}.{quoted(name)} VALUES ({literal(name)})",
        database=name,
    )
    place.database, place.prefix = name, as_prefix(name)
    place.credentials(database__username=role, database__password=password)
    policy = place.policy()
    report, _, _ = place.run("backup", "-f", policy)
    assert report.backup is not None
    assert all(key.startswith(f"{place.prefix}/") for key in place.object_keys())

    environment = {"PATH": os.environ["PATH"], "RESGUARDO_CREDENTIALS": str(place.folder / "credentials")}
    for output in ("json", "wide"):
        listed = subprocess.run(
            [RESGUARDO, "catalog", "-f", policy, "-o", output],
            check=True, capture_output=True, timeout=SECONDS, env=environment,
        ).stdout  # fmt: skip
        assert report.backup.id.encode() in listed
        if output == "json":
            (manifest,) = json.loads(listed)["backups"]
            assert manifest["source"]["database"] == name
        else:
            assert b"\x1b" not in listed, "a name must not speak to the terminal"
            assert name.split(maxsplit=1)[0].encode() in listed or not name.isprintable()

    _, sql, _ = place.run("restore", "-f", place.request("sql"), "-f", policy, "--to-sql", "-")
    psql = place.postgres.fresh_database("by_psql")
    login = place.postgres.login
    subprocess.run(
        ["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-h", login.host, "-p", str(login.port), "-U", login.username, psql],
        input=sql, check=True, capture_output=True, timeout=SECONDS,
        env={"PATH": os.environ["PATH"], "PGPASSWORD": login.password},
    )  # fmt: skip

    report, _, _ = place.run("restore", "-f", place.request("again", onExisting="Replace"), "-f", policy)
    assert report.reason == "Restored"
    assert report.restore is not None
    assert report.restore.database == name
    report, _, _ = place.run("drop-previous", "-f", place.request("again", onExisting="Replace"), "-f", policy)
    assert report.message.startswith("dropped ")
    for database in (psql, name):
        assert place.postgres.query(f"SELECT * FROM {quoted(name)}.{quoted(name)}", database=database) == [(name,)]
    owner = "SELECT pg_get_userbyid(datdba), shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
    ((owned_by, comment),) = place.postgres.query(owner, database=name)
    assert owned_by == role
    assert comment.startswith(f"{name}\n")
    place.postgres.drop_database(name)


@pytest.mark.parametrize("name", ["line\nend", "\x00"], ids=["newline", "NUL"])
def test_a_password_that_no_password_file_can_hold_is_told(place: Place, name: str) -> None:
    place.credentials(database__password=name)
    report = place.fail("check", "-f", place.policy())
    assert report.reason == "CredentialsMissing"
    assert "holds a" in report.message


@pytest.mark.parametrize("secret", ["a/b+c=d", " %2F&", "ção", "'\"$(id)`"])
def test_a_bucket_key_with_any_character_is_refused_as_a_key_and_not_as_a_defect(place: Place, secret: str) -> None:
    place.credentials(store__secret_access_key=secret)
    assert place.fail("check", "-f", place.policy()).reason in {"StoreAccessDenied", "CredentialsMissing"}
