"""Locks and snapshot against a server where others truncate, rewrite, create and drop tables at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from resguardo.api.errors import DeadlineExceeded, LockTableFull, LockTimeout, PermissionDenied, SchemaChanging
from resguardo.postgres.connection import Server
from resguardo.postgres.dump import dump, finish
from resguardo.postgres.snapshot import Snapshot, open_snapshot
from resguardo.postgres.tables import list_tables
from tests.fixtures.postgres import PostgresServer, start_postgres

TEN_SECONDS = timedelta(seconds=10)


def in_a_minute() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=1)


def open_(server: Server, database: str, lock_timeout: timedelta = TEN_SECONDS):  # type: ignore[no-untyped-def]
    return open_snapshot(server, database, lock_timeout=lock_timeout, deadline=in_a_minute())


def rows_in(postgres_server: PostgresServer, database: str, snapshot: Snapshot, query: str) -> list[tuple[object, ...]]:
    """What another session sees in the exported snapshot."""
    with postgres_server.connect(database) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot.id}'".encode())
        return connection.execute(query.encode()).fetchall()


def wait_for_a_waiting_lock(postgres_server: PostgresServer, database: str) -> None:
    """Until somebody waits for a table's lock in this database."""
    give_up = time.monotonic() + 10
    while not postgres_server.query(
        "SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        f" WHERE NOT l.granted AND l.locktype = 'relation' AND d.datname = '{database}'"
    ):
        assert time.monotonic() < give_up, "nobody waits"
        time.sleep(0.02)


@contextmanager
def while_locking_waits(
    postgres_server: PostgresServer,
    database: str,
    table: str,
    meanwhile: Callable[[psycopg.Connection], None],  # type: ignore[type-arg]
) -> Iterator[None]:
    """The table is held while the block begins; once the block waits for it, `meanwhile` is done, and it is let go."""
    holder = postgres_server.connect(database)
    holder.execute("BEGIN")
    holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
    failures: list[BaseException] = []

    def act() -> None:
        try:
            wait_for_a_waiting_lock(postgres_server, database)
            meanwhile(holder)
            holder.execute("COMMIT")
        except BaseException as error:
            failures.append(error)
        finally:
            holder.close()

    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join()
    assert not failures, failures


