"""The server's own bounds on a statement and on its locks, set from what is left of a time.

https://www.postgresql.org/docs/current/runtime-config-client.html
"""

from __future__ import annotations

import math
from typing import Any, Literal

import psycopg
from psycopg import sql

_MILLISECONDS_MAX = 2**31 - 1

Timeout = Literal["statement_timeout", "lock_timeout"]


def timeout_milliseconds(seconds: float) -> int:
    """A time as PostgreSQL takes a timeout: at least 1, since 0 would be none.

    Never less than the time: what the server ended a part of a millisecond before it would pass for cancelled by
    somebody else.

    >>> timeout_milliseconds(0.9991)
    1000
    """
    return min(max(1, math.ceil(seconds * 1000)), _MILLISECONDS_MAX)


def set_timeout(connection: psycopg.Connection[Any], name: Timeout, seconds: float | None, *, local: bool) -> None:
    """Set one of the session, or with `local` of the transaction or savepoint; None is no timeout.

    A utility statement: it takes no snapshot.
    """
    milliseconds = 0 if seconds is None else timeout_milliseconds(seconds)
    scope = sql.SQL("LOCAL" if local else "SESSION")
    connection.execute(sql.SQL("SET {} {} = {}").format(scope, sql.Identifier(name), sql.Literal(milliseconds)))
