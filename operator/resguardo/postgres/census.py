"""The census: what the database is at the dump's snapshot, taken while pg_dump runs.

The session that holds the locks counts too: it alone cannot come to wait behind somebody's ALTER TABLE that waits for the
dump. Every statement of it runs in a savepoint, since an error outside of one would give the locks away.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg
import structlog
from psycopg import errors, sql

from resguardo.api.census import Census, TableRows
from resguardo.api.errors import CensusFailed, ResguardoError, Stopped
from resguardo.postgres.connection import Server
from resguardo.postgres.errors import translate
from resguardo.postgres.fingerprint import schema_fingerprint
from resguardo.postgres.properties import read_extensions, read_properties, read_roles, read_tablespaces
from resguardo.postgres.run import seconds_until
from resguardo.postgres.snapshot import Snapshot
from resguardo.postgres.tables import Table
from resguardo.postgres.timeouts import set_timeout

log = structlog.get_logger()

#: How long a helping session waits for a table; what it cannot have is left to the session that holds the locks.
HELPER_LOCK_SECONDS = 1.0
#: Definitions of functions and types are not locked: read while somebody changes one, they may fail once.
CATALOG_ATTEMPTS = 3
CANCEL_SECONDS = 5.0


class _Cancelled(Exception):
    """The census is not wanted any more."""


@dataclass
class _Sessions:
    """The sessions at work, so that they can be stopped from another thread."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: set[psycopg.Connection[Any]] = field(default_factory=set)
    is_cancelled: bool = False

    def enter(self, connection: psycopg.Connection[Any]) -> None:
        with self._lock:
            self._open.add(connection)

    def leave(self, connection: psycopg.Connection[Any]) -> None:
        with self._lock:
            self._open.discard(connection)

    def check(self) -> None:
        if self.is_cancelled:
            raise _Cancelled

    def cancel(self) -> None:
        """Stop all of it: what runs, and what would come after."""
        self.is_cancelled = True
        self.interrupt()

    def interrupt(self) -> None:
        """Cancel what runs at this moment."""
        with self._lock:
            sessions = list(self._open)
        for connection in sessions:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=CANCEL_SECONDS)


@contextmanager
def census_beside(
    server: Server,
    database: str,
    snapshot: Snapshot,
    *,
    budget: timedelta,
    deadline: datetime | float,
    connections: int = 2,
) -> Iterator[Future[Census]]:
    """Take the census in the background; the future gives it, or its error.

    Leaving the context stops it where it is not done, so that a dump that failed need not wait for the budget's end.
    """
    sessions = _Sessions()
    pool = ThreadPoolExecutor(1, thread_name_prefix="census")
    future = pool.submit(
        _take, server, database, snapshot, budget=budget, deadline=deadline, connections=connections, sessions=sessions
    )
    try:
        yield future
    finally:
        if not future.done():
            sessions.cancel()
        pool.shutdown(wait=True)


def take_census(
    server: Server,
    database: str,
    snapshot: Snapshot,
    *,
    budget: timedelta,
    deadline: datetime | float,
    connections: int = 2,
) -> Census:
    """Say what the database is in the snapshot, and count the rows of each table that is dumped.

    `budget` is for the counting. The smallest tables come first, so that as few as possible are left when the budget ends; those, and the large objects
    if there was no time, are None. The snapshot's session must not be used by anybody else meanwhile. Raises CensusFailed.
    """
    return _take(
        server,
        database,
        snapshot,
        budget=budget,
        deadline=deadline,
        connections=connections,
        sessions=_Sessions(),
    )


def _take(
    server: Server,
    database: str,
    snapshot: Snapshot,
    *,
    budget: timedelta,
    deadline: datetime | float,
    connections: int,
    sessions: _Sessions,
) -> Census:
    place = server.place(database)
    sessions.enter(snapshot.connection)
    try:
        without_rows = _describe(snapshot, sessions)
        ends_at = time.monotonic() + min(budget.total_seconds(), seconds_until(deadline))
        counts = _Counts(server, database, snapshot, ends_at, sessions)
        rows = counts.take(connections)
        large_objects = _count_large_objects(snapshot.connection, ends_at)
    except (_Cancelled, psycopg.Error) as error:
        if sessions.is_cancelled:
            raise Stopped(f"the census of {place} was stopped") from None
        if isinstance(error, psycopg.Error):
            raise CensusFailed(f"the census could not be taken: {translate(error, place)}") from error
        raise
    finally:
        sessions.leave(snapshot.connection)
    left = [name for name, count in rows.items() if count is None]
    log.info("census taken", tables=len(rows), not_counted=len(left), large_objects=large_objects)
    return without_rows.model_copy(
        update={
            "tables": [
                TableRows(schema_name=table.schema_name, name=table.name, rows=rows[table.oid], root_oid=table.root_oid)
                for table in snapshot.tables
                if table.holds_rows
            ],
            "large_objects": large_objects,
        }
    )


def read_system_identifier(connection: psycopg.Connection[Any]) -> str:
    """Which cluster of databases this is, wherever it runs."""
    found = connection.execute("SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() c").fetchone()
    return str(found[0]) if found else ""


