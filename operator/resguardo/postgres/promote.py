"""Gives a restored database its name: both renames in one transaction, with everybody kept out until it is done.

A pooler that reconnects without pause would win every race, so connections are switched off first and people's sessions
ended after. Whatever goes wrong, the database that has the name lets them in again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import structlog
from psycopg import errors, sql

from resguardo.api.errors import (
    DatabaseUnreachable,
    DeadlineExceeded,
    PermissionDenied,
    ResguardoError,
    RestoreFailed,
    TargetBusy,
    TargetNotEmpty,
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
from resguardo.postgres.mark import Mark, find_kept_aside, read_marks, with_marks
from resguardo.postgres.roles import borrowed_memberships, roles_to_borrow
from resguardo.postgres.run import seconds_until
from resguardo.postgres.target import find_hangers, marked_databases

log = structlog.get_logger()

#: For how long a promotion is tried, deadline or not: meanwhile nobody gets into the database that is to be replaced.
PATIENCE_SECONDS = 120.0
#: How long the renames wait for a lock; others queue behind them meanwhile.
_LOCK_TIMEOUT = "2s"
_DROP_SECONDS = 30.0


def promote(
    server: Server,
    temporary: str,
    target: str,
    *,
    keep_as: str | None,
    mark: Mark,
    deadline: datetime | float,
) -> None:
    """Rename `temporary` to `target`, and the database that has that name now to `keep_as`; mark both.

    `keep_as` None says that there is none. Tried again and again for two minutes, or until the deadline, and all or nothing:
    either it is done when this returns, also where the answer got lost, or everything is as it was. Raises TargetBusy naming who is in the
    way, TargetNotEmpty where a database has taken the name meanwhile, DeadlineExceeded, PermissionDenied.
    """
    with maintenance(server, avoiding=target) as connection:
        before = _Before.read(connection, temporary, target)
    if before.temporary_oid is None:
        raise RestoreFailed(f"database {temporary}, which was restored, is not there any more")
    if before.target_oid is not None and keep_as is None:
        raise TargetNotEmpty(f"a database {target} has been made since the restore began; nothing was changed")
    try:
        _Promotion(
            server,
            before,
            temporary,
            target,
            keep_as if before.target_oid is not None else None,
            mark,
            time.monotonic() + min(seconds_until(deadline), PATIENCE_SECONDS),
        ).run()
    except BaseException as error:
        if _is_promoted(server, before.temporary_oid, target) and isinstance(error, ResguardoError):
            # What was done is done: the answer was lost, or a stop came right after.
            log.warning("the database has its name, though an error came after", error=str(error))
            return
        _let_in_again(server, before, temporary, target)
        raise
    log.info("promoted", database=target, kept=keep_as)


@dataclass(frozen=True)
class _Before:
    """How things stood before anybody was kept out."""

    temporary_oid: int | None
    target_oid: int | None
    allows_connections: bool

    @classmethod
    def read(cls, connection: psycopg.Connection[Any], temporary: str, target: str) -> _Before:
        rows = connection.execute(
            "SELECT datname, oid, datallowconn FROM pg_catalog.pg_database WHERE datname IN (%s, %s)",
            [temporary, target],
        ).fetchall()
        found = {name: (oid, allows) for name, oid, allows in rows}
        return cls(
            temporary_oid=found[temporary][0] if temporary in found else None,
            target_oid=found[target][0] if target in found else None,
            allows_connections=found[target][1] if target in found else True,
        )


@dataclass
class _Promotion:
    server: Server
    before: _Before
    temporary: str
    target: str
    keep_as: str | None
    mark: Mark
    deadline: float

    def run(self) -> None:
        pause = 0.05
        obstacle: ResguardoError | _InTheWay | None = None
        while True:
            try:
                with (
                    maintenance(self.server, avoiding=self.target) as connection,
                    bounded(connection, self.deadline, f"giving the restored database the name {self.target}"),
                ):
                    self._attempt(connection)
            except (_InTheWay, DatabaseUnreachable) as error:
                obstacle = error
                log.info("the database cannot be given its name yet; trying again", obstacle=str(error))
            except DeadlineExceeded:
                if obstacle is None:
                    raise
                raise self._busy(obstacle) from None
            else:
                return
            time.sleep(min(pause * random.uniform(0.5, 1.5), seconds_until(self.deadline)))  # noqa: S311 - jitter
            pause = min(pause * 2, 2.0)

    def _busy(self, obstacle: Exception) -> TargetBusy:
        return TargetBusy(
            f"database {self.target} could not be replaced in {PATIENCE_SECONDS:g} s, or the time allowed: {obstacle}; "
            "it is as it was"
        )

    def _attempt(self, connection: psycopg.Connection[Any]) -> None:
        names = [self.temporary, *([self.target] if self.keep_as is not None else [])]
        if self.keep_as is not None and (hangers := find_hangers(connection, self.target)):
            raise TargetBusy("; ".join(hangers))
        for name in names:
            alter_database(connection, name, "ALLOW_CONNECTIONS false")
        refused = [text for name in names for text in terminate_sessions(connection, name)]
        if refused:
            raise _InTheWay(
                f"role {self.server.login.username} may not end the session of {refused[0]} "
                "(GRANT pg_signal_backend, or end it)"
            )
        try:
            with connection.transaction():
                connection.execute("SELECT pg_catalog.set_config('lock_timeout', %s, true)", [_LOCK_TIMEOUT])
                self._rename(connection)
        except (errors.ObjectInUse, errors.LockNotAvailable, errors.DeadlockDetected) as error:
            here = [text for name in names for _, text in sessions_in(connection, name)]
            raise _InTheWay(here[0] if here else str(error.diag.message_primary)) from None
        except errors.DuplicateDatabase:
            raise TargetNotEmpty(
                f"a database has taken the name {self.keep_as or self.target} since the restore began; nothing was changed"
            ) from None

    def _rename(self, connection: psycopg.Connection[Any]) -> None:
        if self.keep_as is not None:
            self._keep_aside(connection, self.keep_as)
            if self.before.allows_connections:
                alter_database(connection, self.keep_as, "ALLOW_CONNECTIONS true")
        original, _ = read_marks(read_comment(connection, self.temporary))
        comment_on_database(connection, self.temporary, with_marks(original, [self.mark.restored()]))
        _rename(connection, self.temporary, self.target)
        alter_database(connection, self.target, "ALLOW_CONNECTIONS true")

    def _keep_aside(self, connection: psycopg.Connection[Any], keep_as: str) -> None:
        original, marks = read_marks(read_comment(connection, self.target))
        comment = with_marks(original, [*marks, self.mark.kept_aside(keep_as)])
        comment_on_database(connection, self.target, comment)
        _rename(connection, self.target, keep_as)


class _InTheWay(Exception):
    """Somebody is still in one of the databases."""


def _rename(connection: psycopg.Connection[Any], old: str, new: str) -> None:
    alter_database(connection, old, sql.SQL("RENAME TO {}").format(sql.Identifier(new)))


def _is_promoted(server: Server, oid: int, target: str) -> bool:
    try:
        with maintenance(server, avoiding=target) as connection:
            row = connection.execute("SELECT datname FROM pg_catalog.pg_database WHERE oid = %s", [oid]).fetchone()
    except ResguardoError:
        return False
    return row == (target,)


def _let_in_again(server: Server, before: _Before, temporary: str, target: str) -> None:
    try:
        with maintenance(server, avoiding=target) as connection:
            if before.target_oid is not None and before.allows_connections:
                alter_database(connection, target, "ALLOW_CONNECTIONS true")
            with suppress(errors.InvalidCatalogName):
                alter_database(connection, temporary, "ALLOW_CONNECTIONS true")
    except (ResguardoError, psycopg.Error) as error:
        log.exception(
            "people may be kept out of the database that was to be replaced",
            database=target,
            problem=str(error),
            to_do=f"ALTER DATABASE {target} ALLOW_CONNECTIONS true",
        )


def leave_aside(server: Server, temporary: str, *, mark: Mark, target: str) -> None:
    """Mark a loaded database that differs from the census as restored, so that nothing takes it for unfinished and drops it."""
    with maintenance(server, avoiding=target) as connection:
        original, _ = read_marks(read_comment(connection, temporary))
        comment_on_database(connection, temporary, with_marks(original, [mark.restored()]))


def promotion_commands(temporary: str, target: str, *, keep_as: str | None) -> str:
    """What a person types into psql to give a database that was left aside its name; in a session in neither of them."""
    pairs = [(temporary, target)] if keep_as is None else [(target, keep_as), (temporary, target)]
    old_names = [old for old, _ in pairs]
    lines = [f"ALTER DATABASE {_quoted(old)} ALLOW_CONNECTIONS false;" for old in old_names]
    listed = ", ".join(_literal(old) for old in old_names)
    lines.append(
        # Both names are quoted by psycopg, and nobody but a person runs this.
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ({listed}) AND pid <> pg_backend_pid();"  # noqa: S608
    )
    lines.append("BEGIN;")
    lines += [f"ALTER DATABASE {_quoted(old)} RENAME TO {_quoted(new)};" for old, new in pairs]
    lines.append("COMMIT;")
    lines += [f"ALTER DATABASE {_quoted(new)} ALLOW_CONNECTIONS true;" for _, new in pairs]
    return "\n".join(lines)


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def _literal(text: str) -> str:
    return sql.Literal(text).as_string(None).strip()


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
            raise TargetBusy(f"database {name} was not dropped, since somebody is in it: {people[0][1]}")
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
