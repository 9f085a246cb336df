"""Statistics for the planner: a dump holds none, and a restored database is slow without."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from resguardo.postgres.connection import Server
from resguardo.postgres.maintenance import bounded

SESSIONS = 4

#: What ANALYZE without names takes (get_all_vacuum_rels in vacuum.c), the largest first. A partitioned table takes its
#: partitions along, so that those need no turn of their own.
_RELATIONS = """
    SELECT n.nspname, c.relname
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
    ORDER BY c.relkind = 'p' DESC, c.relpages DESC, pg_catalog.pg_relation_size(c.oid) DESC
"""


@contextmanager
def analyzing(server: Server, database: str, deadline: datetime | float) -> Iterator[None]:
    """ANALYZE the database in several sessions beside what the block does, which only reads it; over when it is left.

    An error of the block ends it. Raises DeadlineExceeded.
    """
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connect(database)) for _ in range(SESSIONS)]
        stack.enter_context(server.translating(database))
        waiting = deque(connections[0].execute(_RELATIONS).fetchall())
        threads = stack.enter_context(ThreadPoolExecutor(SESSIONS, thread_name_prefix="analyze"))
        done = [threads.submit(_analyze, connection, waiting, database, deadline) for connection in connections]
        try:
            yield
            _raise_first_error(done)
        except BaseException:
            waiting.clear()
            for connection in connections:
                connection.cancel_safe()
            raise


def _raise_first_error(done: list[Future[None]]) -> None:
    for future in done:
        future.result()


def _analyze(
    connection: psycopg.Connection[Any], waiting: deque[tuple[str, str]], database: str, deadline: datetime | float
) -> None:
    while waiting:
        try:
            schema, name = waiting.popleft()
        except IndexError:  # another session was quicker
            return
        with bounded(connection, deadline, f"analyzing database {database}"):
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, name)))
