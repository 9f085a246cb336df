"""The portal's database: `agepar`, made by SQL alone, always the same, of the size that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg import sql

DATABASE = "agepar"
#: Whoever restores or starts over has these to look for; the last one is what backups are made with.
ROLES = ("agepar_owner", "agepar_app", "agepar_readonly", "auditoria externa", "resguardo_backup")
BACKUP_ROLE = "resguardo_backup"
MARK = "resguardo.demo"
SQL = Path(__file__).parent / "sql"


class NotOurs(Exception):
    """A database of that name stands there and the demo did not make it."""


def fill(
    dsn: str,
    *,
    megabytes: int = 300,
    database: str = DATABASE,
    locale: str = "pt_BR.UTF-8",
    passwords: Mapping[str, str],
) -> None:
    """Make the roles (with these passwords) and the database, about so many MB of it as pg_database_size counts.

    `dsn` names a superuser. The database must not be there; a server without the locale is an error, by PostgreSQL.
    """
    with psycopg.connect(dsn, autocommit=True) as server:
        server.execute(_text("1-roles.sql"))
        for role, password in passwords.items():
            # Hashed here: a password in a statement would stand in the server's log.
            hashed = server.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
            server.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(hashed)))
        server.execute(
            sql.SQL("CREATE DATABASE {} OWNER agepar_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE {}").format(
                sql.Identifier(database), sql.Literal(locale)
            )
        )
        # At once, so that a demo that is stopped half-way can start over.
        server.execute(
            sql.SQL("ALTER DATABASE {} SET {} = 'made by the demo; may be dropped'").format(
                sql.Identifier(database), sql.SQL(MARK)
            )
        )
    with psycopg.connect(dsn, dbname=database, autocommit=True) as connection:
        # Nobody reads this database before it is full, and a server that crashes now loses nothing that is missed.
        connection.execute("SET synchronous_commit = off")
        for name, rows in _sizes(megabytes).items():
            connection.execute("SELECT set_config(%s, %s, false)", [f"demo.{name}", str(rows)])
        for part in ("2-schema.sql", "3-rows.sql", "4-behaviour.sql", "5-privileges.sql"):
            with connection.transaction():
                connection.execute(_text(part))
        connection.execute("ANALYZE")


def drop(dsn: str, *, database: str = DATABASE, roles: bool) -> None:
    """Drop the demo's database; fine when there is none. Raises NotOurs.

    With `roles`, the demo's roles go as well, and first what restores of the demo left aside, which would hold on to them.
    """
    with psycopg.connect(dsn, autocommit=True) as server:
        if _exists(server, database) and not is_ours(server, database):
            raise NotOurs(
                f"database {database} on {server.info.host} was not made by the demo (it has no setting {MARK}); "
                "nothing was touched. Give a server that has no such database"
            )
        for name in [database, *(_left_aside(server, database) if roles else [])]:
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        for role in ROLES if roles else ():
            server.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


def is_ours(server: psycopg.Connection, database: str) -> bool:
    """Whether the demo made this database: it carries the demo's setting, a restored one too."""
    found = server.execute(
        "SELECT 1 FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase, unnest(setconfig) AS setting"
        " WHERE datname = %s AND setrole = 0 AND starts_with(setting, %s)",
        [database, f"{MARK}="],
    )
    return found.fetchone() is not None


def size_bytes(dsn: str, *, database: str = DATABASE) -> int:
    """What the database takes on its server's disk."""
    with psycopg.connect(dsn, autocommit=True) as server:
        row = server.execute("SELECT pg_database_size(%s::name)", [database]).fetchone()
    if row is None:
        raise AssertionError("a SELECT without FROM gives one row")
    return int(row[0])


def _exists(server: psycopg.Connection, database: str) -> bool:
    return server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone() is not None


def _left_aside(server: psycopg.Connection, database: str) -> list[str]:
    """Restores that did not end well, by the mark that they carry (resguardo/postgres/mark.py)."""
    found = server.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s || '_') AND shobj_description(oid, 'pg_database')"
        " ~ '(^|\\n)(Being restored|Restored|Kept aside) by Resguardo: request agepar/'",
        [database],
    )
    return [name for (name,) in found]


def _text(name: str) -> str:
    return (SQL / name).read_text(encoding="utf-8")


def _sizes(megabytes: int) -> dict[str, int]:
    """How many of each make about so many megabytes; every table has some, however small the database."""
    return {
        "submissions": max(1000, megabytes * 300),
        "events": max(2000, megabytes * 1200),
        "sessions": max(200, megabytes * 250),
        "documents": max(20, megabytes),
        "document_kib": 128,
    }
