"""Statistics for the planner: a dump holds none, and a restored database is slow without."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg

from resguardo.postgres.connection import Server
from resguardo.postgres.maintenance import bounded


@contextmanager
def analyzing(server: Server, database: str, deadline: datetime | float) -> Iterator[None]:
    """ANALYZE the database beside what the block does, which only reads it; over when the block is left.

    An error of the block ends it. Raises DeadlineExceeded.
    """
    with (
        server.connect(database) as connection,
        ThreadPoolExecutor(1, thread_name_prefix="analyze") as thread,
    ):
        done = thread.submit(_analyze, server, database, connection, deadline)
        try:
            yield
        except BaseException:
            connection.cancel_safe()
            raise
        done.result()


def _analyze(server: Server, database: str, connection: psycopg.Connection[Any], deadline: datetime | float) -> None:
    with server.translating(database), bounded(connection, deadline, f"analyzing database {database}"):
        connection.execute("ANALYZE")
