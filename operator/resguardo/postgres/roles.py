"""Roles that a restore makes, and memberships that it borrows for as long as it lasts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import structlog
from psycopg import errors, sql

from resguardo.api.census import Role
from resguardo.api.errors import ResguardoError
from resguardo.postgres.connection import Server
from resguardo.postgres.maintenance import maintenance, read_marked
from resguardo.postgres.mark import borrowed_for

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

    For moments only: nobody gives them back when the process is killed. A restore's are in its database's mark.
    """
    if not roles:
        yield
        return
    with maintenance(server, avoiding=target) as connection, connection.transaction():
        take_memberships(connection, roles)
    try:
        yield
    finally:
        try:
            with maintenance(server, avoiding=target) as connection:
                give_memberships_back(connection, roles)
        except ResguardoError as error:
            # What was done is done; the message says what a person has to take back.
            log.warning("memberships could not be given back", roles=list(roles), problem=str(error))


def lock_memberships(connection: psycopg.Connection[Any]) -> None:
    """Until the transaction ends, let no other restore take a membership or give one back that both may need."""
    connection.execute(
        "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('resguardo memberships', 0))"
    )


def take_memberships(connection: psycopg.Connection[Any], roles: Sequence[str]) -> None:
    """Make the connection's role a member of these. Where it is one by its own doing, it stays so."""
    # From 16 on, a membership says what it is good for; before, it follows the member's own INHERIT.
    options = " WITH INHERIT TRUE, SET TRUE" if connection.info.server_version >= 160000 else ""
    for role in roles:
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER{}").format(sql.Identifier(role), sql.SQL(options)))


def give_memberships_back(connection: psycopg.Connection[Any], roles: Iterable[str]) -> None:
    """End the memberships that take_memberships began; each that cannot be ended is logged, for a person to do it."""
    for role in roles:
        try:
            with connection.transaction():
                connection.execute(sql.SQL("REVOKE {} FROM CURRENT_USER").format(sql.Identifier(role)))
        except errors.UndefinedObject:
            continue
        except psycopg.DatabaseError as error:
            log.warning("a membership could not be given back", role=role, problem=str(error).strip())


def borrowed_for_it_alone(connection: psycopg.Connection[Any], database: str) -> list[str]:
    """The memberships that a database's mark names and no other restore needs. In the transaction that gives them back."""
    lock_memberships(connection)
    marked = read_marked(connection)
    others = borrowed_for(other for other in marked if other.name != database)
    return sorted(borrowed_for(its for its in marked if its.name == database) - others)


def roles_to_borrow(connection: psycopg.Connection[Any], owners: Sequence[str]) -> list[str]:
    """Of these roles, those whose rights the connection's role has not."""
    rows = connection.execute(
        "SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.rolname = ANY(%s)"
        " AND NOT pg_catalog.pg_has_role(r.oid, 'USAGE') ORDER BY r.rolname",
        [list(owners)],
    )
    return [name for (name,) in rows]
