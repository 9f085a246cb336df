"""Roles that a restore makes, and memberships that it borrows for as long as it lasts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import structlog
from psycopg import errors, sql

from resguardo.api.census import Role
from resguardo.api.errors import ResguardoError
from resguardo.postgres.connection import Server
from resguardo.postgres.maintenance import maintenance

log = structlog.get_logger()

_ATTRIBUTES = "NOLOGIN NOCREATEDB NOCREATEROLE"
#: Only a superuser may so much as name these; they are off by default.
_SUPERUSER_ATTRIBUTES = "NOSUPERUSER NOREPLICATION NOBYPASSRLS"


def create_roles(server: Server, roles: Sequence[Role], *, target: str) -> None:
    """Make the roles, without login and without any power, and the memberships among them. One that is there stays as it is.

    `target` is the database that is to be restored: the session is in another.
    """
    if not roles:
        return
    with maintenance(server, avoiding=target) as connection:
        row = connection.execute("SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user").fetchone()
        attributes = f"{_ATTRIBUTES} {_SUPERUSER_ATTRIBUTES}" if row and row[0] else _ATTRIBUTES
        for role in roles:
            statement = sql.SQL("CREATE ROLE {} {} {}").format(
                sql.Identifier(role.name), sql.SQL(attributes), sql.SQL("INHERIT" if role.inherit else "NOINHERIT")
            )
            try:
                connection.execute(statement)
            except errors.DuplicateObject:
                log.info("a role that was missing has been made by somebody else", role=role.name)
            else:
                log.info("created a role without login", role=role.name)
        for role in roles:
            for group in role.member_of:
                connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(role.name)))


@contextmanager
def borrowed_memberships(server: Server, roles: Sequence[str], *, target: str) -> Iterator[None]:
    """Make the connection's role a member of these for the length of the block, and give the memberships back after it.

    Only for roles that it is no member of yet. Nobody gives them back when the process is killed; a later restore then
    finds itself a member already, and leaves it so.
    """
    if not roles:
        yield
        return
    with maintenance(server, avoiding=target) as connection:
        _grant(connection, roles)
    try:
        yield
    finally:
        try:
            with maintenance(server, avoiding=target) as connection:
                _revoke(connection, roles)
        except ResguardoError as error:
            # What was restored is restored; the message says what a person has to take back.
            log.warning("memberships could not be given back", roles=list(roles), problem=str(error))


def _grant(connection: psycopg.Connection[Any], roles: Sequence[str]) -> None:
    # From 16 on, a membership says what it is good for; before, it follows the member's own INHERIT.
    options = " WITH INHERIT TRUE, SET TRUE" if connection.info.server_version >= 160000 else ""
    with connection.transaction():
        for role in roles:
            connection.execute(sql.SQL("GRANT {} TO CURRENT_USER{}").format(sql.Identifier(role), sql.SQL(options)))


def _revoke(connection: psycopg.Connection[Any], roles: Sequence[str]) -> None:
    for role in roles:
        try:
            connection.execute(sql.SQL("REVOKE {} FROM CURRENT_USER").format(sql.Identifier(role)))
        except errors.UndefinedObject:
            continue


def roles_to_borrow(connection: psycopg.Connection[Any], owners: Sequence[str]) -> list[str]:
    """Of these roles, those whose rights the connection's role has not."""
    rows = connection.execute(
        "SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.rolname = ANY(%s)"
        " AND NOT pg_catalog.pg_has_role(r.oid, 'USAGE') ORDER BY r.rolname",
        [list(owners)],
    )
    return [name for (name,) in rows]
