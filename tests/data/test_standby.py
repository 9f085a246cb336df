"""A backup taken from a standby: what works there, and what cannot be read there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resguardo.postgres.census import take_census
from resguardo.postgres.connection import Server
from resguardo.postgres.dump import dump, finish
from resguardo.postgres.rights import check_server
from resguardo.postgres.snapshot import open_snapshot
from tests.fixtures.postgres import PostgresServer, start_postgres, start_standby


@pytest.fixture
def primary() -> Iterator[PostgresServer]:
    """One of its own: a standby copies every file, and the shared server has tables of a terabyte of holes."""
    server = start_postgres()
    yield server
    server.stop()


@pytest.fixture
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    server = start_standby(primary)
    yield server
    server.stop()


def test_locks_snapshot_census_and_dump_work_on_a_standby(
    primary: PostgresServer, standby: PostgresServer, tmp_path: Path
) -> None:
    database = primary.fresh_database(
        "db",
        "CREATE TABLE t AS SELECT generate_series(1, 1000) AS i",
        "CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS i",
        "CREATE TABLE z AS SELECT 'the last one'::text AS s",
    )
    wait_for_replay(primary, standby)
    deadline, minute = datetime.now(UTC) + timedelta(minutes=1), timedelta(minutes=1)
    with Server(standby.login, tmp_path) as server:
        with server.connect(database) as connection:
            check_server(connection)
        with open_snapshot(server, database, lock_timeout=minute, deadline=deadline) as snapshot:
            assert snapshot.is_standby
            primary.execute("INSERT INTO t VALUES (0)", database=database)
            wait_for_replay(primary, standby)
            census = take_census(server, database, snapshot, budget=minute, deadline=deadline)
            with dump(server, database, snapshot.id, lock_timeout=minute) as process:
                archive = process.stdout.read()
                finish(process, deadline)
    assert {table.name: table.rows for table in census.tables} == {"t": 1000, "unlogged": None, "z": 1}
    assert b"the last one" in archive


def wait_for_replay(primary: PostgresServer, standby: PostgresServer) -> None:
    (position,) = primary.query("SELECT pg_current_wal_insert_lsn()::text")[0]
    give_up = time.monotonic() + 20
    while standby.query(f"SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn") != [(True,)]:
        assert time.monotonic() < give_up, "the standby does not follow"
        primary.execute("SELECT pg_switch_wal()")
        time.sleep(0.05)
