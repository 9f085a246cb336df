"""Gives a restored database what its dump does not hold: owner, privileges, limits, settings, comment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg import errors, sql

from resguardo.api.census import DatabaseProperties, DatabaseSetting
from resguardo.api.errors import PostgresError
from resguardo.api.request import Ownership
from resguardo.postgres.connection import Server
from resguardo.postgres.maintenance import alter_database, bounded, comment_on_database, maintenance
from resguardo.postgres.mark import Mark, with_marks
from resguardo.rules.aclitem import AclItem, parse_acl_item

_PRIVILEGES = {"C": "CREATE", "c": "CONNECT", "T": "TEMPORARY"}


def apply_properties(
    server: Server,
    name: str,
    properties: DatabaseProperties,
    mark: Mark,
    *,
    ownership: Ownership,
    privileges: Sequence[AclItem],
    target: str,
    deadline: datetime | float,
) -> list[str]:
    """Give a loaded database the original's owner, privileges, limits, settings and comment; say what could not be given.

    `privileges` are all that anybody gets on the database, in the order of granting. Comes after everything that needs a session
    in the database: the connection limit may be 0, and a setting may make it read-only. With Ownership.ROLE the owner stays.
    May be called again.
    """
    omitted: list[str] = []
    with (
        maintenance(server, avoiding=target) as connection,
        bounded(connection, deadline, f"setting the properties of database {name}"),
    ):
        if ownership is Ownership.ORIGINAL:
            alter_database(connection, name, sql.SQL("OWNER TO {}").format(sql.Identifier(properties.owner)))
        omitted += _set_privileges(connection, name, privileges)
        for setting in properties.settings:
            omitted += _set_setting(connection, name, setting)
        alter_database(
            connection, name, sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(properties.connection_limit))
        )
        alter_database(connection, name, "IS_TEMPLATE true" if properties.is_template else "IS_TEMPLATE false")
        comment_on_database(connection, name, with_marks(properties.comment, [mark]))
    return omitted


def _set_privileges(connection: psycopg.Connection[Any], name: str, wanted: Sequence[AclItem]) -> list[str]:
    row = connection.execute(
        "SELECT pg_catalog.pg_get_userbyid(d.datdba), d.datacl::text[] FROM pg_catalog.pg_database d WHERE d.datname = %s",
        [name],
    ).fetchone()
    if row is None:
        raise PostgresError(f"database {name} is gone")
    owner, present = row
    database = sql.Identifier(name)
    omitted: list[str] = []
    with connection.transaction():
        present_items = [parse_acl_item(text) for text in present or []]
        for grantee in dict.fromkeys(["", *(item.grantee for item in present_items if item.grantee != owner)]):
            who = sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC")
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {} CASCADE").format(database, who))
        # The owner may grant what it has not.
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(database, sql.Identifier(owner)))
        for item in wanted:
            try:
                with connection.transaction():
                    if item.grantor != owner:
                        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(item.grantor)))
                    for grant in _grants(item, name):
                        connection.execute(grant)
                    connection.execute("RESET ROLE")
            except (errors.InsufficientPrivilege, errors.UndefinedObject) as error:
                omitted.append(f"privileges {item} on the database: {_said(error)}")
    return omitted


def _grants(item: AclItem, database: str) -> Iterator[sql.Composed]:
    """The GRANTs of an item; the session's role must be, or be able to act as, its grantor."""
    grantee = sql.Identifier(item.grantee) if item.grantee else sql.SQL("PUBLIC")
    for is_grantable in (False, True):
        words = [
            _PRIVILEGES[letter]
            for letter, may_grant in item.privileges
            if may_grant is is_grantable and letter in _PRIVILEGES
        ]
        if words:
            yield sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                sql.SQL(", ".join(words)),
                sql.Identifier(database),
                grantee,
                sql.SQL(" WITH GRANT OPTION" if is_grantable else ""),
            )


def refused_settings(connection: psycopg.Connection[Any], properties: DatabaseProperties, role: str) -> Iterator[str]:
    """The settings that `role`, the session's own, may not give to a database, or that the server does not know.

    Whoever may give a setting to itself may give it to a database of its own (validate_option_array_item,
    src/backend/utils/misc/guc.c), and whoever may give one to another role, to that role in any database (AlterRoleSet,
    src/backend/commands/user.c): so that is tried, and rolled back. A role that is not there yet is its maker's.
    """
    there = {name for (name,) in connection.execute("SELECT rolname FROM pg_catalog.pg_roles")}
    for setting in properties.settings:
        whose = setting.role if setting.role is not None and setting.role in there else role
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(sql.SQL("ALTER ROLE {} {}").format(sql.Identifier(whose), _assignment(setting)))
        except psycopg.DatabaseError as error:
            if connection.closed or isinstance(error, errors.QueryCanceled):
                raise
            yield _refusal(setting, error)


def _assignment(setting: DatabaseSetting) -> sql.Composed:
    return sql.SQL("SET {} TO {}").format(sql.Identifier(setting.name), setting_value(setting.name, setting.value))


def _refusal(setting: DatabaseSetting, error: psycopg.Error) -> str:
    whose = "" if setting.role is None else f" of role {setting.role}"
    return f"setting {setting.name}{whose}: {_said(error)}"


def _set_setting(connection: psycopg.Connection[Any], database: str, setting: DatabaseSetting) -> Iterator[str]:
    where = sql.SQL("DATABASE {}").format(sql.Identifier(database))
    if setting.role is not None:
        where = sql.SQL("ROLE {} IN {}").format(sql.Identifier(setting.role), where)
    try:
        connection.execute(sql.SQL("ALTER {} {}").format(where, _assignment(setting)))
    except psycopg.DatabaseError as error:
        if connection.closed or isinstance(error, errors.QueryCanceled):
            raise
        yield _refusal(setting, error)


#: Settings whose value is a list of names, each quoted by itself (GUC_LIST_QUOTE; src/bin/pg_dump/dumputils.c,
#: variable_is_guc_list_quote). One string for all of them would be one name with commas in it.
_LISTS_OF_NAMES = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)


def setting_value(name: str, value: str) -> sql.Composable:
    """What stands after `SET name TO`, so that the catalog holds `value` again."""
    if name.lower() not in _LISTS_OF_NAMES:
        return sql.Literal(value)
    names = split_names(value) or [""]
    return sql.SQL(", ").join(sql.Literal(item) for item in names)


def split_names(value: str) -> list[str]:
    """The names in a list as the catalog holds it (SplitGUCList, src/bin/pg_dump/dumputils.c).

    >>> split_names('"$user", public, "a, ""b"')
    ['$user', 'public', 'a, "b']
    """
    return [
        found[1:-1].replace('""', '"') if found.startswith('"') else found
        for found in re.findall(r'"(?:[^"]|"")*"|[^",\s](?:[^,]*[^,\s])?', value)
    ]


def _said(error: psycopg.Error) -> str:
    return " ".join((error.diag.message_primary or str(error)).split())
