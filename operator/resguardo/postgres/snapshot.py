"""Locks first, then one snapshot that pg_dump and the census share.

TRUNCATE and table rewrites ignore snapshots: between a snapshot and the lock after it they leave a table empty for the
reader, with no error. So every table is locked before the snapshot is taken (LOCK needs none), in the transaction that
exports it. Then the tables in the snapshot are compared with those locked, and each one's file node in it with the present
one; where they differ, all of it is done again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg
import structlog
from psycopg import errors, sql

from resguardo.api.errors import DeadlineExceeded, LockTimeout, SchemaChanging
from resguardo.postgres.connection import Server
from resguardo.postgres.run import seconds_until
from resguardo.postgres.tables import Table, list_tables
from resguardo.postgres.timeouts import set_timeout

log = structlog.get_logger()

ATTEMPTS = 8
PAUSE_MAX_SECONDS = 3.0
#: Names in one LOCK statement: few enough to fail early where one has vanished, many enough to save round trips.
LOCK_BATCH = 500
#: How many names a message holds.
NAMES_SHOWN = 10

#: A name in the list was dropped, renamed or became something else before it was locked.
_VANISHED = (errors.UndefinedTable, errors.InvalidSchemaName, errors.WrongObjectType, errors.DeadlockDetected)

_EXPORT = """
    SELECT pg_catalog.pg_export_snapshot(),
           (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                 ELSE pg_catalog.pg_current_wal_lsn() END)::text,
           pg_catalog.clock_timestamp(),
           pg_catalog.pg_is_in_recovery()
"""
_HELD = """
    SELECT l.relation FROM pg_catalog.pg_locks l
    WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.granted
      AND l.mode = 'AccessShareLock'
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
"""
_BLOCKERS = """
    SELECT DISTINCT n.nspname, c.relname, l.pid, l.granted, a.usename, a.application_name, a.state, a.xact_start
    FROM pg_catalog.pg_locks l
    JOIN pg_catalog.pg_class c ON c.oid = l.relation
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.relation = ANY(%s)
      AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
    ORDER BY l.granted DESC, n.nspname, c.relname
    LIMIT 10
