"""Makes the new database that a restore loads into, gives it the original's properties, and drops it when that failed."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import psycopg
import structlog
from psycopg import errors, sql

from resguardo.api.census import DatabaseProperties, DatabaseSetting
from resguardo.api.connection import IDENTIFIER_MAX_BYTES
from resguardo.api.errors import RestoreFailed, TargetBusy
from resguardo.api.request import Ownership
from resguardo.postgres.aclitem import (
    DEFAULT_FOR_PUBLIC,
    AclItem,
    grants_on_database,
    in_order_of_granting,
    parse_acl_item,
)
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
from resguardo.postgres.mark import Mark, MarkedDatabase, MarkState, find_leftovers, read_marks, with_marks
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
        statement = sql.SQL("CREATE DATABASE {} {} ALLOW_CONNECTIONS false").format(
            sql.Identifier(name), _likeness(properties, connection.info.server_version)
        )
        with bounded(connection, deadline, f"creating database {name}"):
            _patiently(connection, statement, deadline)
            with connection.transaction():
                comment_on_database(connection, name, str(mark))
                connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
                alter_database(connection, name, "ALLOW_CONNECTIONS true")
    log.info("created database", database=name)


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
                    f"another run of this request is loading database {name} ({at_work[0][1]}): let it end, or end it"
                )
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
            log.info("dropped what an interrupted run left", database=name)
            dropped.append(name)
    return dropped


def _exists(connection: psycopg.Connection[Any], name: str) -> bool:
    return connection.execute("SELECT FROM pg_catalog.pg_database WHERE datname = %s", [name]).fetchone() is not None


def apply_properties(
    server: Server,
    name: str,
    properties: DatabaseProperties,
    mark: Mark,
    *,
    ownership: Ownership,
    target: str,
    deadline: datetime | float,
) -> list[str]:
    """Give a loaded database the original's owner, privileges, limits, settings and comment; say what could not be given.

    Comes after everything that needs a session in the database: the connection limit may be 0, and a setting may make it
    read-only. With Ownership.ROLE the owner stays, and of the privileges only PUBLIC's are set. May be called again.
    """
    omitted: list[str] = []
    with (
        maintenance(server, avoiding=target) as connection,
        bounded(connection, deadline, f"setting the properties of database {name}"),
    ):
        if ownership is Ownership.ORIGINAL:
            alter_database(connection, name, sql.SQL("OWNER TO {}").format(sql.Identifier(properties.owner)))
        omitted += _set_privileges(connection, name, properties, ownership)
        for setting in properties.settings:
            omitted += _set_setting(connection, name, setting)
        alter_database(
            connection, name, sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(properties.connection_limit))
        )
        alter_database(connection, name, "IS_TEMPLATE true" if properties.is_template else "IS_TEMPLATE false")
        comment_on_database(connection, name, with_marks(properties.comment, [mark]))
    return omitted


def _set_privileges(
    connection: psycopg.Connection[Any], name: str, properties: DatabaseProperties, ownership: Ownership
) -> list[str]:
    row = connection.execute(
        "SELECT pg_catalog.pg_get_userbyid(d.datdba), d.datacl::text[] FROM pg_catalog.pg_database d WHERE d.datname = %s",
        [name],
    ).fetchone()
    owner, present = row or (properties.owner, None)
    wanted = wanted_privileges(properties, ownership, owner=owner)
    database = sql.Identifier(name)
    omitted: list[str] = []
    with connection.transaction():
        present_items = [parse_acl_item(text) for text in present or []]
        for grantee in dict.fromkeys(["", *(item.grantee for item in present_items if item.grantee != owner)]):
            who = sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC")
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {} CASCADE").format(database, who))
        if not any(item.grantee == owner for item in wanted):
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(database, sql.Identifier(owner)))
        for item in in_order_of_granting(wanted, owner):
            try:
                with connection.transaction():
                    if item.grantor != owner:
                        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(item.grantor)))
                    for grant in grants_on_database(item, name):
                        connection.execute(grant)
                    connection.execute("RESET ROLE")
            except (errors.InsufficientPrivilege, errors.UndefinedObject) as error:
                omitted.append(f"privileges {item} on the database: {_said(error)}")
    return omitted


def wanted_privileges(properties: DatabaseProperties, ownership: Ownership, *, owner: str) -> list[AclItem]:
    """What is to be granted on the database. With Ownership.ROLE: the owner everything, PUBLIC no more than in the original."""
    whole = AclItem(owner, (("C", False), ("T", False), ("c", False)), owner)
    if properties.acl is None:
        public = AclItem("", tuple((letter, False) for letter in DEFAULT_FOR_PUBLIC), owner)
        return [public, whole]
    items = [parse_acl_item(text) for text in properties.acl]
    if ownership is Ownership.ORIGINAL:
        return items
    return [whole, *(AclItem("", item.privileges, owner) for item in items if not item.grantee)]


def _set_setting(connection: psycopg.Connection[Any], database: str, setting: DatabaseSetting) -> Iterator[str]:
    assignment = sql.SQL("SET {} TO {}").format(
        sql.Identifier(setting.name), setting_value(setting.name, setting.value)
    )
    where = sql.SQL("DATABASE {}").format(sql.Identifier(database))
    if setting.role is not None:
        where = sql.SQL("ROLE {} IN {}").format(sql.Identifier(setting.role), where)
    try:
        connection.execute(sql.SQL("ALTER {} {}").format(where, assignment))
    except psycopg.DatabaseError as error:
        if connection.closed or isinstance(error, errors.QueryCanceled):
            raise
        whose = "" if setting.role is None else f" of role {setting.role}"
        yield f"setting {setting.name}{whose}: {_said(error)}"


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
