"""A database's own properties, and what it needs of its server: all that a dump of its contents does not hold."""

# ruff: noqa: S608 - these queries are put together from constants of this project
from __future__ import annotations

from typing import Any

import psycopg

from resguardo.api.census import DatabaseProperties, DatabaseSetting, Extension, Role
from resguardo.postgres.mark import strip_mark
from resguardo.postgres.tables import USER_SCHEMA, is_extension_member

#: to_jsonb gives NULL for columns that this version of pg_database does not have: datlocprovider came with 15,
#: daticurules with 16, and in 17 datlocale took daticulocale's place.
_PROPERTIES = """
    SELECT d.datname, pg_catalog.pg_encoding_to_char(d.encoding), COALESCE(j.row ->> 'datlocprovider', 'c'),
           d.datcollate, d.datctype, COALESCE(j.row ->> 'daticulocale', j.row ->> 'datlocale'), j.row ->> 'daticurules',
           j.row ->> 'datcollversion', pg_catalog.pg_get_userbyid(d.datdba), d.datacl::text[],
           pg_catalog.shobj_description(d.oid, 'pg_database'), d.datconnlimit, d.datistemplate,
           pg_catalog.pg_database_size(d.oid)
    FROM pg_catalog.pg_database d, LATERAL (SELECT pg_catalog.to_jsonb(d)) AS j (row)
    WHERE d.datname = pg_catalog.current_database()
"""
_SETTINGS = """
    SELECT r.rolname, setting.text
    FROM pg_catalog.pg_db_role_setting s
    JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase AND d.datname = pg_catalog.current_database()
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
    CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS setting (text)
    WHERE s.setrole = 0 OR r.rolname IS NOT NULL
    ORDER BY r.rolname NULLS FIRST, setting.text
"""
_EXTENSIONS = """
    SELECT e.extname, e.extversion, n.nspname
    FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace ORDER BY 1
"""
_TABLESPACES = f"""
    SELECT DISTINCT t.spcname
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_tablespace t ON t.oid = c.reltablespace
    WHERE {USER_SCHEMA} AND c.relpersistence <> 't' ORDER BY 1
"""

