"""The census against the reality of a server that others write to meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from resguardo.api.census import Census, DatabaseSetting, Extension, Role
from resguardo.api.errors import CensusFailed, Stopped
from resguardo.postgres.census import census_beside, take_census
from resguardo.postgres.connection import Server
from resguardo.postgres.dump import dump, finish
from resguardo.postgres.run import run, tool
from resguardo.postgres.snapshot import Snapshot, open_snapshot
from tests.fixtures.postgres import PostgresServer

MINUTE = timedelta(minutes=1)


def in_a_minute() -> datetime:
    return datetime.now(UTC) + MINUTE


@contextmanager
def snapshot_of(server: Server, database: str) -> Iterator[Snapshot]:
    with open_snapshot(server, database, lock_timeout=timedelta(seconds=10), deadline=in_a_minute()) as snapshot:
        yield snapshot


def census_of(server: Server, database: str, *, budget: timedelta = MINUTE, connections: int = 2) -> Census:
    with snapshot_of(server, database) as snapshot:
        return take_census(server, database, snapshot, budget=budget, deadline=in_a_minute(), connections=connections)


def rows(census: Census) -> dict[str, int | None]:
    return {f"{table.schema_name}.{table.name}": table.rows for table in census.tables}


@contextmanager
def waiting_alter_table(postgres_server: PostgresServer, database: str, table: str) -> Iterator[None]:
    """Somebody's ALTER TABLE, which waits for the dump's lock, and which everybody after it waits for."""
    with postgres_server.connect(database) as connection:

        def alter() -> None:
            with suppress(psycopg.errors.QueryCanceled):
                connection.execute(f"ALTER TABLE {table} ADD j int".encode())

        thread = threading.Thread(target=alter)
        thread.start()
        give_up = time.monotonic() + 10
        while not postgres_server.query(
            f"SELECT FROM pg_locks WHERE pid = {connection.info.backend_pid} AND NOT granted"
        ):
            assert time.monotonic() < give_up
            time.sleep(0.02)
        try:
            yield
        finally:
            connection.cancel_safe()
            thread.join()


class TestRows:
    @pytest.mark.parametrize("connections", [1, 2, 4])
    def test_every_dumped_table_has_its_own_rows_counted(
        self, postgres_server: PostgresServer, server: Server, connections: int
    ) -> None:
        database = postgres_server.fresh_database(
            "db",
            "CREATE TABLE parent (i int)",
            "CREATE TABLE child () INHERITS (parent)",
            "INSERT INTO parent SELECT generate_series(1, 3)",
            "INSERT INTO child SELECT generate_series(1, 5)",
            "CREATE TABLE parted (i int) PARTITION BY RANGE (i)",
            "CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (10)",
            "CREATE TABLE high PARTITION OF parted FOR VALUES FROM (10) TO (100)",
            "INSERT INTO parted SELECT generate_series(0, 11)",
            'CREATE SCHEMA "es quema"',
            'CREATE TABLE "es quema"."ta""be%l\n" (i int)',
            "CREATE VIEW v AS SELECT 1 AS x",
            "CREATE MATERIALIZED VIEW m AS SELECT 1 AS x",
        )
        census = census_of(server, database, connections=connections)
        assert [(table.schema_name, table.name, table.rows) for table in census.tables] == [
            ("es quema", 'ta"be%l\n', 0),
            ("public", "child", 5),
            ("public", "high", 2),
            ("public", "low", 10),
            ("public", "parent", 3),
        ]
        roots = {table.name: table.root_oid for table in census.tables}
        assert roots["low"] == roots["high"]
        assert len(set(roots.values())) == 4

    def test_census_and_dump_agree_while_another_session_writes(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database(
            "db",
            *(f"CREATE TABLE t{i} (i int)" for i in range(10)),
            "CREATE TABLE filler AS SELECT generate_series(1, 200000)",
        )
        stop, began = threading.Event(), threading.Event()

        def write() -> None:
            with postgres_server.connect(database) as connection:
                number = 0
                while not stop.is_set():
                    connection.execute(f"INSERT INTO t{number % 10} VALUES ({number})".encode())
                    number += 1
                    if number == 500:
                        began.set()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            assert began.wait(20)
            with (
                snapshot_of(server, database) as snapshot,
                census_beside(server, database, snapshot, budget=MINUTE, deadline=in_a_minute()) as counting,
                dump(server, database, snapshot.id, lock_timeout=timedelta(seconds=10)) as process,
            ):
                archive = process.stdout.read()
                finish(process, in_a_minute())
                census = counting.result()
        finally:
            stop.set()
            writer.join()
        (written,) = postgres_server.query(
            "SELECT " + " + ".join(f"(SELECT count(*) FROM t{i})" for i in range(10)), database=database
        )
        counted = rows(census)
        total = sum(counted[f"public.t{i}"] or 0 for i in range(10))
        assert 500 <= total < written[0], "rows were added after the snapshot, and are not counted"
        restored = postgres_server.fresh_database("restored")
        restore(postgres_server, archive, restored)
        assert rows(census_of(server, restored)) == counted

    def test_what_the_budget_leaves_is_none_and_the_small_ones_come_first(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database(
            "db", "CREATE TABLE z_small AS SELECT 1 AS i", "CREATE TABLE z_empty (i int)"
        )
        postgres_server.make_table_that_no_machine_counts_in_time(database, "a_large")
        census = census_of(server, database, budget=timedelta(seconds=2), connections=1)
        assert rows(census) == {"public.a_large": None, "public.z_small": 1, "public.z_empty": 0}

    def test_no_budget_at_all_counts_nothing_and_fails_nothing(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t AS SELECT 1 AS i")
        census = census_of(server, database, budget=timedelta(0))
        assert rows(census) == {"public.t": None}
        assert census.large_objects is None
        assert census.database.name == database

    def test_the_locks_outlive_a_count_that_the_budget_ended(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database("db")
        postgres_server.make_table_that_no_machine_counts_in_time(database, "t")
        with snapshot_of(server, database) as snapshot:
            census = take_census(
                server, database, snapshot, budget=timedelta(seconds=0.5), deadline=in_a_minute(), connections=1
            )
            assert rows(census) == {"public.t": None}
            with pytest.raises(psycopg.errors.LockNotAvailable):
                postgres_server.execute("SET lock_timeout = 50; TRUNCATE t", database=database)
            assert snapshot.connection.execute("SELECT 1").fetchone() == (1,)

    def test_alter_tables_that_wait_for_the_dump_do_not_keep_the_census_waiting(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        names = [f"t{i}" for i in range(6)]  # so many that the helping session surely comes upon one of them
        database = postgres_server.fresh_database("db", *(f"CREATE TABLE {name} AS SELECT 7 AS i" for name in names))
        with snapshot_of(server, database) as snapshot, ExitStack() as others:
            for name in names:
                others.enter_context(waiting_alter_table(postgres_server, database, name))
            began = time.monotonic()
            census = take_census(server, database, snapshot, budget=MINUTE, deadline=in_a_minute(), connections=2)
            assert time.monotonic() - began < MINUTE.total_seconds() / 2
            assert rows(census) == {f"public.{name}": 1 for name in names}

    def test_a_configuration_table_of_which_only_some_rows_are_dumped_is_not_compared(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database(
            "db",
            "CREATE TABLE a_part (i int)",
            "CREATE TABLE everything AS SELECT 1 AS i",
            "CREATE EXTENSION hstore",
            "ALTER EXTENSION hstore ADD TABLE a_part",
            "ALTER EXTENSION hstore ADD TABLE everything",
            "UPDATE pg_extension SET extconfig = ARRAY['a_part'::regclass::oid, 'everything'::regclass],"
            " extcondition = ARRAY['WHERE i > 5', ''] WHERE extname = 'hstore'",
        )
        assert rows(census_of(server, database)) == {"public.a_part": None, "public.everything": 1}

    def test_rows_that_row_security_would_hide_are_an_error_and_not_fewer(
        self, postgres_server: PostgresServer, tmp_path: Path
    ) -> None:
        role = postgres_server.make_role()
        database = postgres_server.fresh_database(
            "db",
            "CREATE TABLE t AS SELECT 1 AS i",
            "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
            f"GRANT SELECT ON t TO {role}",
        )
        with (
            Server(postgres_server.login_as(role), tmp_path) as server,
            pytest.raises(CensusFailed, match="row-level security policy for table"),
        ):
            census_of(server, database)

    def test_large_objects_are_counted(self, postgres_server: PostgresServer, server: Server) -> None:
        database = postgres_server.fresh_database("db", "SELECT lo_from_bytea(0, 'x') FROM generate_series(1, 4)")
        assert census_of(server, database).large_objects == 4

    def test_a_dump_that_failed_does_not_wait_for_the_budget(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t AS SELECT generate_series(1, 10) AS i")
        postgres_server.make_table_that_no_machine_counts_in_time(database, "large")
        with snapshot_of(server, database) as snapshot:
            began = time.monotonic()
            with (
                pytest.raises(ZeroDivisionError),
                census_beside(
                    server, database, snapshot, budget=MINUTE, deadline=in_a_minute(), connections=2
                ) as counting,
            ):
                raise ZeroDivisionError
            assert time.monotonic() - began < MINUTE.total_seconds() / 2
            assert isinstance(counting.exception(), Stopped)

    def test_a_session_that_was_ended_is_a_census_that_failed(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t (i int)")
        with snapshot_of(server, database) as snapshot:
            postgres_server.query(f"SELECT pg_terminate_backend({snapshot.connection.info.backend_pid}, 5000)")
            with pytest.raises(CensusFailed, match=f"database {database}"):
                take_census(server, database, snapshot, budget=MINUTE, deadline=in_a_minute())


class TestProperties:
    def test_what_a_dump_of_the_contents_does_not_hold(self, postgres_server: PostgresServer, server: Server) -> None:
        owner, reader, settled = (postgres_server.make_role(word) for word in ("owner", "reader", "settled"))
        database = postgres_server.new_name("props")
        postgres_server.execute(
            f"CREATE DATABASE {database} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu"
            " ICU_LOCALE 'pt-BR' LOCALE 'C.UTF-8' CONNECTION LIMIT 7",
            f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC",
            f"GRANT CONNECT ON DATABASE {database} TO {reader}",
            f"COMMENT ON DATABASE {database} IS E'Portal\nRestored by Resguardo: request agepar/dr uid 7f fingerprint 0a "
            "backup 20261123T050000Z-3f9a1c'",
            f"ALTER DATABASE {database} SET work_mem = '12MB'",
            f"ALTER DATABASE {database} SET search_path = 'a b', public",
            f"ALTER ROLE {settled} IN DATABASE {database} SET my.setting = 'x=y'",
        )
        properties = census_of(server, database).database
        assert (properties.encoding, properties.locale_provider, properties.icu_locale) == ("UTF8", "i", "pt-BR")
        assert (properties.collate, properties.ctype) == ("C.UTF-8", "C.UTF-8")
        assert properties.collation_version
        assert (properties.owner, properties.connection_limit, properties.is_template) == (owner, 7, False)
        assert properties.comment == "Portal"
        assert properties.acl is not None
        assert set(properties.acl) == {f"=T/{owner}", f"{owner}=CTc/{owner}", f"{reader}=c/{owner}"}
        assert properties.settings == [
            DatabaseSetting(role=None, name="search_path", value='"a b", public'),
            DatabaseSetting(role=None, name="work_mem", value="12MB"),
            DatabaseSetting(role=settled, name="my.setting", value="x=y"),
        ]
        assert properties.size_bytes > 1_000_000

    def test_a_plain_database_has_default_privileges_and_no_comment(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        census = census_of(server, postgres_server.fresh_database())
        assert (census.database.acl, census.database.comment, census.database.settings) == (None, None, [])
        assert census.system_identifier == str(
            postgres_server.query("SELECT system_identifier FROM pg_control_system()")[0][0]
        )
        assert census.server_version_num // 10000 == postgres_server.major
        assert census.extensions == [Extension(name="plpgsql", version="1.0", schema_name="pg_catalog")]

    def test_it_survives_being_written_and_read(self, postgres_server: PostgresServer, server: Server) -> None:
        census = census_of(server, postgres_server.fresh_database("db", 'CREATE TABLE "é\n" (i int)'))
        again = Census.model_validate_json(census.to_json())
        assert again == census.model_copy(update={"taken_at": again.taken_at})

    def test_a_role_without_superuser_can_take_it(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        role = postgres_server.make_role()
        database = postgres_server.fresh_database("db", "CREATE TABLE t AS SELECT 1 AS i")
        postgres_server.execute(f"GRANT pg_read_all_data TO {role}")
        with Server(postgres_server.login_as(role), tmp_path) as server:
            census = census_of(server, database)
        assert rows(census) == {"public.t": 1}
        assert census.database.size_bytes > 0


class TestRoles:
    @pytest.mark.parametrize(
        "statements",
        [
            pytest.param(["CREATE TABLE t ()", "ALTER TABLE t OWNER TO {}"], id="an owner of a table"),
            pytest.param(["CREATE TABLE t ()", "GRANT SELECT ON t TO {}"], id="a grantee of a table"),
            pytest.param(["CREATE TABLE t (i int)", "GRANT SELECT (i) ON t TO {}"], id="a grantee of one column"),
            pytest.param(["CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "GRANT EXECUTE ON FUNCTION f TO {}"], id="a grantee of a function"),
            pytest.param(["CREATE SCHEMA s AUTHORIZATION {}"], id="an owner of a schema"),
            pytest.param(["GRANT CREATE ON SCHEMA public TO {}"], id="a grantee of the schema public"),
            pytest.param(["CREATE TYPE y AS ENUM ('a')", "ALTER TYPE y OWNER TO {}"], id="an owner of a type"),
            pytest.param(["GRANT USAGE ON LANGUAGE plpgsql TO {}"], id="a grantee of a language"),
            pytest.param(["ALTER DEFAULT PRIVILEGES FOR ROLE {} GRANT SELECT ON TABLES TO PUBLIC"], id="an owner of default privileges"),
            pytest.param(["ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {}"], id="a grantee of default privileges"),
            pytest.param(["CREATE TABLE t ()", "CREATE POLICY p ON t TO {}"], id="a policy's role"),
            pytest.param(["SELECT lo_create(77)", "ALTER LARGE OBJECT 77 OWNER TO {}"], id="an owner of a large object"),
            pytest.param(["SELECT lo_create(77)", "GRANT SELECT ON LARGE OBJECT 77 TO {}"], id="a grantee of a large object"),
            pytest.param(["CREATE EXTENSION hstore", "GRANT EXECUTE ON FUNCTION hstore(text, text) TO {}"], id="a grantee of an extension's function"),
            pytest.param(["DO $$ BEGIN EXECUTE format('ALTER ROLE {} IN DATABASE %I SET work_mem = 64', current_database()); END $$"], id="a role with settings in the database"),
            pytest.param(["DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO {}', current_database()); END $$"], id="a grantee of the database"),
        ],
    )  # fmt: skip
    def test_who_is_needed(self, postgres_server: PostgresServer, server: Server, statements: list[str]) -> None:
        role = postgres_server.make_role()
        database = postgres_server.fresh_database("db", *(statement.replace("{}", role) for statement in statements))
        assert role in [needed.name for needed in census_of(server, database).roles]

    def test_nobody_else_is(self, postgres_server: PostgresServer, server: Server) -> None:
        owner, stranger = postgres_server.make_role("owner"), postgres_server.make_role("stranger")
        database = postgres_server.fresh_database("db", owner=owner)
        postgres_server.execute(
            "CREATE EXTENSION hstore",
            "GRANT SELECT ON pg_class TO pg_monitor",
            "CREATE TABLE t ()",
            f"ALTER TABLE t OWNER TO {owner}",
            "GRANT SELECT ON t TO PUBLIC, pg_read_all_data",
            f"SET ROLE {stranger}; CREATE TEMP TABLE passing ()",
            database=database,
        )
        assert census_of(server, database).roles == [Role(name=owner)]

    def test_the_superuser_of_initdb_is_needed_where_something_is_its_own(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        owner = postgres_server.make_role("owner")
        database = postgres_server.fresh_database("db", "CREATE TABLE t ()", owner=owner)
        assert [role.name for role in census_of(server, database).roles] == [owner, "postgres"]

    def test_memberships_and_inheritance_among_them(self, postgres_server: PostgresServer, server: Server) -> None:
        group, member, other = postgres_server.make_role("a_group"), postgres_server.make_role("b_member", attributes="LOGIN NOINHERIT"), postgres_server.make_role("c_other")  # fmt: skip
        postgres_server.execute(
            f"GRANT {group} TO {member}", f"GRANT {other} TO {member}", f"GRANT pg_monitor TO {member}"
        )
        database = postgres_server.fresh_database("db", owner=group)
        postgres_server.execute(f"CREATE TABLE t (); ALTER TABLE t OWNER TO {member}", database=database)
        assert census_of(server, database).roles == [
            Role(name=group),
            Role(name=member, inherit=False, member_of=[group]),
        ]


def restore(postgres_server: PostgresServer, archive: bytes, database: str) -> None:
    """By PostgreSQL's own pg_restore alone, as a person would."""
    with Server(postgres_server.login, postgres_server.folder) as server:
        done = run(
            [tool("pg_restore"), "--exit-on-error", f"--dbname={server.conninfo(database)}"],
            environment=server.tool_environment,
            input=[archive],
            deadline=time.monotonic() + 60,
        )
    assert done.exit_status == 0, done.stderr_tail
