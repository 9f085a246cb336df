"""Sessions that look after databases from outside: creating, renaming and dropping one needs a session in another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import errors, sql

from resguardo.api.errors import DatabaseNotFound, DeadlineExceeded, PermissionDenied
from resguardo.postgres.connection import Server
from resguardo.postgres.mark import MarkedDatabase, read_marks
from resguardo.postgres.run import seconds_until
from resguardo.postgres.timeouts import set_timeout

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


def read_marked(connection: psycopg.Connection[Any]) -> list[MarkedDatabase]:
    """The databases of the server whose comments carry marks."""
    rows = connection.execute(
        "SELECT d.datname, pg_catalog.shobj_description(d.oid, 'pg_database') FROM pg_catalog.pg_database d"
        " ORDER BY d.datname"
    ).fetchall()
    read = [MarkedDatabase(name, read_marks(comment)[1]) for name, comment in rows]
    return [database for database in read if database.marks]


@contextmanager
def bounded(connection: psycopg.Connection[Any], deadline: datetime | float, doing: str) -> Iterator[None]:
    """Let no statement of the block run past the deadline. Raises DeadlineExceeded, which says what was being done."""
    late = DeadlineExceeded(f"the time allowed was over while {doing}")
    left = seconds_until(deadline)
    if left <= 0:
        raise late
    set_timeout(connection, "statement_timeout", left, local=False)
    try:
        yield
    except errors.QueryCanceled:
        if seconds_until(deadline) > 0:
            raise  # somebody else's doing
        raise late from None
    finally:
        if not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            set_timeout(connection, "statement_timeout", None, local=False)


@dataclass(frozen=True)
class Session:
    """Somebody's session in a database; as text, for people."""

    pid: int
    description: str
    #: Whether the connection's role may end it (pg_terminate_backend's rules).
    can_be_ended: bool

    def __str__(self) -> str:
        return self.description


def sessions_in(connection: psycopg.Connection[Any], database: str) -> list[Session]:
    """Who is in a database. PostgreSQL's own workers, which make way by themselves, are not among them."""
    rows = connection.execute(
        """
        SELECT a.pid,
               pg_catalog.concat('pid ', a.pid, ', role ', a.usename, ', application ', a.application_name,
                                 ', from ' || a.client_addr::text),
               me.rolsuper OR NOT r.rolsuper
               AND (pg_catalog.pg_has_role(a.usesysid, 'USAGE') OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE'))
        FROM pg_catalog.pg_stat_activity a
        JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
        JOIN pg_catalog.pg_roles me ON me.rolname = current_user
        WHERE a.datname = %s AND a.pid <> pg_catalog.pg_backend_pid() AND a.leader_pid IS NULL
        ORDER BY a.pid
        """,
        [database],
    ).fetchall()
    return [Session(*row) for row in rows]


def terminate_sessions(connection: psycopg.Connection[Any], database: str) -> None:
    """End everybody's session in a database, of those that this role may end."""
    for session in sessions_in(connection, database):
        if session.can_be_ended:
            # Between the two queries its role may have changed, or it may be gone.
            with suppress(errors.InsufficientPrivilege):
                connection.execute("SELECT pg_catalog.pg_terminate_backend(%s)", [session.pid])
