"""Gives a restored database its name: both renames in one transaction, all or nothing, whenever the process is killed.

ALTER DATABASE … RENAME locks the database against new sessions first and then waits five seconds for those that are in it
to end (RenameDatabase and CountOtherDBBackends, src/backend/commands/dbcommands.c). While it waits, a second session of
ours ends them. So a pooler that reconnects without pause waits at the lock and loses, and nothing has to be switched off
beforehand: ALLOW_CONNECTIONS false would outlive a crash and keep people out of a database that nobody is replacing.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import structlog
from psycopg import errors, sql

from resguardo.api.errors import (
    DatabaseUnreachable,
    DeadlineExceeded,
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
from resguardo.postgres.mark import Mark, read_marks, with_marks
from resguardo.postgres.roles import borrowed_for_it_alone, give_memberships_back
from resguardo.postgres.run import seconds_until
from resguardo.postgres.target import find_hangers

log = structlog.get_logger()

#: For how long a promotion is tried, deadline or not: each attempt ends everybody's sessions. Nothing interrupts the
#: renames, so they must be over before the kubelet's patience is (controller.pod.GRACE_SECONDS).
PATIENCE_SECONDS = 60.0
#: How long the renames wait for a lock; others queue behind them meanwhile.
_LOCK_TIMEOUT = "2s"
_ENDING_PAUSE = 0.05


def promote(
    server: Server,
    temporary: str,
    target: str,
    *,
    keep_as: str | None,
    mark: Mark,
    deadline: datetime | float,
) -> str | None:
    """Rename `temporary` to `target`, and the database that has that name now to `keep_as`; mark both. Gives the name kept.

    `keep_as` None says that there is none to keep; where it has gone meanwhile, none is kept. Tried again and again for a
    minute, or until the deadline, and all or nothing: either it is done when this returns, also where the answer got lost,
    or everything is as it was. Raises TargetBusy naming who is in the way, TargetNotEmpty where a database has taken the
    name meanwhile, DeadlineExceeded, PermissionDenied.
    """
    with maintenance(server, avoiding=target) as connection:
        before = _Before.read(connection, temporary, target)
    if before.temporary_oid is None:
        raise RestoreFailed(f"database {temporary}, which was restored, is not there any more")
    if before.target_oid is not None and keep_as is None:
        raise TargetNotEmpty(f"a database {target} has been made since the restore began; nothing was changed")
    kept = keep_as if before.target_oid is not None else None
    give_up = time.monotonic() + min(seconds_until(deadline), PATIENCE_SECONDS)
    try:
        _Promotion(server, temporary, target, kept, mark, give_up).run()
    except ResguardoError as error:
        # What was done is done, also where the answer was lost or a stop came right after.
        if not _is_promoted(server, before.temporary_oid, target):
            raise
        log.warning("the database has its name, though an error came after", error=str(error))
    log.info("promoted", database=target, kept=kept)
    return kept


@dataclass(frozen=True)
class _Before:
    """Which databases have the names."""

    temporary_oid: int | None
    target_oid: int | None

    @classmethod
    def read(cls, connection: psycopg.Connection[Any], temporary: str, target: str) -> _Before:
        rows = connection.execute(
            "SELECT datname, oid FROM pg_catalog.pg_database WHERE datname IN (%s, %s)", [temporary, target]
        ).fetchall()
        found: dict[str, int] = dict(rows)
        return cls(found.get(temporary), found.get(target))


@dataclass(frozen=True)
class _Promotion:
    server: Server
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
            # Before anybody is thrown out: somebody who has to stay would make that be in vain.
            for session in sessions_in(connection, name):
                if not session.can_be_ended:
                    raise _InTheWay(
                        f"role {self.server.login.username} may not end the session of {session} "
                        "(end it, or GRANT pg_signal_backend; a superuser's only a superuser ends)"
                    )
        try:
            with _ending_sessions(self.server, names, avoiding=self.target), connection.transaction():
                connection.execute("SELECT pg_catalog.set_config('lock_timeout', %s, true)", [_LOCK_TIMEOUT])
                self._rename(connection)
        except (errors.ObjectInUse, errors.LockNotAvailable, errors.DeadlockDetected) as error:
            here = [session for name in names for session in sessions_in(connection, name)]
            raise _InTheWay(str(here[0]) if here else str(error.diag.message_primary)) from None
        except errors.DuplicateDatabase:
            raise TargetNotEmpty(
                f"a database has taken the name {self.keep_as or self.target} since the restore began; nothing was changed"
            ) from None

    def _rename(self, connection: psycopg.Connection[Any]) -> None:
        # RENAME first: a comment's weaker lock would let sessions in that the stronger one then had to wait for.
        if self.keep_as is not None:
            original, marks = read_marks(read_comment(connection, self.target))
            _rename(connection, self.target, self.keep_as)
            kept_aside = self.mark.kept_aside(self.keep_as)
            comment_on_database(connection, self.keep_as, with_marks(original, [*marks, kept_aside]))
        _rename(connection, self.temporary, self.target)
        _mark_restored(connection, self.target, self.mark)


def _mark_restored(connection: psycopg.Connection[Any], database: str, mark: Mark) -> None:
    """Say that a database is whole, and give back what was borrowed for it; inside a transaction, so that both are done."""
    borrowed = borrowed_for_it_alone(connection, database)
    original, _ = read_marks(read_comment(connection, database))
    comment_on_database(connection, database, with_marks(original, [mark.restored()]))
    # Last: the right to change the database may be that of its owner.
    give_memberships_back(connection, borrowed)


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


@contextmanager
def _ending_sessions(server: Server, names: Sequence[str], *, avoiding: str) -> Iterator[None]:
    """End whoever is in these databases, again and again while the block runs."""
    over = threading.Event()

    def end_them(connection: psycopg.Connection[Any]) -> None:
        while True:
            try:
                for name in names:
                    terminate_sessions(connection, name)
            except psycopg.Error as error:
                # The renames then fail for whoever is still there, and say so.
                log.warning("sessions could not be ended", problem=str(error))
                return
            if over.wait(_ENDING_PAUSE):
                return

    with maintenance(server, avoiding=avoiding) as connection:
        thread = threading.Thread(target=end_them, args=[connection], name="ending sessions", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def leave_aside(server: Server, temporary: str, *, mark: Mark, target: str) -> None:
    """Mark a loaded database that differs from the census as restored, so that nothing takes it for unfinished and drops it."""
    with maintenance(server, avoiding=target) as connection, connection.transaction():
        _mark_restored(connection, temporary, mark)


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
