"""Makes the new database that a restore loads into, and drops it when that failed."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import psycopg
import structlog
from psycopg import errors, sql

from resguardo.api.census import DatabaseProperties
from resguardo.api.connection import IDENTIFIER_MAX_BYTES
from resguardo.api.errors import ResguardoError, RestoreFailed, TargetBusy
from resguardo.postgres.connection import Server
from resguardo.postgres.maintenance import (
    alter_database,
    bounded,
    comment_on_database,
    maintenance,
    read_comment,
    sessions_in,
    terminate_sessions,
)
from resguardo.postgres.mark import Mark, MarkedDatabase, MarkState, find_leftovers, read_marks
from resguardo.postgres.run import seconds_until

log = structlog.get_logger()

#: How long dropping waits for sessions to end; it happens after a failure, when the deadline may have passed.
DROP_SECONDS = 30.0


def temporary_name(target: str, random_hex: str) -> str:
    """The name of a database while it is being restored, at most 63 bytes.

    >>> temporary_name("agepar", "3f9a1c")
    'agepar_restore_3f9a1c'
    """
    return _derived(target, f"_restore_{random_hex}")


def kept_name(target: str, random_hex: str) -> str:
    """The name under which the database of before is kept aside, at most 63 bytes.

    >>> len(kept_name("ção" * 40, "3f9a1c").encode()) <= 63
    True
    """
    return _derived(target, f"_before_{random_hex}")


def _derived(target: str, ending: str) -> str:
    # PostgreSQL would cut the ending, and in the middle of a character.
    room = IDENTIFIER_MAX_BYTES - len(ending.encode())
    return target.encode()[:room].decode(errors="ignore") + ending


def create_database(
    server: Server, name: str, properties: DatabaseProperties, mark: Mark, *, target: str, deadline: datetime | float
) -> None:
    """Make an empty database from template0 with the original's encoding and locale, marked, closed to PUBLIC.

    Nobody can connect to it before the mark is there, so that what a crash leaves is either empty or marked.
    """
    with maintenance(server, avoiding=target) as connection:
        if _exists(connection, name):
            raise RestoreFailed(
                f"a database {name} is there already, though the name was made up for this restore; try again"
            )
        statement = sql.SQL("CREATE DATABASE {} {} ALLOW_CONNECTIONS false").format(
            sql.Identifier(name), _likeness(properties, connection.info.server_version)
        )
        try:
            with bounded(connection, deadline, f"creating database {name}"):
                _patiently(connection, statement, deadline)
                with connection.transaction():
                    comment_on_database(connection, name, str(mark))
                    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
                    alter_database(connection, name, "ALLOW_CONNECTIONS true")
        except errors.DuplicateDatabase:
            raise
        except BaseException:
            _drop_unmarked(server, name, target=target)
            raise
    log.info("created database", database=name)


def _drop_unmarked(server: Server, name: str, *, target: str) -> None:
    """Drop what a creation that was interrupted left: a moment ago there was no such database, and nobody can be in it."""
    with suppress(ResguardoError), maintenance(server, avoiding=target) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))


def _likeness(properties: DatabaseProperties, version: int) -> sql.Composable:
    """The clauses that make a new database like the original."""
    clauses = {
        "TEMPLATE": sql.Identifier("template0"),
        "ENCODING": sql.Literal(properties.encoding),
        "LC_COLLATE": sql.Literal(properties.collate),
        "LC_CTYPE": sql.Literal(properties.ctype),
    }
    if version >= 150000:
        providers = {"c": "libc", "i": "icu", "b": "builtin"}
        clauses["LOCALE_PROVIDER"] = sql.Identifier(providers[properties.locale_provider])
        if properties.locale_provider != "c" and properties.icu_locale is not None:
            word = "ICU_LOCALE" if properties.locale_provider == "i" else "BUILTIN_LOCALE"
            clauses[word] = sql.Literal(properties.icu_locale)
        if properties.icu_rules is not None and version >= 160000:
            clauses["ICU_RULES"] = sql.Literal(properties.icu_rules)
    return sql.SQL(" ").join(sql.SQL("{} {}").format(sql.SQL(word), value) for word, value in clauses.items())


def _patiently(connection: psycopg.Connection[Any], statement: sql.Composed, deadline: datetime | float) -> None:
    """Run a statement that fails while somebody is in a database, again and again until nobody is."""
    pause = 0.1
    while True:
        try:
            connection.execute(statement)
        except errors.ObjectInUse:
            if seconds_until(deadline) <= pause:
                raise
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            pause = min(pause * 2, 2.0)
        else:
            return


def drop_unfinished(server: Server, name: str, mark: Mark, *, target: str) -> None:
    """Drop the database that this run began and could not finish, whoever is in it. Does nothing where it is gone.

    Raises RestoreFailed where its comment does not say that it is this very run's and unfinished.
    """
    give_up = time.monotonic() + DROP_SECONDS
    with maintenance(server, avoiding=target) as connection:
        if not _exists(connection, name):
            return
        marks = read_marks(read_comment(connection, name))[1]
        if marks != (mark,) or mark.state is not MarkState.BEING_RESTORED:
            raise RestoreFailed(f"database {name} does not carry the mark of this restore, and was not dropped")
        alter_database(connection, name, "ALLOW_CONNECTIONS false")
        terminate_sessions(connection, name)
        with bounded(connection, give_up, f"dropping database {name}"):
            _patiently(connection, sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)), give_up)
    log.info("dropped the unfinished database", database=name)


def drop_leftovers(
    server: Server, databases: Sequence[MarkedDatabase], *, target: str, uid: str, fingerprint: str
) -> list[str]:
    """Drop what an interrupted run of this very request left unfinished, and give the names.

    Raises TargetBusy where somebody is at work in one: that run has not ended.
    """
    dropped = []
    with maintenance(server, avoiding=target) as connection:
        for name in find_leftovers(databases, uid=uid, fingerprint=fingerprint):
            present = MarkedDatabase(name, read_marks(read_comment(connection, name))[1])
            if find_leftovers([present], uid=uid, fingerprint=fingerprint) != [name]:
                continue
            if at_work := sessions_in(connection, name):
                raise TargetBusy(
                    f"another run of this request is loading database {name} ({at_work[0]}): let it end, or end it"
                )
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
            log.info("dropped what an interrupted run left", database=name)
            dropped.append(name)
    return dropped


def _exists(connection: psycopg.Connection[Any], name: str) -> bool:
    return connection.execute("SELECT FROM pg_catalog.pg_database WHERE datname = %s", [name]).fetchone() is not None
