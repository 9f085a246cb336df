"""Makes the new database that a restore loads into, and drops it when that failed."""

# ruff: noqa: S608 - these queries are put together from constants of this project
from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
import structlog
from psycopg import errors, sql

from resguardo.api.census import DatabaseProperties
from resguardo.api.connection import IDENTIFIER_MAX_BYTES
from resguardo.api.errors import RestoreFailed, TargetBusy
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
from resguardo.postgres.mark import Mark, MarkedDatabase, find_leftovers, read_marks
from resguardo.postgres.roles import borrowed_for_it_alone, give_memberships_back, lock_memberships, take_memberships
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

    The memberships that the mark names are taken in the transaction that writes it. Nobody can connect to the database
    before the mark is there, so that what has none holds nothing. After any error, drop_unfinished() cleans up.
    """
    with maintenance(server, avoiding=target) as connection:
        if not _claim(connection, name) or _exists(connection, name):
            raise RestoreFailed(
                f"a database {name} is there already, though the name was made up for this restore; try again"
            )
        statement = sql.SQL("CREATE DATABASE {} {} ALLOW_CONNECTIONS false").format(
            sql.Identifier(name), _likeness(properties, connection.info.server_version)
        )
        with bounded(connection, deadline, f"creating database {name}"):
            _patiently(connection, statement, deadline)
            with connection.transaction():
                lock_memberships(connection)
                take_memberships(connection, mark.borrowed)
                comment_on_database(connection, name, str(mark))
                connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
                alter_database(connection, name, "ALLOW_CONNECTIONS true")
    log.info("created database", database=name)


#: The advisory lock that a session holds while it makes a database: it tells who is at work, and when that is over. Such a
#: lock is one database's own, and all sessions for one target are in the same one (maintenance()).
_CLAIM = "pg_catalog.hashtextextended(pg_catalog.concat('resguardo makes ', %s::text), 0)"


def _claim(connection: psycopg.Connection[Any], name: str) -> bool:
    """Whether nobody makes this database: then, for as long as the session lasts, it is the session's to make or remove."""
    row = connection.execute(f"SELECT pg_catalog.pg_try_advisory_lock({_CLAIM})".encode(), [name]).fetchone()
    return bool(row and row[0])


def _end_creation(connection: psycopg.Connection[Any], name: str) -> None:
    """End the session that makes a database, which may work on though its client is gone, and wait until it has ended."""
    connection.execute(
        "SELECT pg_catalog.pg_terminate_backend(l.pid) FROM pg_catalog.pg_locks l"
        " WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.pid <> pg_catalog.pg_backend_pid()"
        " AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
        f" AND (l.classid::bigint << 32) | l.objid::bigint = {_CLAIM}".encode(),
        [name],
    )
    connection.execute(f"SELECT pg_catalog.pg_advisory_lock({_CLAIM})".encode(), [name])


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
    """Drop the database that this run began and could not finish, whoever is in it, and give back what was borrowed for it.

    Does nothing where it is gone or whole; ends its creation where that is still going on. Raises RestoreFailed where its
    comment says that it is somebody else's, DeadlineExceeded after half a minute.
    """
    give_up = time.monotonic() + DROP_SECONDS
    with (
        maintenance(server, avoiding=target) as connection,
        bounded(connection, give_up, f"dropping database {name}"),
    ):
        _end_creation(connection, name)
        marks = read_marks(read_comment(connection, name))[1]
        if not _exists(connection, name) or marks == (mark.restored(),):
            return
        if marks != (mark,) and not _is_bare(connection, name):
            raise RestoreFailed(f"database {name} does not carry the mark of this restore, and was not dropped")
        alter_database(connection, name, "ALLOW_CONNECTIONS false")
        terminate_sessions(connection, name)
        _remove(connection, name, give_up)
    log.info("dropped the unfinished database", database=name)


def drop_leftovers(
    server: Server, databases: Sequence[MarkedDatabase], *, target: str, uid: str, fingerprint: str
) -> list[str]:
    """Drop what an interrupted run of this very request left unfinished, and give the names.

    What a killed run borrowed is given back. So goes what runs for this target were making when they were killed, of
    whatever request: it bears no mark yet and is empty. Raises TargetBusy where somebody is at work in one: that run has
    not ended.
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
            dropped.append(name)
        dropped += _bare_ones(connection, target)
        for name in dropped:
            _remove(connection, name, time.monotonic() + DROP_SECONDS)
            log.info("dropped what an interrupted run left", database=name)
    return dropped


def _remove(connection: psycopg.Connection[Any], name: str, give_up: float) -> None:
    """Give back what was borrowed for a database, and drop it: in this order, since its mark is what remembers it."""
    with connection.transaction():
        # Its right to drop the database may be that of an owner whose membership goes back.
        alter_database(connection, name, "OWNER TO CURRENT_USER")
        give_memberships_back(connection, borrowed_for_it_alone(connection, name))
    _patiently(connection, sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)), give_up)


def _bare_ones(connection: psycopg.Connection[Any], target: str) -> list[str]:
    """Databases that some restore of this target was making, nobody has marked yet, and nobody is at work on."""
    rows = connection.execute("SELECT datname FROM pg_catalog.pg_database WHERE NOT datallowconn ORDER BY datname")
    names = [
        name
        for (name,) in rows.fetchall()
        if re.fullmatch(r"[0-9a-f]{6}", name[-6:]) and name == temporary_name(target, name[-6:])
    ]
    # The claim first: until it is had, the mark may be on its way.
    return [name for name in names if _claim(connection, name) and _is_bare(connection, name)]


def _is_bare(connection: psycopg.Connection[Any], name: str) -> bool:
    """Whether a database is as create_database() makes it at first: this role's, closed, and without a word."""
    row = connection.execute(
        "SELECT NOT d.datallowconn AND r.rolname = current_user"
        " AND pg_catalog.shobj_description(d.oid, 'pg_database') IS NULL"
        " FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.oid = d.datdba WHERE d.datname = %s",
        [name],
    ).fetchone()
    return bool(row and row[0])


def _exists(connection: psycopg.Connection[Any], name: str) -> bool:
    return connection.execute("SELECT FROM pg_catalog.pg_database WHERE datname = %s", [name]).fetchone() is not None
