"""Reads what a restore must know of the server that it restores to. Changes nothing."""

# ruff: noqa: S608 - these queries are put together from constants of this project
from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import errors, sql

from resguardo.api.census import DatabaseProperties
from resguardo.api.errors import PostgresError
from resguardo.postgres.connection import Server
from resguardo.postgres.maintenance import maintenance, read_marked
from resguardo.postgres.mark import MarkedDatabase, borrowed_for
from resguardo.postgres.restored_properties import refused_settings
from resguardo.postgres.run import run, tool
from resguardo.rules.archive import Contents, major_of
from resguardo.rules.restore_facts import AvailableExtension, ExistingDatabase, RoleFacts, TargetFacts
from resguardo.rules.restore_omissions import label_provider

VERSION_SECONDS = 30

#: The first oid of what is not part of PostgreSQL itself (FirstNormalObjectId, src/include/access/transam.h).
_FIRST_OF_USERS = 16384


def read_target_facts(server: Server, database: str, *, contents: Contents, wanted: DatabaseProperties) -> TargetFacts:
    """Everything that rules.restore_plan decides by. `database` is the target's name, `wanted` the original's properties."""
    with maintenance(server, avoiding=database) as connection:
        # Before the memberships are read: one that has ended in between is then known as borrowed, and taken anew.
        borrowed = borrowed_for(read_marked(connection))
        role, is_superuser, can_create_databases, can_create_roles, inherits = _one(
            connection,
            "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolinherit FROM pg_catalog.pg_roles"
            " WHERE rolname = current_user",
        )
        return TargetFacts(
            server_version_num=connection.info.server_version,
            tool_major=_tool_major(max(contents.tool_major, connection.info.server_version // 10000)),
            role=role,
            is_superuser=is_superuser,
            can_create_databases=can_create_databases,
            can_create_roles=can_create_roles,
            inherits=inherits,
            roles=_read_roles(connection, borrowed),
            extensions=_read_extensions(connection),
            absent_label_providers=frozenset(_absent_label_providers(connection, contents, role)),
            refused_settings=tuple(refused_settings(connection, wanted, role)),
            is_encoding_known=_one(connection, "SELECT pg_catalog.pg_char_to_encoding(%s) >= 0", wanted.encoding)[0],
            locale_refusal=_locale_refusal(connection, wanted),
            collation_version=_collation_version(connection, wanted),
            existing=_read_existing(connection, server, database),
        )


def marked_databases(server: Server, database: str) -> list[MarkedDatabase]:
    """The databases of the server whose comments carry marks; `database` is the target's name."""
    with maintenance(server, avoiding=database) as connection:
        return read_marked(connection)


def find_hangers(connection: psycopg.Connection[Any], database: str) -> list[str]:
    """What would be torn from a database that is set aside, one sentence each: slots, subscriptions, prepared transactions."""
    rows = connection.execute(
        """
        SELECT pg_catalog.format('replication slot %%s (drop it: SELECT pg_drop_replication_slot(%%L))', slot_name, slot_name)
        FROM pg_catalog.pg_replication_slots WHERE database = %(database)s
        UNION ALL
        SELECT pg_catalog.format('subscription %%s (drop it: DROP SUBSCRIPTION %%I)', s.subname, s.subname)
        FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
        WHERE d.datname = %(database)s
        UNION ALL
        SELECT pg_catalog.format('prepared transaction %%s of role %%s (end it: COMMIT PREPARED %%L, or ROLLBACK PREPARED)',
                                 gid, owner, gid)
        FROM pg_catalog.pg_prepared_xacts WHERE database = %(database)s
        """,
        {"database": database},
    ).fetchall()
    return [f"database {database} has {text}" for (text,) in rows]


def _one(connection: psycopg.Connection[Any], query: str, *parameters: object) -> tuple[Any, ...]:
    row = connection.execute(query.encode(), list(parameters)).fetchone()
    if row is None:
        raise PostgresError(f"the server gave no answer to: {query}")
    return tuple(row)


def _tool_major(wanted: int) -> int:
    path = tool("pg_restore", major=wanted)
    said = run([path, "--version"], environment={}, deadline=time.monotonic() + VERSION_SECONDS).stdout.decode(
        errors="replace"
    )
    return major_of(said.rpartition("(PostgreSQL) ")[2])


def _read_roles(connection: psycopg.Connection[Any], borrowed: Iterable[str]) -> dict[str, RoleFacts]:
    # From 16 on, membership alone allows neither SET ROLE nor the use of rights, and CREATEROLE alone grants nothing.
    if connection.info.server_version >= 160000:
        settable = "pg_catalog.pg_has_role(r.oid, 'SET')"
        grantable = "pg_catalog.pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')"
        of_use = "m.set_option"
    else:
        settable = "pg_catalog.pg_has_role(r.oid, 'MEMBER')"
        grantable = "(me.rolcreaterole OR pg_catalog.pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION'))"
        of_use = "true"
    rows = connection.execute(
        f"""
        SELECT r.rolname, r.rolsuper, pg_catalog.pg_has_role(r.oid, 'USAGE'), {settable},
               {grantable} AND NOT r.rolsuper AND NOT pg_catalog.pg_has_role(r.oid, me.oid, 'MEMBER'),
               r.rolname = ANY(%s) AND EXISTS (SELECT FROM pg_catalog.pg_auth_members m
                                               WHERE m.roleid = r.oid AND m.member = me.oid AND m.grantor = me.oid),
               ARRAY(SELECT DISTINCT g.rolname::text FROM pg_catalog.pg_auth_members m
                     JOIN pg_catalog.pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid AND {of_use})
        FROM pg_catalog.pg_roles r
        JOIN pg_catalog.pg_roles me ON me.rolname = current_user
        """.encode(),
        [list(borrowed)],
    )
    return {name: replace(RoleFacts(*facts), member_of=tuple(member_of)) for name, *facts, member_of in rows}


def _read_extensions(connection: psycopg.Connection[Any]) -> dict[str, AvailableExtension]:
    rows = connection.execute(
        "SELECT e.name, e.default_version, v.superuser, v.trusted FROM pg_catalog.pg_available_extensions e"
        " JOIN pg_catalog.pg_available_extension_versions v ON v.name = e.name AND v.version = e.default_version"
    )
    return {name: AvailableExtension(*facts) for name, *facts in rows}


def _absent_label_providers(connection: psycopg.Connection[Any], contents: Contents, role: str) -> Iterator[str]:
    """Providers are in no catalog. The server looks for one before all else when a label is to be set (seclabel.c)."""
    labels = (entry.definition for entry in contents.entries if entry.description == "SECURITY LABEL")
    for provider in sorted({name for name in map(label_provider, labels) if name}):
        statement = sql.SQL("SECURITY LABEL FOR {} ON ROLE {} IS NULL").format(
            sql.Identifier(provider), sql.Identifier(role)
        )
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(statement)
        except errors.InvalidParameterValue:
            yield provider
        except psycopg.DatabaseError:
            continue  # it is there, and refuses this role


def _locale_refusal(connection: psycopg.Connection[Any], wanted: DatabaseProperties) -> str | None:
    """What speaks against the original's locale here. The C library is asked by a setting that takes any of its locales."""
    version = connection.info.server_version
    if (
        wanted.locale_provider == "i"
        and not _one(connection, "SELECT EXISTS (SELECT FROM pg_catalog.pg_collation WHERE collprovider = 'i')")[0]
    ):
        return "it is built without ICU"
    if (wanted.locale_provider == "i" and version < 150000) or (wanted.locale_provider == "b" and version < 170000):
        return f"locale provider {wanted.locale_provider!r} is newer than this server"
    for locale in dict.fromkeys([wanted.collate, wanted.ctype]):
        try:
            with connection.transaction(force_rollback=True):
                connection.execute("SELECT pg_catalog.set_config('lc_time', %s, true)", [locale])
        except errors.InvalidParameterValue:
            return f"it knows no locale {locale}"
    return None


def _collation_version(connection: psycopg.Connection[Any], wanted: DatabaseProperties) -> str | None:
    """The version of the original's collation here, from a database or a collation that is alike."""
    if connection.info.server_version < 150000:
        return None
    locale = "datlocale" if connection.info.server_version >= 170000 else "daticulocale"
    row = connection.execute(
        f"SELECT pg_catalog.pg_database_collation_actual_version(d.oid) FROM pg_catalog.pg_database d"
        f" WHERE d.datlocprovider::text = %s AND d.datcollate = %s AND d.{locale} IS NOT DISTINCT FROM %s LIMIT 1".encode(),
        [wanted.locale_provider, wanted.collate, wanted.icu_locale],
    ).fetchone()
    if row is None and wanted.locale_provider == "c":
        row = connection.execute(
            "SELECT pg_catalog.pg_collation_actual_version(c.oid) FROM pg_catalog.pg_collation c"
            " WHERE c.collprovider = 'c' AND c.collcollate = %s LIMIT 1",
            [wanted.collate],
        ).fetchone()
    return row[0] if row else None


#: What a person could miss, by the catalog that it is in. Extensions and their members come from elsewhere and count not.
_HOLDINGS = {
    "tables": ("pg_class", "o.relkind IN ('r', 'p', 'f')"),
    "views": ("pg_class", "o.relkind IN ('v', 'm')"),
    "sequences": ("pg_class", "o.relkind = 'S'"),
    "composite types": ("pg_class", "o.relkind = 'c'"),
    "functions": ("pg_proc", "true"),
    "types": ("pg_type", "o.typtype IN ('d', 'e', 'r') OR o.typtype = 'b' AND o.typelem = 0"),
    "schemas": ("pg_namespace", "o.nspname !~ '^pg_(toast_)?temp_'"),
    "large objects": ("pg_largeobject_metadata", "true"),
    "foreign servers": ("pg_foreign_server", "true"),
    "publications": ("pg_publication", "true"),
    "event triggers": ("pg_event_trigger", "true"),
    "operators": ("pg_operator", "true"),
    "text search configurations": ("pg_ts_config", "true"),
    "collations": ("pg_collation", "true"),
}


def _read_existing(connection: psycopg.Connection[Any], server: Server, database: str) -> ExistingDatabase | None:
    row = connection.execute(
        "SELECT pg_catalog.pg_get_userbyid(d.datdba), d.datallowconn FROM pg_catalog.pg_database d WHERE d.datname = %s",
        [database],
    ).fetchone()
    if row is None:
        return None
    owner, allows_connections = row
    holds: tuple[str, ...]
    if not allows_connections:
        holds = ("what nobody can look at, since it allows no connections",)
    else:
        try:
            with server.connect(database) as inside, server.translating(database):
                holds = tuple(_read_holdings(inside))
        except PostgresError as error:
            holds = (f"what this role cannot look at ({error})",)
    return ExistingDatabase(owner, holds, tuple(find_hangers(connection, database)))


def _read_holdings(connection: psycopg.Connection[Any]) -> Iterator[str]:
    for word, (catalog, condition) in _HOLDINGS.items():
        count = _one(
            connection,
            f"SELECT pg_catalog.count(*) FROM pg_catalog.{catalog} o WHERE o.oid >= {_FIRST_OF_USERS} AND ({condition})"
            " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend m WHERE m.deptype = 'e'"
            f" AND m.classid = 'pg_catalog.{catalog}'::pg_catalog.regclass AND m.objid = o.oid)",
        )[0]
        if count:
            yield f"{count} {word}"
