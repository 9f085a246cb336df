"""A rich database on a real server, dumped by pg_dump and brought back: the same by pg_dump, as a superuser and without.

What this alone proves: that a role with nothing but CREATEDB and CREATEROLE restores owners, privileges and settings, that
roles which are missing are made without power, and that the connection's role has no more rights afterwards than before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from resguardo.api.errors import RestoreBlocked
from resguardo.api.request import CheckStatus, Globals, OnExisting, Ownership
from resguardo.postgres.connection import Server
from resguardo.postgres.properties import read_properties
from tests.data.restore_side import (
    FOR_SUPERUSERS,
    RICH,
    Dump,
    databases,
    make_dump,
    plan_for,
    restore,
    state,
    wish,
)
from tests.fixtures.postgres import ROLE_PASSWORD, PostgresServer


@dataclass(frozen=True)
class Rich:
    """A rich database with roles of its own."""

    database: str
    roles: dict[str, str]


Maker = Callable[..., Rich]


@pytest.fixture
def make_rich(postgres_server: PostgresServer) -> Iterator[Maker]:
    made: list[Rich] = []

    def make(*more: str) -> Rich:
        word = postgres_server.new_name("r")
        roles = {
            "app": f"{word}_app",
            "odd": f'{word} "ção", %s',
            "reader": f"{word}_reader",
            "other": f"{word}_other",
        }
        for name in roles.values():
            postgres_server._execute_composed(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
        database = f"{word} Portal ção%"
        postgres_server._execute_composed(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(roles["app"]))
        )
        quoted = {key: sql.Identifier(name).as_string(None) for key, name in {**roles, "database": database}.items()}
        statements = [statement.format(**quoted) for statement in [*RICH, *more]]
        with postgres_server.connect(database) as connection:
            for statement in statements:
                connection.execute("SET default_transaction_read_only = off")
                connection.execute(statement.encode())
            connection.execute(b"ANALYZE")
        made.append(Rich(database, roles))
        return made[-1]

    yield make
    for rich in made:
        for name in databases(postgres_server):
            if name.startswith(rich.database[:20]):
                drop_subscriptions(postgres_server, name)
                postgres_server.drop_database(name)


def drop_subscriptions(postgres: PostgresServer, database: str) -> None:
    """A database with a subscription cannot be dropped."""
    query = (
        "SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid WHERE datname = current_database()"
    )
    with postgres.connect(database) as connection:
        connection.execute("SET default_transaction_read_only = off")
        for (name,) in connection.execute(query).fetchall():
            connection.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(sql.Identifier(name)))
            connection.execute(sql.SQL("DROP SUBSCRIPTION {}").format(sql.Identifier(name)))


@pytest.fixture
def limited(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Server]:
    """A role as managed servers give: no superuser, CREATEDB and CREATEROLE."""
    role = postgres_server.make_role("restorer", attributes="LOGIN CREATEDB CREATEROLE")
    with Server(postgres_server.login_as(role, ROLE_PASSWORD), tmp_path) as opened:
        yield opened


def memberships(postgres: PostgresServer, role: str) -> list[tuple[str]]:
    return postgres.query(
        f"SELECT roleid::regrole::text FROM pg_auth_members WHERE member = '{role}'::regrole ORDER BY 1"
    )


def all_passed(checks: tuple[object, ...]) -> bool:
    return all(getattr(check, "status", None) is CheckStatus.PASSED for check in checks)


def test_a_superuser_brings_everything_back_but_subscriptions_and_keeps_the_old_one_aside(
    postgres_server: PostgresServer, server: Server, make_rich: Maker, tmp_path: Path
) -> None:
    rich = make_rich(*FOR_SUPERUSERS)
    dump = make_dump(server, rich.database, tmp_path / "dump")
    before = [line for line in state(server, rich.database) if "SUBSCRIPTION" not in line]
    postgres_server.execute("SET default_transaction_read_only = off", "DELETE FROM submission", database=rich.database)
    drop_subscriptions(postgres_server, rich.database)

    restored = restore(server, dump, wish(rich.database, on_existing=OnExisting.REPLACE))

    assert all_passed(restored.verification.checks)
    assert state(server, rich.database) == before
    assert any(line.startswith("CREATE EVENT TRIGGER") for line in before)
    assert [sentence for sentence in restored.omitted if "far" in sentence] == restored.omitted
    assert restored.kept_as in databases(postgres_server)
    assert postgres_server.query("SELECT count(*) FROM submission", database=restored.kept_as or "") == [(0,)]


def test_a_role_without_superuser_brings_back_owners_privileges_and_settings(
    postgres_server: PostgresServer, server: Server, limited: Server, make_rich: Maker, tmp_path: Path
) -> None:
    rich = make_rich()
    dump = make_dump(server, rich.database, tmp_path / "dump")
    before = state(server, rich.database)

    restored = restore(limited, dump, wish(rich.database, on_existing=OnExisting.REPLACE))

    assert all_passed(restored.verification.checks)
    assert state(server, rich.database) == before
    assert restored.omitted == []
    assert memberships(postgres_server, limited.login.username) == []
    with server.connect(rich.database) as connection:
        assert read_properties(connection).comment == dump.census.database.comment
        assert sorted(read_properties(connection).acl or []) == sorted(dump.census.database.acl or [])
        assert read_properties(connection).settings == dump.census.database.settings


def test_a_role_without_superuser_lists_what_it_had_to_leave_out(
    postgres_server: PostgresServer, server: Server, limited: Server, make_rich: Maker, tmp_path: Path
) -> None:
    rich = make_rich(
        *FOR_SUPERUSERS,
        "GRANT EXECUTE ON FUNCTION similarity(text, text) TO {reader}",
        "ALTER DATABASE {database} SET log_statement TO 'ddl'",
    )
    dump = make_dump(server, rich.database, tmp_path / "dump")

    restored = restore(limited, dump, wish(f"{rich.database[:20]} next"))

    said = "\n".join(restored.omitted)
    for name in ("far", "watcher", "everything", "similarity", 'SCHEMA "Auditoria ção"', "log_statement", "agepar.env"):
        assert name in said, name
    assert len(restored.omitted) == 7
    assert restored.verification.is_equal, restored.verification.differences
    leftover = [
        "SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid AND datname = current_database()",
        "SELECT pubname FROM pg_publication WHERE puballtables",
        "SELECT evtname FROM pg_event_trigger",
    ]
    for query in leftover:
        assert postgres_server.query(query, database=f"{rich.database[:20]} next") == []


#: The reader grants on what the owner granted it (RICH); no managed server lets anybody give settings to a superuser.
LATE = (
    "SET ROLE {reader}; GRANT CONNECT ON DATABASE {database} TO {other} WITH GRANT OPTION; RESET ROLE",
    "SET ROLE {other}; GRANT CONNECT ON DATABASE {database} TO {odd}; RESET ROLE",
)


def test_what_the_server_would_refuse_only_after_loading_is_in_the_plan(
    postgres_server: PostgresServer, server: Server, limited: Server, make_rich: Maker, tmp_path: Path
) -> None:
    boss = postgres_server.make_role("chefe", attributes="SUPERUSER NOLOGIN")
    rich = make_rich(*LATE, f"ALTER ROLE {boss} IN DATABASE {{database}} SET work_mem TO '8MB'")
    roles = rich.roles
    dump = make_dump(server, rich.database, tmp_path / "dump")

    restored = restore(limited, dump, wish(f"{rich.database[:20]} next"))

    reader, other, odd = roles["reader"], roles["other"], roles["odd"].replace('"', '""')
    left_out = sorted([f"{other}=c*/{reader}", f'"{odd}"=c/{other}'])
    privileges, setting = restored.plan.omitted
    assert privileges.endswith(f"in whose name role {limited.login.username} cannot grant: {', '.join(left_out)}")
    assert setting.startswith(f"setting work_mem of role {boss}: ")
    assert list(restored.plan.omitted) == restored.omitted
    kept = {*(dump.census.database.acl or [])} - set(left_out)
    with server.connect(f"{rich.database[:20]} next") as connection:
        assert {*(read_properties(connection).acl or [])} == kept


def test_what_it_refuses_all_the_same_is_told_once_it_has(
    postgres_server: PostgresServer, server: Server, limited: Server, make_rich: Maker, tmp_path: Path
) -> None:
    rich = make_rich(LATE[0])
    reader, restorer = rich.roles["reader"], str(limited.login.username)
    dump = make_dump(server, rich.database, tmp_path / "dump")
    postgres_server.execute(f"GRANT {reader} TO {restorer}")

    def loses_a_right_meanwhile() -> Iterator[bytes]:
        postgres_server.execute(f"REVOKE {reader} FROM {restorer}")
        yield from dump.chunks()

    restored = restore(limited, dump, wish(f"{rich.database[:20]} next"), chunks=loses_a_right_meanwhile())

    assert restored.plan.omitted == ()
    refused = f'privileges {rich.roles["other"]}=c*/{reader} on the database: permission denied to set role "{reader}"'
    assert restored.omitted == [refused]


@pytest.mark.parametrize("restorer", ["server", "limited"], ids=["as superuser", "without"])
def test_roles_that_are_missing_are_made_without_login_and_without_power(
    postgres_server: PostgresServer, make_rich: Maker, tmp_path: Path, restorer: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue("server")
    restoring: Server = request.getfixturevalue(restorer)
    rich = make_rich()
    app, odd = (sql.Identifier(rich.roles[key]).as_string(None) for key in ("app", "odd"))
    postgres_server.execute(f"GRANT {odd} TO {app}", f"ALTER ROLE {odd} NOINHERIT")
    dump = make_dump(server, rich.database, tmp_path / "dump")
    before = state(server, rich.database)
    postgres_server.drop_database(rich.database)
    for name in rich.roles.values():
        postgres_server._execute_composed(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))

    restored = restore(restoring, dump, wish(rich.database))

    assert restored.kept_as is None
    assert state(server, rich.database) == before
    named = [rich.roles[key] for key in ("app", "odd", "reader")]
    made = postgres_server.query(
        "SELECT rolname, rolinherit, rolcanlogin OR rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR "
        f"rolbypassrls FROM pg_roles WHERE rolname LIKE '{rich.roles['app'][:-4]}%' ORDER BY rolname"
    )
    assert sorted(made) == sorted([(named[0], True, False), (named[1], False, False), (named[2], True, False)])
    assert memberships(postgres_server, app) == [(odd,)]
    assert memberships(postgres_server, restoring.login.username) == []
    assert any("login, password" in sentence for sentence in restored.omitted)


def test_a_copy_for_another_environment_belongs_to_the_role_and_opens_nothing(
    postgres_server: PostgresServer, server: Server, limited: Server, make_rich: Maker, tmp_path: Path
) -> None:
    rich = make_rich(*FOR_SUPERUSERS)
    dump = make_dump(server, rich.database, tmp_path / "dump")
    copy = f"{rich.database[:20]} copy"

    restored = restore(limited, dump, wish(copy, ownership=Ownership.ROLE))

    assert restored.verification.is_equal, restored.verification.differences
    role = limited.login.username
    owners = postgres_server.query(
        "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'v', 'm', 'p')",
        database=copy,
    )
    assert owners == [(role,)]
    assert postgres_server.query(
        f"SELECT has_database_privilege('public', '{copy}', 'CONNECT'), pg_get_userbyid(datdba) FROM pg_database "
        f"WHERE datname = '{copy}'"
    ) == [(False, role)]
    reader = rich.roles["reader"]
    assert postgres_server.query(f"SELECT has_table_privilege('{reader}', 'submission', 'SELECT')", database=copy) == [
        (False,)
    ]
    assert any("owners:" in sentence for sentence in restored.omitted)
    assert any("privileges" in sentence for sentence in restored.omitted)


def test_all_problems_are_told_at_once_and_nothing_is_made(
    postgres_server: PostgresServer, server: Server, make_rich: Maker, tmp_path: Path
) -> None:
    rich = make_rich(
        "CREATE EXTENSION pg_stat_statements",
        "CREATE FUNCTION c_add(int, int) RETURNS int LANGUAGE internal AS 'int4pl'",
    )
    dump = make_dump(server, rich.database, tmp_path / "dump")
    postgres_server.drop_database(rich.database)
    for name in rich.roles.values():
        postgres_server._execute_composed(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
    powerless = postgres_server.make_role("powerless")
    there = databases(postgres_server)
    foreign = dump.census.model_copy(
        update={"database": dump.census.database.model_copy(update={"collate": "xx_YY.UTF-8", "encoding": "EBCDIC"})}
    )

    with Server(postgres_server.login_as(powerless), tmp_path) as opened, pytest.raises(RestoreBlocked) as caught:
        restore(opened, Dump(dump.path, foreign), wish(rich.database, globals_=Globals.NONE, free_space_bytes=1))

    said = str(caught.value)
    for part in (
        "may not create databases",
        rich.roles["app"],
        rich.roles["odd"],
        rich.roles["reader"],
        "extension pg_stat_statements can only be created by a superuser",
        "xx_YY.UTF-8",
        "EBCDIC",
        "freeSpace",
        "c_add",
    ):
        assert part in said, part
    assert databases(postgres_server) == there
    assert not postgres_server.query(f"SELECT FROM pg_roles WHERE rolname LIKE '{rich.roles['app'][:-4]}%'")


def test_objects_of_a_superuser_need_one(
    postgres_server: PostgresServer, server: Server, limited: Server, make_rich: Maker, tmp_path: Path
) -> None:
    rich = make_rich("CREATE TABLE of_postgres (a int)")
    dump = make_dump(server, rich.database, tmp_path / "dump")
    plan = plan_for(limited, dump, wish(f"{rich.database[:20]} x"))
    assert [blocker for blocker in plan.blockers if "postgres, a superuser" in blocker] == list(plan.blockers)
    assert plan_for(limited, dump, wish(f"{rich.database[:20]} x", ownership=Ownership.ROLE)).blockers == ()


def test_an_owner_that_cannot_be_borrowed_is_a_blocker_that_names_the_grant(
    postgres_server: PostgresServer, server: Server, make_rich: Maker, tmp_path: Path
) -> None:
    rich = make_rich()
    dump = make_dump(server, rich.database, tmp_path / "dump")
    role = postgres_server.make_role("maker", attributes="LOGIN CREATEDB")
    app, odd = rich.roles["app"], sql.Identifier(rich.roles["odd"]).as_string(None)
    with Server(postgres_server.login_as(role), tmp_path) as opened:
        plan = plan_for(opened, dump, wish(f"{rich.database[:20]} x"))
        assert sorted(blocker.partition(": ")[2] for blocker in plan.blockers) == sorted(
            [f"GRANT {app} TO {role}", f"GRANT {odd} TO {role}"]
        )
        postgres_server.execute(*(blocker.partition(": ")[2] for blocker in plan.blockers))
        restored = restore(opened, dump, wish(f"{rich.database[:20]} x"))
    assert restored.verification.is_equal
    assert len(memberships(postgres_server, role)) == 2


def test_extra_privileges_for_loading_are_gone_after_it(
    postgres_server: PostgresServer, server: Server, limited: Server, make_rich: Maker, tmp_path: Path
) -> None:
    rich = make_rich(
        "CREATE SCHEMA plain AUTHORIZATION {app}", "CREATE TABLE plain.t (a int)", "ALTER TABLE plain.t OWNER TO {odd}"
    )
    dump = make_dump(server, rich.database, tmp_path / "dump")
    name = f"{rich.database[:20]} y"
    restore(limited, dump, wish(name))
    odd = rich.roles["odd"].replace("'", "''")
    assert postgres_server.query(
        f"SELECT has_schema_privilege('{odd}', 'plain', 'CREATE'), has_schema_privilege('{odd}', 'public', 'CREATE')",
        database=name,
    ) == [(False, False)]
    defaults = postgres_server.query("SELECT pg_get_userbyid(defaclrole) FROM pg_default_acl", database=name)
    assert defaults == [(rich.roles["odd"],)]
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        postgres_server.connect(name, postgres_server.login_as(postgres_server.make_role("stranger")))