def _describe(snapshot: Snapshot, sessions: _Sessions) -> Census:
    """The census without its counts."""
    connection = snapshot.connection
    for attempt in range(1, CATALOG_ATTEMPTS + 1):
        sessions.check()
        try:
            with connection.transaction():
                return Census(
                    server_version_num=connection.info.server_version,
                    system_identifier=read_system_identifier(connection),
                    taken_at=snapshot.taken_at,
                    lsn=snapshot.lsn,
                    database=read_properties(connection),
                    roles=read_roles(connection),
                    extensions=read_extensions(connection),
                    tablespaces=read_tablespaces(connection),
                    schema_fingerprint=schema_fingerprint(connection),
                    tables=[],
                    large_objects=None,
                )
        except (
            errors.InternalError_,
            errors.UndefinedObject,
            errors.UndefinedTable,
            errors.UndefinedFunction,
        ) as error:
            if attempt == CATALOG_ATTEMPTS:
                raise
            log.info("the schema changed while it was read; reading again", error=str(error))
    raise AssertionError("the last attempt returns or raises")


def _count_large_objects(connection: psycopg.Connection[Any], ends_at: float) -> int | None:
    return _count(
        connection,
        sql.SQL("SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata"),
        ends_at,
        lock_seconds=None,
    )


def _count(
    connection: psycopg.Connection[Any], query: sql.SQL | sql.Composed, ends_at: float, *, lock_seconds: float | None
) -> int | None:
    """The one number that the query gives; None where the time is over. Its locks are released."""
    seconds = ends_at - time.monotonic()
    if seconds <= 0:
        return None
    count: int | None = None
    try:
        with connection.transaction():
            set_timeout(connection, "statement_timeout", seconds, local=True)
            set_timeout(connection, "lock_timeout", lock_seconds, local=True)
            row = connection.execute(query).fetchone()
            count = row[0] if row else None
            raise psycopg.Rollback
    except errors.QueryCanceled:
        if time.monotonic() < ends_at:
            raise  # cancelled by somebody, not by the budget
    return count


class _Counts:
    """The tables still to be counted, and the rows of those that were; shared by the sessions that count."""

    def __init__(self, server: Server, database: str, snapshot: Snapshot, ends_at: float, sessions: _Sessions) -> None:
        self._server = server
        self._database = database
        self._snapshot = snapshot
        self._ends_at = ends_at
        self._sessions = sessions
        self._rows: dict[int, int | None] = {table.oid: None for table in snapshot.tables if table.holds_rows}
        #: deque's own operations are atomic.
        self._to_do: deque[Table] = deque()
        self._left_by_helpers: deque[Table] = deque()

    def take(self, connections: int) -> dict[int, int | None]:
        """By oid, the rows of each table; None where the budget ended first, or where rows are not to be compared."""
        self._to_do.extend(self._in_order())
        helpers = min(connections - 1, len(self._to_do) - 1)
        with ThreadPoolExecutor(max(1, helpers), thread_name_prefix="census") as pool:
            working = [pool.submit(self._help) for _ in range(helpers)]
            try:
                self._work(self._snapshot.connection, self._to_do, lock_seconds=None)
            except BaseException:
                self._to_do.clear()
                self._sessions.interrupt()
                raise
            for future in working:
                future.result()
        self._work(self._snapshot.connection, self._left_by_helpers, lock_seconds=None)
        return self._rows

    def _in_order(self) -> list[Table]:
        """Smallest first, by size on disk."""
        tables = [table for table in self._snapshot.tables if self._can_be_compared(table)]
        with self._snapshot.connection.transaction():
            sizes = dict(
                self._snapshot.connection.execute(
                    "SELECT t.oid, pg_catalog.pg_relation_size(t.oid) FROM pg_catalog.unnest(%s::oid[]) AS t (oid)",
                    [[table.oid for table in tables]],
                ).fetchall()
            )
        return sorted(tables, key=lambda table: (sizes[table.oid] or 0, table.schema_name, table.name))

    def _can_be_compared(self, table: Table) -> bool:
        """Not partitioned tables, whose partitions are counted; not what a restore makes anew.

        CREATE EXTENSION fills configuration tables with rows of its own, of which only those that match a condition are
        dumped; a standby cannot read unlogged tables.
        """
        return table.holds_rows and not table.condition and not (self._snapshot.is_standby and table.persistence == "u")

    def _help(self) -> None:
        """Count on a session of its own. Having none is no error: the other one counts on."""
        try:
            connection = self._server.connect(self._database, autocommit=False)
        except ResguardoError as error:
            log.info("the census goes on with one connection fewer", problem=str(error))
            return
        self._sessions.enter(connection)
        try:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(self._snapshot.id)))
            self._work(connection, self._to_do, lock_seconds=HELPER_LOCK_SECONDS)
        finally:
            self._sessions.leave(connection)
            connection.close()

    def _work(self, connection: psycopg.Connection[Any], tables: deque[Table], *, lock_seconds: float | None) -> None:
        with connection.transaction():
            # A census is a guest on a production server: no parallel workers, no compiling.
            connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
            connection.execute("SET LOCAL jit = off")
            for table in _drain(tables):
                self._sessions.check()
                query = sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {}").format(table.identifier)
                try:
                    self._rows[table.oid] = _count(connection, query, self._ends_at, lock_seconds=lock_seconds)
                except errors.LockNotAvailable:
                    self._left_by_helpers.append(table)


def _drain(tables: deque[Table]) -> Iterable[Table]:
    while True:
        try:
            yield tables.popleft()
        except IndexError:
            return
