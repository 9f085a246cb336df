"""Missing rights against pg_dump itself: what is named is what it would stumble over, and nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from resguardo.api.errors import PostgresError, ServerVersionUnsupported
from resguardo.postgres import rights
from resguardo.postgres.connection import Server
from resguardo.postgres.dump import dump, finish
from resguardo.postgres.rights import check_server, missing_rights
from resguardo.postgres.snapshot import open_snapshot
from tests.fixtures.postgres import PostgresServer


def missing(postgres_server: PostgresServer, role: str, database: str, scratch: Path) -> list[str]:
    with Server(postgres_server.login_as(role), scratch) as server, server.connect(database) as connection:
        return missing_rights(connection)


def can_dump(postgres_server: PostgresServer, role: str, database: str, scratch: Path) -> bool:
    """Whether locking and pg_dump succeed with this role."""
    deadline = datetime.now(UTC) + timedelta(minutes=1)
    second = timedelta(seconds=1)
    try:
        with (
            Server(postgres_server.login_as(role), scratch) as server,
            open_snapshot(server, database, lock_timeout=second, deadline=deadline) as snapshot,
            dump(server, database, snapshot.id, lock_timeout=second) as process,
        ):
            process.stdout.read()
            finish(process, deadline)
    except PostgresError:
        return False
    return True


#: What is in the database (for role {}), and what is missing.
CASES = [
    pytest.param([], [], id="an empty database"),
    pytest.param(
        ["CREATE TABLE t ()"], ["SELECT on table public.t (GRANT SELECT ON TABLE public.t TO {})"], id="one table"
    ),
    pytest.param(["CREATE TABLE t ()", "GRANT SELECT ON t TO {}"], [], id="a table that may be read"),
    pytest.param(
        ["CREATE TABLE t (i int)", "GRANT SELECT (i) ON t TO {}"],
        ["SELECT on table public.t (GRANT SELECT ON TABLE public.t TO {})"],
        id="a table of which only a column may be read",
    ),
    pytest.param(
        ["CREATE TABLE p (i int) PARTITION BY LIST (i)", "CREATE TABLE q PARTITION OF p DEFAULT", "GRANT SELECT ON p TO {}"],
        ["SELECT on table public.q (GRANT SELECT ON TABLE public.q TO {})"],
        id="a partition, whose parent's privileges are not its own",
    ),
    pytest.param(
        ["CREATE SEQUENCE s", "GRANT USAGE ON SEQUENCE s TO {}"],
        ["SELECT on sequence public.s (GRANT SELECT ON SEQUENCE public.s TO {})"],
        id="a sequence that may only be used",
    ),
    pytest.param(
        ["CREATE SCHEMA x", "CREATE TABLE x.t ()", "GRANT SELECT ON x.t TO {}"],
        ["USAGE on schema x (GRANT USAGE ON SCHEMA x TO {})"],
        id="a schema that may not be entered",
    ),
    pytest.param(["CREATE SCHEMA x"], [], id="an empty schema"),
    pytest.param(
        ['CREATE SCHEMA "a b"', 'CREATE TABLE "a b"."T""%s" ()', 'GRANT USAGE ON SCHEMA "a b" TO {}'],
        ['SELECT on table "a b"."T""%s" (GRANT SELECT ON TABLE "a b"."T""%s" TO {})'],
        id="names to be quoted",
    ),
    pytest.param(["CREATE VIEW v AS SELECT 1 AS x", "CREATE MATERIALIZED VIEW m AS SELECT 1 AS x"], [], id="views"),
    pytest.param(
        ["CREATE EXTENSION postgres_fdw", "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw",
         "CREATE FOREIGN TABLE f (i int) SERVER s"],
        [],
        id="a foreign table",
    ),
    pytest.param(
        ["CREATE TABLE own (i int)", "CREATE EXTENSION hstore", "ALTER EXTENSION hstore ADD TABLE own"],
        [],
        id="an extension's table",
    ),
    pytest.param(
        ["CREATE TABLE config (i int)", "CREATE EXTENSION hstore", "ALTER EXTENSION hstore ADD TABLE config",
         ("UPDATE pg_extension SET extconfig = ARRAY['config'::regclass::oid], extcondition = ARRAY['']"
         " WHERE extname = 'hstore'")],
        ["SELECT on table public.config (GRANT SELECT ON TABLE public.config TO {})"],
        id="an extension's configuration",
    ),
    pytest.param(
        ["CREATE TABLE t ()", "GRANT SELECT ON t TO {}", "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
         "CREATE POLICY p ON t USING (true)"],
        [("BYPASSRLS, since row security would hide rows of table public.t (ALTER ROLE {} BYPASSRLS, or ownership of the "
         "table without FORCE ROW LEVEL SECURITY)")],
        id="row security",
    ),
    pytest.param(
        ["CREATE TABLE t ()", "ALTER TABLE t OWNER TO {}", "ALTER TABLE t ENABLE ROW LEVEL SECURITY"],
        [],
        id="row security on a table of its own",
    ),
    pytest.param(
        ["CREATE TABLE t ()", "ALTER TABLE t OWNER TO {}", "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
         "ALTER TABLE t FORCE ROW LEVEL SECURITY"],
        [("BYPASSRLS, since row security would hide rows of table public.t (ALTER ROLE {} BYPASSRLS, or ownership of the "
         "table without FORCE ROW LEVEL SECURITY)")],
        id="forced row security on a table of its own",
    ),
    pytest.param(
        ["SELECT lo_create(4711), lo_create(4712)"],
        [("SELECT on large objects 4711, 4712 of role postgres (GRANT postgres TO {}, or GRANT SELECT ON LARGE OBJECT 4711 "
         "TO {} for each)")],
        id="large objects",
    ),
    pytest.param(["SELECT lo_create(4711)", "GRANT SELECT ON LARGE OBJECT 4711 TO {}"], [], id="a large object granted"),
    pytest.param(["SELECT lo_create(4711)", "GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC"], [], id="a public large object"),
    pytest.param(["SELECT lo_create(4711)", "ALTER LARGE OBJECT 4711 OWNER TO {}"], [], id="a large object of its own"),
]  # fmt: skip


class TestMissingRights:
    @pytest.mark.parametrize(("statements", "expected"), CASES)
    def test_what_is_named_is_what_pg_dump_stumbles_over(
        self, postgres_server: PostgresServer, tmp_path: Path, statements: list[str], expected: list[str]
    ) -> None:
        role = postgres_server.make_role()
        database = postgres_server.fresh_database("db", *(text.replace("{}", role) for text in statements))
        assert missing(postgres_server, role, database, tmp_path) == [text.replace("{}", role) for text in expected]
        assert can_dump(postgres_server, role, database, tmp_path) == (not expected)

    def test_all_are_named_at_once_and_the_one_grant_that_helps_comes_first(
        self, postgres_server: PostgresServer, tmp_path: Path
    ) -> None:
        role = postgres_server.make_role()
        database = postgres_server.fresh_database(
            "db", "CREATE SCHEMA x", "CREATE TABLE x.t (i serial)", "CREATE TABLE u ()", "SELECT lo_create(1)"
        )
        first, *others = missing(postgres_server, role, database, tmp_path)
        assert first.endswith(f"GRANT pg_read_all_data TO {role}")
        assert [text.split(" (")[0] for text in others] == [
            "USAGE on schema x", "SELECT on table public.u", "SELECT on table x.t", "SELECT on sequence x.t_i_seq",
            "SELECT on large objects 1 of role postgres",
        ]  # fmt: skip

    @pytest.mark.parametrize("grant", ["GRANT pg_read_all_data TO {}", "GRANT owner_of_all TO {}"])
    def test_rights_may_come_by_membership(self, postgres_server: PostgresServer, tmp_path: Path, grant: str) -> None:
        role, owner = postgres_server.make_role(), postgres_server.make_role("owner")
        database = postgres_server.fresh_database(
            "db", "CREATE SCHEMA x", f"ALTER SCHEMA x OWNER TO {owner}", "CREATE TABLE x.t ()", f"ALTER TABLE x.t OWNER TO {owner}"
        )  # fmt: skip
        postgres_server.execute(grant.replace("{}", role).replace("owner_of_all", owner))
        assert missing(postgres_server, role, database, tmp_path) == []
        assert can_dump(postgres_server, role, database, tmp_path)

    def test_bypassrls_is_enough_for_row_security(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        role = postgres_server.make_role(attributes="LOGIN BYPASSRLS")
        database = postgres_server.fresh_database(
            "db", "CREATE TABLE t ()", "ALTER TABLE t ENABLE ROW LEVEL SECURITY", f"GRANT SELECT ON t TO {role}"
        )
        assert missing(postgres_server, role, database, tmp_path) == []
        assert can_dump(postgres_server, role, database, tmp_path)

    def test_a_superuser_misses_nothing(self, postgres_server: PostgresServer, server: Server) -> None:
        database = postgres_server.fresh_database(
            "db", "CREATE TABLE t ()", "ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
        )
        with server.connect(database) as connection:
            assert missing_rights(connection) == []

    def test_many_large_objects_are_named_by_their_number(
        self, postgres_server: PostgresServer, tmp_path: Path
    ) -> None:
        role = postgres_server.make_role()
        database = postgres_server.fresh_database("db", "SELECT lo_create(i) FROM generate_series(101, 350) i")
        (line,) = missing(postgres_server, role, database, tmp_path)
        assert "101, 102, 103" in line
        assert "and 230 more" in line


class TestServer:
    def test_the_server_of_the_tools_own_version_is_fine(self, server: Server) -> None:
        with server.connect("postgres") as connection:
            check_server(connection)

    @pytest.mark.parametrize(
        ("server_version", "tool_version", "message"),
        [
            (160004, "15.20", "is PostgreSQL 16 and pg_dump here is 15.20"),
            (190000, "18rc1", "is PostgreSQL 19 and pg_dump here is 18rc1"),
            (120022, "15.20", "the oldest that Resguardo backs up is 13"),
        ],
    )
    def test_versions_that_do_not_fit(
        self, server: Server, monkeypatch: pytest.MonkeyPatch, server_version: int, tool_version: str, message: str
    ) -> None:
        """Versions that this machine has no server of are said by a patched number."""
        with server.connect("postgres") as connection:
            monkeypatch.setattr(psycopg.ConnectionInfo, "server_version", server_version)
            monkeypatch.setattr(rights, "tool_versions", lambda _major: {"pg_dump": tool_version})
            with pytest.raises(ServerVersionUnsupported, match=message):
                check_server(connection)

    def test_an_older_server_than_the_tools_is_fine(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        with server.connect("postgres") as connection:
            monkeypatch.setattr(rights, "tool_versions", lambda _major: {"pg_dump": "18.1 (Debian 18.1-1)"})
            check_server(connection)
