"""Drops the database that a restore kept aside, once a person has said that it may go."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from psycopg import errors, sql

from resguardo.api.errors import PermissionDenied, TargetBusy
from resguardo.postgres.connection import Server
from resguardo.postgres.maintenance import alter_database, bounded, maintenance, sessions_in
from resguardo.postgres.mark import find_kept_aside
from resguardo.postgres.roles import borrowed_memberships, roles_to_borrow
from resguardo.postgres.target import marked_databases

log = structlog.get_logger()

_DROP_SECONDS = 30.0


def drop_previous(server: Server, *, target: str, uid: str, fingerprint: str) -> list[str]:
    """Drop the database that this request kept aside, and give its name; nothing, where it is gone or has been taken back.

    May be called again. Raises TargetBusy naming who is still in it, and leaves it.
    """
    dropped = []
    for name in find_kept_aside(marked_databases(server, target), target=target, uid=uid, fingerprint=fingerprint):
        with _ownership(server, name, target):
            _drop_kept(server, name, target)
        dropped.append(name)
    return dropped


def _drop_kept(server: Server, name: str, target: str) -> None:
    give_up = time.monotonic() + _DROP_SECONDS
    with maintenance(server, avoiding=target) as connection:
        if people := sessions_in(connection, name):
            raise TargetBusy(f"database {name} was not dropped, since somebody is in it: {people[0]}")
        with bounded(connection, give_up, f"dropping database {name}"):
            alter_database(connection, name, "IS_TEMPLATE false")
            try:
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
            except errors.ObjectInUse as error:
                raise TargetBusy(f"database {name} was not dropped: {error.diag.message_primary}") from None
    log.info("dropped the database of before", database=name)


@contextmanager
def _ownership(server: Server, name: str, target: str) -> Iterator[None]:
    """Be the owner of a database for the length of the block, where the connection's role can make itself a member."""
    with maintenance(server, avoiding=target) as connection:
        owners: Sequence[str] = [
            owner
            for (owner,) in connection.execute(
                "SELECT pg_catalog.pg_get_userbyid(datdba) FROM pg_catalog.pg_database WHERE datname = %s", [name]
            )
        ]
        needed = roles_to_borrow(connection, owners)
    try:
        with borrowed_memberships(server, needed, target=target):
            yield
    except PermissionDenied as error:
        raise PermissionDenied(
            f"role {server.login.username} may not drop database {name}, which belongs to {', '.join(owners)}: {error}"
        ) from None