class TestSnapshot:
    def test_it_shows_what_was_committed_before_it_and_nothing_after(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t (i int)", "INSERT INTO t VALUES (1)")
        with open_(server, database) as snapshot:
            postgres_server.execute("INSERT INTO t VALUES (2)", database=database)
            assert rows_in(postgres_server, database, snapshot, "SELECT i FROM t") == [(1,)]
            assert snapshot.lsn.count("/") == 1
            assert abs(snapshot.taken_at - datetime.now(UTC)) < timedelta(seconds=30)
            assert not snapshot.is_standby

    def test_its_tables_cannot_be_truncated_or_altered_while_it_is_open(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t (i int)")
        with open_(server, database):
            for statement in ("TRUNCATE t", "ALTER TABLE t ADD j int", "DROP TABLE t"):
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    postgres_server.execute(f"SET lock_timeout = 50; {statement}", database=database)
        postgres_server.execute("TRUNCATE t", database=database)

    def test_which_tables_it_locks(self, postgres_server: PostgresServer, server: Server) -> None:
        database = postgres_server.fresh_database(
            "db",
            "CREATE TABLE plain (i int)",
            "CREATE UNLOGGED TABLE unlogged (i int)",
            "CREATE TABLE parted (i int) PARTITION BY RANGE (i)",
            "CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (9)",
            "CREATE TABLE child (j int) INHERITS (plain)",
            "CREATE VIEW v AS SELECT 1 AS x",
            "CREATE MATERIALIZED VIEW m AS SELECT 1 AS x",
            "CREATE SCHEMA ext",
            "CREATE EXTENSION postgres_fdw SCHEMA ext",
            "CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw",
            "CREATE FOREIGN TABLE foreign_table (i int) SERVER elsewhere",
        )
        with open_(server, database) as snapshot:
            assert [(table.name, table.kind, table.persistence) for table in snapshot.tables] == [
                ("child", "r", "p"), ("part", "r", "p"), ("parted", "p", "p"), ("plain", "r", "p"), ("unlogged", "r", "u"),
            ]  # fmt: skip
            locked = postgres_server.query(
                "SELECT relation::regclass::text FROM pg_locks WHERE mode = 'AccessShareLock' AND locktype = 'relation'"
                f" AND pid = {snapshot.connection.info.backend_pid} AND relation >= 16384 ORDER BY 1",
                database=database,
            )
        assert [name for (name,) in locked] == ["child", "part", "parted", "plain", "unlogged"]

    def test_an_extensions_tables_are_left_out_and_its_configuration_is_not(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        """Stands for PostGIS's spatial_ref_sys: a table of an extension, declared by pg_extension_config_dump."""
        database = postgres_server.fresh_database(
            "db",
            "CREATE TABLE config (i int)",
            "CREATE TABLE own (i int)",
            "CREATE EXTENSION hstore",
            "ALTER EXTENSION hstore ADD TABLE config",
            "ALTER EXTENSION hstore ADD TABLE own",
            "UPDATE pg_extension SET extconfig = ARRAY['config'::regclass::oid], extcondition = ARRAY['WHERE i > 5']"
            " WHERE extname = 'hstore'",
        )
        with server.connect(database) as connection:
            assert [(table.name, table.condition) for table in list_tables(connection)] == [("config", "WHERE i > 5")]

    @pytest.mark.parametrize(
        "name",
        [
            "a b",
            'q"uo"te',
            "it's",
            "100%s %(x)s {}",
            "ção — €",
            "line\nfeed",
            "UPPER",
            "select",
            "back\\slash",
            "é" * 31,
        ],
    )
    def test_names_may_hold_any_character(self, postgres_server: PostgresServer, server: Server, name: str) -> None:
        quoted = '"' + name.replace('"', '""') + '"'
        database = postgres_server.fresh_database(
            "db", f"CREATE SCHEMA {quoted}", f"CREATE TABLE {quoted}.{quoted} (i int)"
        )
        with open_(server, database) as snapshot:
            assert [(table.schema_name, table.name) for table in snapshot.tables] == [(name, name)]

    def test_a_database_without_tables(self, postgres_server: PostgresServer, server: Server) -> None:
        with open_(server, postgres_server.fresh_database()) as snapshot:
            assert snapshot.tables == ()


@pytest.mark.fault
class TestWhatOthersDoMeanwhile:
    def test_a_truncate_between_listing_and_lock_is_seen_and_never_half_seen(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database(
            "db",
            "CREATE TABLE t (i int)",
            "CREATE TABLE log (what text)",
            "INSERT INTO t SELECT generate_series(1, 100)",
        )

        def truncate(holder: psycopg.Connection) -> None:  # type: ignore[type-arg]
            holder.execute("TRUNCATE t")
            holder.execute("INSERT INTO log VALUES ('truncated')")

        with while_locking_waits(postgres_server, database, "t", truncate), open_(server, database) as snapshot:
            seen = rows_in(
                postgres_server, database, snapshot, "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM log)"
            )
        assert seen == [(0, 1)], "the rows are gone, so the snapshot is one in which the truncate happened"

    def test_a_rewrite_between_listing_and_lock_leaves_the_rows_visible(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database(
            "db", "CREATE TABLE t (i int)", "INSERT INTO t SELECT generate_series(1, 100)"
        )

        def rewrite(holder: psycopg.Connection) -> None:  # type: ignore[type-arg]
            holder.execute("ALTER TABLE t ALTER i TYPE bigint")

        with while_locking_waits(postgres_server, database, "t", rewrite), open_(server, database) as snapshot:
            assert rows_in(postgres_server, database, snapshot, "SELECT count(*) FROM t") == [(100,)]

    def test_a_snapshot_older_than_a_truncate_is_found_by_the_file_node(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        """What pg_dump alone would not notice: the same query in an old snapshot counts no rows, with no error."""
        database = postgres_server.fresh_database("db", "CREATE TABLE t (i int)", "INSERT INTO t VALUES (1)")
        with server.connect(database, autocommit=False) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute("SELECT 1")
            postgres_server.execute("TRUNCATE t", database=database)
            connection.execute("LOCK TABLE public.t IN ACCESS SHARE MODE")
            (table,) = list_tables(connection)
            assert table.file_node != table.present_file_node
            assert connection.execute("SELECT count(*) FROM public.t").fetchone() == (0,)

    def test_a_table_made_meanwhile_is_locked_as_well(self, postgres_server: PostgresServer, server: Server) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t (i int)")

        def create(_: psycopg.Connection) -> None:  # type: ignore[type-arg]
            postgres_server.execute("CREATE TABLE newcomer (i int)", database=database)

        with while_locking_waits(postgres_server, database, "t", create), open_(server, database) as snapshot:
            assert [table.name for table in snapshot.tables] == ["newcomer", "t"]
            with pytest.raises(psycopg.errors.LockNotAvailable):
                postgres_server.execute("SET lock_timeout = 50; TRUNCATE newcomer", database=database)

    @pytest.mark.parametrize(
        "change",
        [
            "DROP TABLE z",
            "ALTER TABLE z RENAME TO y",
            "DROP TABLE z; CREATE VIEW z AS SELECT 1 AS i",
            "DROP TABLE z; CREATE TABLE z (j int)",
        ],
    )
    def test_a_table_that_vanishes_meanwhile_is_looked_for_again(
        self, postgres_server: PostgresServer, server: Server, change: str
    ) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t (i int)", "CREATE TABLE z (i int)")

        def do(_: psycopg.Connection) -> None:  # type: ignore[type-arg]
            postgres_server.execute(change, database=database)

        with (
            while_locking_waits(postgres_server, database, "t", do),
            open_(server, database) as snapshot,
            postgres_server.connect(database) as connection,
        ):
            assert [table.oid for table in snapshot.tables] == [table.oid for table in list_tables(connection)]

    def test_tables_that_keep_changing_are_named_in_the_end(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database("db", *(f"CREATE TABLE t{i} (i int)" for i in range(200)))
        began = threading.Event()
        churn = postgres_server.connect(database)

        def run() -> None:
            began.set()
            with pytest.raises(psycopg.errors.QueryCanceled):
                churn.execute(_CHURN)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            began.wait()
            with pytest.raises(SchemaChanging, match=r"3 times in a row: .*churn_"):
                open_snapshot(
                    server, database, lock_timeout=TEN_SECONDS, deadline=in_a_minute(), attempts=3
                ).__enter__()
        finally:
            churn.cancel()
            thread.join()
            churn.close()


#: In the server, so that a busy machine slows it no more than the one that it disturbs. It drops nothing, and so never comes
#: to wait for that one's locks.
_CHURN = """
    DO $$
    BEGIN
        FOR number IN 1..1500 LOOP
            EXECUTE format('CREATE TABLE churn_%s ()', number);
            COMMIT;
            PERFORM pg_sleep(0.002);
        END LOOP;
        PERFORM pg_sleep(60);
    END $$
"""


@pytest.mark.fault
class TestLocksThatAreNotToBeHad:
    def test_a_ddl_that_holds_a_table_is_named_in_time(self, postgres_server: PostgresServer, server: Server) -> None:
        database = postgres_server.fresh_database("db", 'CREATE TABLE "pedidos 2026" (i int)')
        with postgres_server.connect(database, application_name="migration 42") as holder:
            holder.execute("BEGIN")
            holder.execute('ALTER TABLE "pedidos 2026" ADD j int')
            began = time.monotonic()
            with pytest.raises(LockTimeout) as caught, open_(server, database, timedelta(seconds=0.5)):
                pass
            assert time.monotonic() - began < 30
            message = str(caught.value)
            assert 'table public."pedidos 2026" is locked by' in message
            assert f"pid {holder.info.backend_pid}" in message
            assert "application migration 42" in message
            assert "state idle in transaction" in message
            holder.execute("ROLLBACK")
        with open_(server, database, timedelta(seconds=0.5)):
            pass

    def test_a_prepared_transaction_that_holds_a_table_is_named_as_one(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t (i int)")
        with postgres_server.connect(database) as connection:
            connection.execute(
                f"BEGIN; ALTER TABLE t ADD j int; PREPARE TRANSACTION 'forgotten in {database}'".encode()
            )
            with pytest.raises(
                LockTimeout, match=r"table public\.t is locked by a prepared transaction.*ROLLBACK PREPARED"
            ):
                open_(server, database, timedelta(seconds=0.3)).__enter__()
            connection.execute(f"ROLLBACK PREPARED 'forgotten in {database}'".encode())

    def test_the_deadline_ends_the_waiting(self, postgres_server: PostgresServer, server: Server) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t (i int)")
        with postgres_server.connect(database) as holder:
            holder.execute("BEGIN; LOCK TABLE t")
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                open_snapshot(
                    server,
                    database,
                    lock_timeout=timedelta(minutes=1),
                    deadline=datetime.now(UTC) + timedelta(seconds=1),
                ).__enter__()
            assert time.monotonic() - began < 30

    def test_a_table_that_may_not_be_read_is_named(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        database, role = (
            postgres_server.fresh_database("db", "CREATE TABLE secret (i int)"),
            postgres_server.make_role(),
        )
        with (
            Server(postgres_server.login_as(role), tmp_path) as server,
            pytest.raises(PermissionDenied, match="permission denied for table secret"),
        ):
            open_(server, database).__enter__()

    def test_more_tables_than_the_lock_table_holds_names_the_setting_to_raise(self, tmp_path: Path) -> None:
        small = start_postgres(
            with_tls=False,
            settings="max_locks_per_transaction = 10\nmax_connections = 10\nmax_prepared_transactions = 0\n",
        )
        try:
            # In several transactions: making them takes locks as well.
            for start in range(0, 2400, 60):
                small.execute("; ".join(f"CREATE TABLE t{i} ()" for i in range(start, start + 60)))
            with (
                Server(small.login, tmp_path) as server,
                pytest.raises(LockTableFull, match="raise max_locks_per_transaction"),
            ):
                open_(server, "postgres").__enter__()
        finally:
            small.stop()

    def test_nothing_is_left_locked_after_an_error_in_the_block(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t (i int)")
        with pytest.raises(ZeroDivisionError), open_(server, database):
            raise ZeroDivisionError
        postgres_server.execute("SET lock_timeout = '2s'; TRUNCATE t", database=database)


class TestDumpOfASnapshot:
    def test_rows_that_came_after_the_snapshot_are_not_in_the_dump(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t (s text)", "INSERT INTO t VALUES ('before it')")
        with open_(server, database) as snapshot:
            postgres_server.execute("INSERT INTO t VALUES ('after it')", database=database)
            with dump(server, database, snapshot.id, lock_timeout=TEN_SECONDS) as process:
                data = process.stdout.read()
                finish(process, in_a_minute())
        assert data.startswith(b"PGDMP")
        assert b"before it" in data
        assert b"after it" not in data

    def test_an_alter_table_that_waits_for_us_makes_the_dump_a_lock_timeout_and_not_an_endless_wait(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t (i int)")
        with open_(server, database) as snapshot:

            def alter() -> None:
                with postgres_server.connect(database) as connection, suppress(psycopg.errors.LockNotAvailable):
                    connection.execute("SET lock_timeout = '2s'")
                    connection.execute("ALTER TABLE t ADD j int")

            waiting = threading.Thread(target=alter)
            waiting.start()
            wait_for_a_waiting_lock(postgres_server, database)
            with dump(server, database, snapshot.id, lock_timeout=timedelta(seconds=0.5)) as process:
                process.stdout.read()
                with pytest.raises(LockTimeout, match="pg_dump failed"):
                    finish(process, in_a_minute())
            waiting.join()