#: The superuser that initdb made. It is pinned: pg_shdepend holds nothing of it, so it is looked for object by object.
_BOOTSTRAP = 10
_OWNED = f"""
    SELECT c.relowner, c.relacl FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE {USER_SCHEMA} AND c.relkind NOT IN ('i', 'I') AND NOT {is_extension_member("pg_class", "c.oid")}
    UNION ALL
    SELECT NULL, a.attacl FROM pg_catalog.pg_attribute a WHERE a.attacl IS NOT NULL AND a.attrelid >= 16384
    UNION ALL
    SELECT p.proowner, p.proacl FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE {USER_SCHEMA} AND NOT {is_extension_member("pg_proc", "p.oid")}
    UNION ALL
    SELECT t.typowner, t.typacl FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE {USER_SCHEMA} AND NOT {is_extension_member("pg_type", "t.oid")}
      -- row types, arrays and multiranges come with a relation or another type, to which an extension's claim is made
      AND t.typrelid = 0 AND t.typcategory <> 'A' AND t.typtype <> 'm'
    UNION ALL
    SELECT n.nspowner, n.nspacl FROM pg_catalog.pg_namespace n
    WHERE n.oid >= 16384 AND {USER_SCHEMA} AND NOT {is_extension_member("pg_namespace", "n.oid")}
    UNION ALL
    SELECT d.defaclrole, d.defaclacl FROM pg_catalog.pg_default_acl d
    UNION ALL
    SELECT l.lomowner, l.lomacl FROM pg_catalog.pg_largeobject_metadata l
    WHERE l.lomowner = {_BOOTSTRAP} OR l.lomacl IS NOT NULL
    UNION ALL
    SELECT s.srvowner, s.srvacl FROM pg_catalog.pg_foreign_server s
    UNION ALL
    SELECT s.stxowner, NULL FROM pg_catalog.pg_statistic_ext s
    UNION ALL
    SELECT e.evtowner, NULL FROM pg_catalog.pg_event_trigger e WHERE NOT {is_extension_member("pg_event_trigger", "e.oid")}
    UNION ALL
    SELECT p.pubowner, NULL FROM pg_catalog.pg_publication p
    UNION ALL
    SELECT s.subowner, NULL FROM pg_catalog.pg_subscription s
    WHERE s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
    UNION ALL
    SELECT d.datdba, d.datacl FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
"""
_IS_EXTENSIONS_OWN = """
    s.deptype = 'o' AND (s.classid = 'pg_catalog.pg_extension'::pg_catalog.regclass
        OR EXISTS (SELECT FROM pg_catalog.pg_depend m WHERE m.classid = s.classid AND m.objid = s.objid
                   AND m.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND m.deptype = 'e'))
"""
#: Owners (o), grantees (a) and policies' roles (r) of this database's objects, of default privileges, large objects and user
#: mappings as well: https://www.postgresql.org/docs/current/catalog-pg-shdepend.html
_NEEDED = f"""
    SELECT s.refobjid AS oid
    FROM pg_catalog.pg_shdepend s, pg_catalog.pg_database d
    WHERE d.datname = pg_catalog.current_database()
      AND s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.deptype IN ('o', 'a', 'r')
      AND (s.dbid = d.oid AND NOT ({_IS_EXTENSIONS_OWN})
           OR s.dbid = 0 AND s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND s.objid = d.oid)
    UNION
    SELECT s.setrole FROM pg_catalog.pg_db_role_setting s
    JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase AND d.datname = pg_catalog.current_database()
    UNION
    SELECT {_BOOTSTRAP} WHERE EXISTS (
        SELECT FROM ({_OWNED}) AS owned (owner, acl)
        WHERE owned.owner = {_BOOTSTRAP}
           OR EXISTS (SELECT FROM pg_catalog.aclexplode(owned.acl) a WHERE a.grantee = {_BOOTSTRAP}))
"""
_ROLES = f"""
    WITH needed AS (
        SELECT r.oid, r.rolname, r.rolinherit
        FROM pg_catalog.pg_roles r JOIN ({_NEEDED}) n ON n.oid = r.oid
        WHERE r.rolname !~ '^pg_'
    )
    SELECT n.rolname, n.rolinherit,
           ARRAY(SELECT DISTINCT g.rolname::text FROM pg_catalog.pg_auth_members m JOIN needed g ON g.oid = m.roleid
                 WHERE m.member = n.oid ORDER BY 1)
    FROM needed n ORDER BY 1
"""


def read_properties(connection: psycopg.Connection[Any]) -> DatabaseProperties:
    """The properties of the database that the session is in, as the transaction sees them."""
    row = connection.execute(_PROPERTIES).fetchone()
    if row is None:
        raise AssertionError("the current database is in pg_database")
    (
        name,
        encoding,
        provider,
        collate,
        ctype,
        locale,
        rules,
        version,
        owner,
        acl,
        comment,
        limit,
        is_template,
        size,
    ) = row
    return DatabaseProperties(
        name=name,
        encoding=encoding,
        locale_provider=provider,
        collate=collate,
        ctype=ctype,
        icu_locale=locale,
        icu_rules=rules,
        collation_version=version,
        owner=owner,
        acl=acl,
        comment=strip_mark(comment),
        connection_limit=limit,
        is_template=is_template,
        settings=_read_settings(connection),
        size_bytes=size,
    )


def _read_settings(connection: psycopg.Connection[Any]) -> list[DatabaseSetting]:
    return [
        DatabaseSetting(role=role, name=name, value=value)
        for role, text in connection.execute(_SETTINGS)
        for name, _, value in [text.partition("=")]
    ]


def read_extensions(connection: psycopg.Connection[Any]) -> list[Extension]:
    """The extensions installed in the database, by name."""
    return [
        Extension(name=name, version=version, schema_name=schema_name)
        for name, version, schema_name in connection.execute(_EXTENSIONS)
    ]


def read_roles(connection: psycopg.Connection[Any]) -> list[Role]:
    """The roles without which the database would not be the same, and their memberships in one another, by name.

    Predefined roles (pg_*) are not among them: every server has those.
    """
    return [
        Role(name=name, inherit=inherit, member_of=member_of)
        for name, inherit, member_of in connection.execute(_ROLES.encode())
    ]


def read_tablespaces(connection: psycopg.Connection[Any]) -> list[str]:
    """The tablespaces into which objects were put by name, the database's own aside."""
    return [name for (name,) in connection.execute(_TABLESPACES.encode())]
