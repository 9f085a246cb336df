"""Sessions that look after databases from outside: creating, renaming and dropping one needs a session in another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from resguardo.api.errors import DatabaseNotFound, PermissionDenied
from resguardo.postgres.connection import Server

_DATABASES = ("postgres", "template1")


@contextmanager
def maintenance(server: Server, *, avoiding: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A session (autocommit) in `postgres`, or else in `template1`; never in `avoiding`. Errors are Resguardo's.

    Raises what connecting to the last of them raised.
    """
    candidates = [name for name in _DATABASES if name != avoiding]
    for name in candidates:
        try:
            connection = server.connect(name)
        except (DatabaseNotFound, PermissionDenied):
            if name == candidates[-1]:
                raise
            continue
        with server.translating(name), connection:
            yield connection
        return


def alter_database(connection: psycopg.Connection[Any], database: str, change: str | sql.Composable) -> None:
    """ALTER DATABASE with the name quoted; `change` is SQL of this project's own."""
    clause = sql.SQL(change) if isinstance(change, str) else change
    connection.execute(sql.SQL("ALTER DATABASE {} {}").format(sql.Identifier(database), clause))


def comment_on_database(connection: psycopg.Connection[Any], database: str, comment: str | None) -> None:
    """Set a database's comment; None takes it away."""
    connection.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(
            sql.Identifier(database), sql.NULL if comment is None else sql.Literal(comment)
        )
    )


def read_comment(connection: psycopg.Connection[Any], database: str) -> str | None:
    """A database's comment; None where there is none, or no such database."""
    row = connection.execute(
        "SELECT pg_catalog.shobj_description(d.oid, 'pg_database') FROM pg_catalog.pg_database d WHERE d.datname = %s",
        [database],
    ).fetchone()
    return row[0] if row else None
