"""pg_dump and pg_dumpall as they really end: well, killed, refused; and what is in what they write."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from resguardo.api.errors import DatabaseUnreachable, DeadlineExceeded, DumpFailed, PermissionDenied
from resguardo.postgres.connection import Server
from resguardo.postgres.dump import dump, dump_globals, finish, output
from resguardo.postgres.run import Process, run, tool
from resguardo.postgres.snapshot import open_snapshot
from tests.fixtures.postgres import PostgresServer

SECOND = timedelta(seconds=1)


def in_a_minute() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=1)


def archive_of(server: Server, database: str) -> bytes:
    with (
        open_snapshot(server, database, lock_timeout=SECOND, deadline=in_a_minute()) as snapshot,
        dump(server, database, snapshot.id, lock_timeout=SECOND) as process,
    ):
        archive = process.stdout.read()
        finish(process, in_a_minute())
    return archive


def restored(postgres_server: PostgresServer, server: Server, archive: bytes, target: str) -> None:
    done = run(
        [tool("pg_restore"), "--exit-on-error", f"--dbname={server.conninfo(target)}"],
        environment=server.tool_environment, deadline=in_a_minute(), input=[archive],
    )  # fmt: skip
    assert done.exit_status == 0, done.stderr_tail


class TestDump:
    def test_data_large_objects_and_awkward_names_come_back(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        name = "a b'q\"uo%te=\\ é\nx"
        quoted = '"' + name.replace('"', '""') + '"'
        postgres_server.execute(f"DROP DATABASE IF EXISTS {quoted}", f"CREATE DATABASE {quoted}")
        postgres_server.execute(
            f"CREATE TABLE {quoted} ({quoted} text)",
            f"INSERT INTO {quoted} VALUES (E'zeile\\n\\t\\\\ ção')",
            "SELECT lo_from_bytea(4711, '\\xdeadbeef')",
            database=name,
        )
        target = postgres_server.fresh_database("target")
        restored(postgres_server, server, archive_of(server, name), target)
        assert postgres_server.query(f"SELECT * FROM {quoted}", database=target) == [("zeile\n\t\\ ção",)]
        assert postgres_server.query("SELECT lo_get(4711)", database=target) == [(b"\xde\xad\xbe\xef",)]

    def test_bytes_that_are_no_text_in_any_encoding_come_back(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        """SQL_ASCII takes every byte; a dump in UTF-8 could not be read back."""
        source, target = postgres_server.new_name("ascii"), postgres_server.new_name("ascii")
        for name in (source, target):
            postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
        with postgres_server.connect(source) as connection:
            connection.execute("SET client_encoding = 'SQL_ASCII'")
            connection.execute(b"CREATE TABLE t AS SELECT '\xe9\xff'::text AS s")
        restored(postgres_server, server, archive_of(server, source), target)
        assert postgres_server.query("SELECT s::bytea FROM t", database=target) == [(b"\xe9\xff",)]

    def test_timeouts_of_role_and_database_do_not_break_a_dump_that_is_read_slowly(
        self, postgres_server: PostgresServer, tmp_path: Path
    ) -> None:
        role = postgres_server.make_role()
        database = postgres_server.fresh_database(
            "db",
            "CREATE TABLE t AS SELECT i, repeat('x', 900) FROM generate_series(1, 9000) i",
            f"GRANT SELECT ON t TO {role}",
        )
        for timeout in (
            "statement_timeout",
            "lock_timeout",
            "idle_in_transaction_session_timeout",
            "idle_session_timeout",
        ):
            postgres_server.execute(
                f"ALTER ROLE {role} SET {timeout} = '200ms'", f"ALTER DATABASE {database} SET {timeout} = '200ms'"
            )
        with (
            Server(postgres_server.login_as(role), tmp_path) as server,
            open_snapshot(server, database, lock_timeout=SECOND, deadline=in_a_minute()) as snapshot,
            dump(server, database, snapshot.id, lock_timeout=SECOND) as process,
        ):
            time.sleep(1.5)
            assert len(process.stdout.read()) > 8_000_000
            finish(process, in_a_minute())
            assert snapshot.connection.execute("SELECT count(*) FROM public.t").fetchone() == (9000,)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_a_killed_pg_dump_is_a_dump_that_failed(
        self, postgres_server: PostgresServer, server: Server, number: signal.Signals
    ) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t AS SELECT generate_series(1, 1000000) AS i")
        with (
            open_snapshot(server, database, lock_timeout=SECOND, deadline=in_a_minute()) as snapshot,
            dump(server, database, snapshot.id, lock_timeout=SECOND) as process,
        ):
            assert process.stdout.read(5) == b"PGDMP"
            os.kill(process.pid, number)
            process.stdout.read()
            with pytest.raises(DumpFailed) as caught:
                finish(process, in_a_minute())
        assert number.name in str(caught.value) or number == signal.SIGTERM
        assert ("memory limit" in str(caught.value)) == (number == signal.SIGKILL)

    def test_a_session_that_the_server_ends_is_a_dump_that_failed(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t AS SELECT generate_series(1, 2000000) AS i")
        with (
            open_snapshot(server, database, lock_timeout=SECOND, deadline=in_a_minute()) as snapshot,
            dump(server, database, snapshot.id, lock_timeout=SECOND) as process,
        ):
            process.stdout.read(5)
            postgres_server.query(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
                f" AND pid <> {snapshot.connection.info.backend_pid}"
            )
            process.stdout.read()
            with pytest.raises(DumpFailed, match=r"terminating connection|closed the connection"):
                finish(process, in_a_minute())

    def test_a_snapshot_that_is_gone_is_a_dump_that_failed(
        self, postgres_server: PostgresServer, server: Server
    ) -> None:
        database = postgres_server.fresh_database()
        with open_snapshot(server, database, lock_timeout=SECOND, deadline=in_a_minute()) as snapshot:
            pass
        with dump(server, database, snapshot.id, lock_timeout=SECOND) as process:
            process.stdout.read()
            with pytest.raises(DumpFailed, match="snapshot"):
                finish(process, in_a_minute())

    def test_a_right_that_was_taken_meanwhile_is_named(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        role = postgres_server.make_role()
        database = postgres_server.fresh_database("db", "CREATE SEQUENCE hidden")
        with (
            Server(postgres_server.login_as(role), tmp_path) as server,
            open_snapshot(server, database, lock_timeout=SECOND, deadline=in_a_minute()) as snapshot,
            dump(server, database, snapshot.id, lock_timeout=SECOND) as process,
        ):
            process.stdout.read()
            with pytest.raises(PermissionDenied, match="permission denied for sequence hidden"):
                finish(process, in_a_minute())

    def test_a_dump_past_its_deadline_is_ended(self, postgres_server: PostgresServer, server: Server) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t AS SELECT generate_series(1, 1000000) AS i")
        with (
            open_snapshot(server, database, lock_timeout=SECOND, deadline=in_a_minute()) as snapshot,
            dump(server, database, snapshot.id, lock_timeout=SECOND) as process,
        ):
            with pytest.raises(DeadlineExceeded):  # nobody reads it, so it cannot end
                finish(process, datetime.now(UTC) + timedelta(seconds=0.5))
            assert process.exit_status is not None

    def test_leaving_the_block_ends_it(self, postgres_server: PostgresServer, server: Server) -> None:
        database = postgres_server.fresh_database("db", "CREATE TABLE t AS SELECT generate_series(1, 1000000) AS i")
        with open_snapshot(server, database, lock_timeout=SECOND, deadline=in_a_minute()) as snapshot:
            process = dump(server, database, snapshot.id, lock_timeout=SECOND)
            with pytest.raises(ZeroDivisionError), process:
                raise ZeroDivisionError
            assert process.exit_status is not None


class TestGlobals:
    def globals_of(self, server: Server, database: str) -> str:
        with dump_globals(server, database) as process:
            text = process.stdout.read()
            finish(process, in_a_minute())
        return text.decode()

    def test_roles_memberships_and_no_password(self, postgres_server: PostgresServer, server: Server) -> None:
        group, member = postgres_server.make_role("group"), postgres_server.make_role("member")
        postgres_server.execute(f"GRANT {group} TO {member}")
        text = self.globals_of(server, "postgres")
        assert f"CREATE ROLE {member};" in text
        assert f"GRANT {group} TO {member}" in text
        assert "PASSWORD" not in text
        assert "SCRAM" not in text

    @pytest.mark.parametrize("name", ["plain", "a=b", "q'uo\"te", "dbname=postgres"])
    def test_a_role_that_is_let_into_one_database_only(
        self, postgres_server: PostgresServer, tmp_path: Path, name: str
    ) -> None:
        role = postgres_server.make_role()
        quoted = '"' + name.replace('"', '""') + '"'
        postgres_server.execute(
            f"DROP DATABASE IF EXISTS {quoted}", f"CREATE DATABASE {quoted}", "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC",
            "REVOKE CONNECT ON DATABASE template1 FROM PUBLIC",
        )  # fmt: skip
        try:
            with Server(postgres_server.login_as(role), tmp_path) as server:
                assert f"CREATE ROLE {role};" in self.globals_of(server, name)
        finally:
            postgres_server.execute(
                "GRANT CONNECT ON DATABASE postgres TO PUBLIC", "GRANT CONNECT ON DATABASE template1 TO PUBLIC"
            )


@dataclass
class Crowded:
    """A role that may have so many sessions and no more, all but the last of which a backup holds already."""

    server: Server
    database: str
    start: Callable[[], Process]
    _take_last: Callable[[], psycopg.Connection[Any]]
    starts: int = 0

    def refused(self) -> Process:
        """A program that found the last session taken, and has ended; the session is free again then."""
        self.starts += 1
        with closing(self._take_last()):
            process = self.start()
            process.wait(in_a_minute())
        return process

    def refused_once(self) -> Process:
        if self.starts == 0:
            return self.refused()
        self.starts += 1
        return self.start()

    def output(self, start: Callable[[], Process]) -> bytes:
        return b"".join(output(start, self.server, self.database, in_a_minute()))


@pytest.mark.fault
class TestNoConnection:
    """The program is refused though we were let in a moment before."""

    @pytest.fixture(params=["pg_dump", "pg_dumpall"])
    def program(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def crowded(self, postgres_server: PostgresServer, tmp_path: Path, program: str) -> Iterator[Crowded]:
        role = postgres_server.make_role(attributes=f"LOGIN CONNECTION LIMIT {2 if program == 'pg_dump' else 1}")
        database, login = postgres_server.fresh_database(), postgres_server.login_as(role)
        with ExitStack() as stack:
            server = stack.enter_context(Server(login, tmp_path, patience=SECOND))
            start = partial(dump_globals, server, database)
            if program == "pg_dump":
                snapshot = open_snapshot(server, database, lock_timeout=SECOND, deadline=in_a_minute())
                start = partial(dump, server, database, stack.enter_context(snapshot).id, lock_timeout=SECOND)
            yield Crowded(server, database, start, partial(postgres_server.connect, database, login))

    def test_no_connection_for_a_moment_is_ridden_out(self, crowded: Crowded, program: str) -> None:
        begins = {"pg_dump": b"PGDMP", "pg_dumpall": b"--\n-- PostgreSQL database cluster dump"}
        assert crowded.output(crowded.refused_once).startswith(begins[program])
        assert crowded.starts == 2

    def test_no_connection_for_long_is_told_with_its_cause(self, crowded: Crowded) -> None:
        with closing(crowded._take_last()), pytest.raises(DatabaseUnreachable, match="CONNECTION LIMIT"):
            crowded.output(crowded.start)

    def test_no_connection_that_only_the_program_meets_is_told_in_its_words(
        self, crowded: Crowded, program: str
    ) -> None:
        with pytest.raises(DumpFailed, match=rf"{program} failed with exit status 1: .*connect"):
            crowded.output(crowded.refused)
        assert crowded.starts >= 2
