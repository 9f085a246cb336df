"""What a role may not do and pg_dump will want to, found before it is wanted; and whether the server is one for a dump."""

# ruff: noqa: S608 - these queries are put together from constants of this project
from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import psycopg
import structlog

from resguardo.api.errors import PoolerInBetween, ServerVersionUnsupported
from resguardo.postgres.dump import tool_versions
from resguardo.postgres.tables import CONFIGURATION, USER_SCHEMA, is_extension_member, quote_name

log = structlog.get_logger()

#: The oldest server that Resguardo knows; pg_dump knows older ones, the census does not.
OLDEST_SERVER_MAJOR = 13
#: How many oids of large objects one line names.
LARGE_OBJECTS_NAMED = 20

#: Relations whose rows or values are read. Of tables: those locked (LOCK wants SELECT as COPY does). Of sequences: all,
#: since pg_dump selects from each.
_READ = f"""
    SELECT n.oid AS schema_oid, n.nspname, c.oid, c.relname, c.relkind
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' AND {USER_SCHEMA}
      AND (c.oid IN (SELECT configuration.oid FROM ({CONFIGURATION}) configuration)
           OR NOT {is_extension_member("pg_class", "c.oid")})
"""
_SCHEMAS = f"""
    SELECT DISTINCT r.nspname FROM ({_READ}) r
    WHERE NOT pg_catalog.has_schema_privilege(r.schema_oid, 'USAGE') ORDER BY 1
"""
_RELATIONS = f"""
    SELECT r.nspname, r.relname, r.relkind FROM ({_READ}) r
    WHERE NOT CASE r.relkind WHEN 'S' THEN pg_catalog.has_sequence_privilege(r.oid, 'SELECT')
                             ELSE pg_catalog.has_table_privilege(r.oid, 'SELECT') END
    ORDER BY r.relkind = 'S', 1, 2
"""
_ROW_SECURITY = f"""
    SELECT r.nspname, r.relname FROM ({_READ}) r
    WHERE r.relkind = 'r' AND pg_catalog.row_security_active(r.oid) ORDER BY 1, 2
"""
_LARGE_OBJECTS = """
    SELECT pg_catalog.pg_get_userbyid(l.lomowner), pg_catalog.count(*),
           (pg_catalog.array_agg(l.oid::pg_catalog.int8 ORDER BY l.oid))[1:%s]
    FROM pg_catalog.pg_largeobject_metadata l
    WHERE NOT pg_catalog.current_setting('lo_compat_privileges')::pg_catalog.bool
      AND NOT pg_catalog.pg_has_role(l.lomowner, 'USAGE')
      AND NOT EXISTS (
          SELECT FROM pg_catalog.aclexplode(l.lomacl) a
          WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))
    GROUP BY 1 ORDER BY 1
"""


def missing_rights(connection: psycopg.Connection[Any]) -> list[str]:
    """Every right that pg_dump would stumble over, each with the GRANT that helps; empty where none is missing.

    Looked for on schemas, tables, sequences, row security and large objects. What belongs to extensions is not read, and
    so not looked at, their configuration tables aside.
    """
    row = connection.execute(
        "SELECT r.rolsuper, r.rolname FROM pg_catalog.pg_roles r WHERE r.rolname = current_user"
    ).fetchone()
    if row is None or row[0]:
        return []
    role = quote_name(row[1])
    readable = [
        *(f"USAGE on schema {name} (GRANT USAGE ON SCHEMA {name} TO {role})" for name in _names(connection, _SCHEMAS)),
        *(
            f"SELECT on {word} {name} (GRANT SELECT ON {word.upper()} {name} TO {role})"
            for word, name in _relations(connection)
        ),
    ]
    if len(readable) > 1 and connection.info.server_version >= 140000:
        readable.insert(
            0, f"all rights to read schemas, tables and sequences come with GRANT pg_read_all_data TO {role}"
        )
    return [
        *readable,
        *(
            f"BYPASSRLS, since row security would hide rows of table {name} (ALTER ROLE {role} BYPASSRLS, "
            "or ownership of the table without FORCE ROW LEVEL SECURITY)"
            for name in _names(connection, _ROW_SECURITY)
        ),
        *_large_objects(connection, role),
    ]


def _names(connection: psycopg.Connection[Any], query: str) -> list[str]:
    return [".".join(map(quote_name, row)) for row in connection.execute(query.encode())]


def _relations(connection: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    return [
        ("sequence" if kind == "S" else "table", f"{quote_name(schema_name)}.{quote_name(name)}")
        for schema_name, name, kind in connection.execute(_RELATIONS.encode())
    ]


def _large_objects(connection: psycopg.Connection[Any], role: str) -> list[str]:
    return [
        f"SELECT on large objects {_numbers(oids, count)} of role {quote_name(owner)} (GRANT {quote_name(owner)} TO {role},"
        f" or GRANT SELECT ON LARGE OBJECT {oids[0]} TO {role} for each)"
        for owner, count, oids in connection.execute(_LARGE_OBJECTS, [LARGE_OBJECTS_NAMED])
    ]


def _numbers(oids: Sequence[int], count: int) -> str:
    more = f" and {count - len(oids)} more" if count > len(oids) else ""
    return ", ".join(map(str, oids)) + more


def check_server(connection: psycopg.Connection[Any]) -> None:
    """Raise where a dump of this server cannot be trusted: ServerVersionUnsupported, PoolerInBetween.

    A standby will do: it exports snapshots and grants ACCESS SHARE locks. What it cannot read are unlogged tables, which
    pg_dump leaves out there with no word; so they are warned of here.
    """
    info = connection.info
    place = f"the server at {info.host}:{info.port}"
    server_major = info.server_version // 10000
    tool_version = tool_versions(server_major)["pg_dump"]
    tool_major = int(re.split(r"\D", tool_version, maxsplit=1)[0])
    if server_major > tool_major:
        raise ServerVersionUnsupported(
            f"{place} is PostgreSQL {server_major} and pg_dump here is {tool_version}: an older pg_dump cannot read a newer "
            f"server. Use an image with PostgreSQL {server_major} (spec.jobs.image)"
        )
    if tool_major >= 17 > server_major:
        log.warning(
            "pg_dump is newer than the server, and its archive will not load into a server of this version again: "
            "use the image of the server's version (spec.jobs.image)",
            server=place,
            server_major=server_major,
            pg_dump=tool_version,
        )
    if server_major < OLDEST_SERVER_MAJOR:
        raise ServerVersionUnsupported(
            f"{place} is PostgreSQL {server_major}; the oldest that Resguardo backs up is {OLDEST_SERVER_MAJOR}"
        )
    row = connection.execute("SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery()").fetchone()
    if row is None:
        raise AssertionError("a SELECT without FROM has one row")
    backend_pid, is_standby = row
    if backend_pid != info.backend_pid:
        raise PoolerInBetween(
            f"{place} answers for another one: process {backend_pid} works for this session, {info.backend_pid} was "
            "announced. That is a connection pooler, through which locks and snapshots cannot be trusted: name the server "
            "itself as host"
        )
    if is_standby:
        log.warning("this is a standby: unlogged tables are empty here and will be in no backup", server=place)