"""


@dataclass(frozen=True)
class Snapshot:
    """An exported snapshot, usable by other sessions while its own transaction, which holds the locks, is open.

    `taken_at` is the server's clock, `lsn` the WAL position right after. The session may be used for reading, by one thread
    at a time; inside savepoints, since an error outside of one would give the locks away.
    """

    id: str
    lsn: str
    taken_at: datetime
    is_standby: bool
    connection: psycopg.Connection[Any] = field(repr=False)
    tables: tuple[Table, ...] = field(repr=False)


@contextmanager
def open_snapshot(
    server: Server, database: str, *, lock_timeout: timedelta, deadline: datetime | float, attempts: int = ATTEMPTS
) -> Iterator[Snapshot]:
    """Lock every table that a dump reads, then take a snapshot and export it; both end with the context.

    `lock_timeout` is for each table. Raises LockTimeout naming the table and who holds it, SchemaChanging naming what kept
    changing, PermissionDenied, LockTableFull, DeadlineExceeded.
    """
    with server.translating(database):
        connection = server.connect(database, autocommit=False)
        try:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            snapshot = _take(
                connection, f"database {database} on {server.login.host}", lock_timeout, deadline, attempts
            )
        except BaseException:
            connection.close()
            raise
    log.info("snapshot taken", database=database, snapshot=snapshot.id, lsn=snapshot.lsn, tables=len(snapshot.tables))
    try:
        yield snapshot
    finally:
        # Closing is enough: the server ends the transaction, and a session that was cut off raises nothing here.
        connection.close()


def _take(
    connection: psycopg.Connection[Any], place: str, lock_timeout: timedelta, deadline: datetime | float, attempts: int
) -> Snapshot:
    changes: list[str] = []
    for attempt in range(attempts):
        if attempt:
            log.info("tables changed while they were locked; trying again", changes=_some(changes))
            time.sleep(min(random.uniform(0.05, 0.3) * 2**attempt, PAUSE_MAX_SECONDS, seconds_until(deadline)))  # noqa: S311 - jitter
        listed = list_tables(connection)
        connection.rollback()  # the next statement is the first of a new transaction, which has no snapshot yet
        try:
            _lock(connection, listed, lock_timeout, deadline)
        except _VANISHED as error:
            connection.rollback()
            changes = [str(error.diag.message_primary)]
            continue
        except errors.LockNotAvailable:
            connection.rollback()
            raise LockTimeout(_describe_blockers(connection, place, listed, lock_timeout)) from None
        except errors.QueryCanceled as error:
            if seconds_until(deadline) > 1:
                raise
            raise DeadlineExceeded(f"{place}: the time was over while tables were being locked") from error
        snapshot = _export(connection)
        held = {row[0] for row in connection.execute(_HELD)}
        changes = find_changes(snapshot.tables, held)
        if not changes:
            return snapshot
        connection.rollback()
    raise SchemaChanging(
        f"{place}: tables kept changing while they were locked, {attempts} times in a row: {_some(changes)}. "
        "Back up at a time when nothing creates, drops, truncates or rewrites tables all the time"
    )


def _lock(
    connection: psycopg.Connection[Any], tables: Sequence[Table], lock_timeout: timedelta, deadline: datetime | float
) -> None:
    """Lock the tables themselves (ONLY: each partition and child stands in the list) in ACCESS SHARE MODE.

    Only statements that need no snapshot: SET and LOCK. A function's call would already take one.
    """
    set_timeout(connection, "lock_timeout", lock_timeout.total_seconds(), local=True)
    for start in range(0, len(tables), LOCK_BATCH):
        set_timeout(connection, "statement_timeout", seconds_until(deadline), local=True)
        names = sql.SQL(", ").join(
            sql.SQL("ONLY {}").format(table.identifier) for table in tables[start : start + LOCK_BATCH]
        )
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
    set_timeout(connection, "statement_timeout", None, local=True)
    set_timeout(connection, "lock_timeout", None, local=True)


def _export(connection: psycopg.Connection[Any]) -> Snapshot:
    row = connection.execute(_EXPORT).fetchone()
    if row is None:
        raise AssertionError("a SELECT without FROM has one row")
    name, lsn, taken_at, is_standby = row
    return Snapshot(name, lsn, taken_at, is_standby, connection, tuple(list_tables(connection)))


def find_changes(tables: Sequence[Table], held: AbstractSet[int]) -> list[str]:
    """What makes a snapshot unfit: tables in it that are not locked (by oid), and tables whose rows it cannot show."""
    changes = []
    for table in tables:
        if table.oid not in held:
            changes.append(f"{table} was made or renamed after the tables were listed")
        elif table.holds_rows and table.file_node != table.present_file_node:
            changes.append(f"{table} was truncated or rewritten after the snapshot")
    return changes


def _some(changes: Sequence[str]) -> str:
    more = f", and {len(changes) - NAMES_SHOWN} more" if len(changes) > NAMES_SHOWN else ""
    return ", ".join(changes[:NAMES_SHOWN]) + more


def _describe_blockers(
    connection: psycopg.Connection[Any], place: str, tables: Sequence[Table], lock_timeout: timedelta
) -> str:
    rows = connection.execute(_BLOCKERS, [[table.oid for table in tables]]).fetchall()
    connection.rollback()
    waited = f"{lock_timeout.total_seconds():g} s"
    if not rows:
        return f"{place}: a table was locked by somebody for longer than {waited}, and is no more: try again"
    held = []
    for schema_name, name, pid, is_granted, role, application, state, since in rows:
        table = Table(0, schema_name, name, "r", "p", 0, 0, None, 0)
        who = "a prepared transaction" if pid is None else f"pid {pid}"
        facts = [
            f"{word} {value}"
            for word, value in (("role", role), ("application", application), ("state", state), ("since", since))
            if value
        ]
        verb = "is locked by" if is_granted else "is waited for by"
        held.append(f"table {table} {verb} {who}" + (f" ({', '.join(facts)})" if facts else ""))
    return (
        f"{place}: no lock within {waited}: {'; '.join(held)}. Let that end (ALTER TABLE, TRUNCATE, VACUUM FULL and their "
        "like keep a backup waiting), or end it with pg_terminate_backend(pid), or ROLLBACK PREPARED"
    )
