"""One restore: into a new database, compared with the census, then given its name. What is there before stays as it is."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import structlog

from resguardo.api.base import print_time
from resguardo.api.census import Census
from resguardo.api.conditions import Reason
from resguardo.api.errors import (
    BackupMarked,
    DocumentInvalid,
    Expired,
    ManifestInvalid,
    ResguardoError,
    RestoredUnverified,
    TargetBusy,
    TargetNotEmpty,
)
from resguardo.api.manifest import Manifest, ObjectEntry, ObjectRole
from resguardo.api.policy import BackupPolicy
from resguardo.api.report import RestoreOutcome
from resguardo.api.request import PostgresTarget, RestoreRequest
from resguardo.api.roles import Role
from resguardo.api.sizes import parse_size
from resguardo.api.store import Store as StoreSpec
from resguardo.jobs.archive import bring_back
from resguardo.jobs.former import read_former
from resguardo.jobs.keys import unlock
from resguardo.jobs.task import Context
from resguardo.jobs.trust import trust_of_request
from resguardo.postgres.analyze import analyzing
from resguardo.postgres.connection import Server
from resguardo.postgres.contents import read_contents
from resguardo.postgres.database import create_database, drop_leftovers, drop_unfinished, kept_name, temporary_name
from resguardo.postgres.load import load, to_sql
from resguardo.postgres.mark import Mark, MarkState, refuse_replay
from resguardo.postgres.previous import drop_previous
from resguardo.postgres.promote import leave_aside, promote, promotion_commands
from resguardo.postgres.restored_properties import apply_properties
from resguardo.postgres.roles import create_roles
from resguardo.postgres.target import marked_databases, read_target_facts
from resguardo.postgres.verify import verify
from resguardo.rules.removal import Decision
from resguardo.rules.restore_plan import RestorePlan, Wishes, plan_restore
from resguardo.rules.selection import choose
from resguardo.store.backup_key import BackupKey
from resguardo.store.catalogue import backup_summary, read_census
from resguardo.store.download import open_object
from resguardo.store.protocol import Store
from resguardo.store.signatures import Trust
from resguardo.store.trash import read_trashed

log = structlog.get_logger()


@dataclass(frozen=True)
class Origin:
    """Where a request's backup is, and whose signature it must carry."""

    store: StoreSpec
    trusted: Trust


def origin_of(request: RestoreRequest, policies: list[BackupPolicy]) -> Origin:
    """As the request says, itself or by its policy. Raises DocumentInvalid where that policy is not given."""
    if request.spec.from_.store is not None:
        return Origin(request.spec.from_.store, trust_of_request(request, None))
    reference = request.spec.from_.policy_ref
    name = reference.name if reference else ""
    for policy in policies:
        if policy.metadata.name == name:
            return Origin(policy.spec.store, trust_of_request(request, policy))
    raise DocumentInvalid(f"the request restores from policy {name}: give its file too, with another --filename")


def choose_backup(store: Store, request: RestoreRequest, trusted: Trust) -> Manifest:
    """The backup that the request asks for, from the bucket alone. Raises BackupNotFound."""
    there, recover = read_former(store, trusted), request.spec.recover
    chosen = choose(list(there.manifests.values()), recover, unusable=there.unusable, doubtful=there.doubtful)
    later = sorted(name for name in there.doubtful | there.unusable.keys() if name > chosen.id)
    if recover.backup is None and later:
        log.warning(
            "backups that are odd, damaged, unreadable or not believed are passed over: see `resguardo catalog`",
            passed_over=later[-10:],
        )
    return chosen


def refuse_marked(store: Store, backup_id: str, deadline: datetime) -> None:
    """Raise BackupMarked where the backup could be removed before the restore's deadline; touches nothing."""
    try:
        trashed = read_trashed(store, backup_id)
    except ManifestInvalid as problem:
        log.warning("a marker that no run can act on is passed over", problem=str(problem))
        return
    if trashed is None or trashed.decision is Decision.UNDELETE:
        return
    if trashed.decision is Decision.PURGE:
        raise BackupMarked(f"backup {backup_id} is being removed: restore another one")
    ends_at = store.clock() + (deadline - datetime.now(UTC))
    if trashed.goes_at <= ends_at:
        raise BackupMarked(
            f"backup {backup_id} is marked for removal and may go after {print_time(trashed.goes_at)}, before this restore must "
            f"have ended: take it back with `resguardo undelete {backup_id}`, then ask again"
        )


def write_sql(request: RestoreRequest, origin: Origin, output: IO[bytes], context: Context) -> None:
    """Write the backup as plain SQL for psql. Needs the store alone; ends with an error where the SQL is not whole."""
    store = context.credentials.open_store(origin.store, role=Role.READER)
    manifest = choose_backup(store, request, origin.trusted)
    refuse_marked(store, manifest.id, context.deadline.at)
    # First: what lies in an archive is waited for, for hours.
    key = unlock(store, manifest, context.credentials)
    bring_back(store, manifest, context.progress, deadline=context.deadline.at)
    context.progress.step(f"writing backup {manifest.id} as SQL")
    with tempfile.TemporaryDirectory(prefix="resguardo-") as scratch, _dump(store, manifest, key) as chunks:
        to_sql(chunks, output, deadline=context.deadline.at, scratch=Path(scratch))
    context.findings.backup = backup_summary(manifest)
    context.findings.message = f"backup {manifest.id} was written as SQL"


def restore(request: RestoreRequest, origin: Origin, context: Context) -> None:
    """Bring a backup back under the name that the request gives, or raise and leave everything as it was.

    A database that differs from the census is kept under its temporary name: RestoredUnverified tells how to promote it.
    """
    if request.spec.not_after is not None and datetime.now(UTC) > request.spec.not_after:
        raise Expired(
            f"notAfter {print_time(request.spec.not_after)} has passed; for a restore now, make a new request"
        )
    target = target_of(request)
    store = context.credentials.open_store(origin.store, role=Role.READER)
    context.progress.step("reading the catalogue, the census and the contents of the dump")
    manifest = choose_backup(store, request, origin.trusted)
    context.findings.backup = backup_summary(manifest)
    refuse_marked(store, manifest.id, context.deadline.at)
    context.findings.restore = RestoreOutcome(recovery_point_time=manifest.snapshot_at)
    key = unlock(store, manifest, context.credentials)
    census = read_census(store, manifest, key)
    login = context.credentials.login(target.connection)
    scratch = context.at_end.enter_context(tempfile.TemporaryDirectory(prefix="resguardo-"))
    server = context.at_end.enter_context(Server(login, Path(scratch)))
    _Restore(request, target, store, manifest, key, census, server, context).carry_out()


def uid_of(request: RestoreRequest) -> str:
    """The request's uid; of one that no API server has seen, something as good that is the same each time."""
    return request.metadata.uid or f"by-hand-{request.fingerprint}"


def target_of(request: RestoreRequest) -> PostgresTarget:
    """Where the request restores to."""
    if request.spec.target.postgres is None:
        raise AssertionError("a target has exactly one member")
    return request.spec.target.postgres


def drop_kept(request: RestoreRequest, context: Context) -> None:
    """Drop the database that the request's Replace kept aside; may be repeated."""
    target = target_of(request)
    context.progress.step(f"dropping what the restore of {target.database} kept aside")
    login = context.credentials.login(target.connection)
    with (
        tempfile.TemporaryDirectory(prefix="resguardo-") as scratch,
        Server(login, Path(scratch)) as server,
        # It may be repeated, but what was dropped must not be told as stopped; it is bounded by itself.
        context.deadline.commit(),
    ):
        dropped = drop_previous(
            server,
            target=target.database,
            uid=uid_of(request),
            fingerprint=request.fingerprint,
        )
    context.findings.message = (
        f"dropped {', '.join(dropped)}" if dropped else "nothing was kept aside, or it is gone already"
    )


@dataclass(frozen=True)
class _Restore:
    request: RestoreRequest
    target: PostgresTarget
    store: Store
    manifest: Manifest
    key: BackupKey | None
    census: Census
    server: Server
    context: Context

    def carry_out(self) -> None:
        plan = self._plan()
        self._leave_out([*plan.omitted, *plan.notes])
        plan.require_clear()
        name, suffix = self.target.database, secrets.token_hex(3)
        temporary = temporary_name(name, suffix)
        keep_as = kept_name(name, suffix) if plan.replaces else None
        create_roles(self.server, plan.roles_to_create, target=name)
        mark = self._mark(borrowed=plan.roles_to_borrow)
        self.context.at_end.callback(self._clean_up, temporary, mark)
        self._fill(temporary, keep_as, plan, mark)
        kept = self._give_name(temporary, keep_as, mark)
        self._tell(database=name, previous_database=kept)
        self.context.findings.reason = Reason.RESTORED
        former = f"; the database that had the name is kept as {kept}" if kept else ""
        self.context.findings.message = (
            f"backup {self.manifest.id} stands as database {name}, equal to its census{former}"
        )

    def _clean_up(self, temporary: str, mark: Mark) -> None:
        """Drop the database unless it is whole: what stands on the server tells, whatever became of the answers."""
        try:
            drop_unfinished(self.server, temporary, mark, target=self.target.database)
        except ResguardoError as error:
            log.warning(
                "a later run of this request removes what this one has left", database=temporary, problem=str(error)
            )

    def _plan(self) -> RestorePlan:
        name, uid, fingerprint = self.target.database, uid_of(self.request), self.request.fingerprint
        self.context.progress.step(f"looking at {self.target.connection.host} for everything that would fail")
        marked = marked_databases(self.server, name)
        refuse_replay(marked, target=name, uid=uid, fingerprint=fingerprint)
        for leftover in drop_leftovers(self.server, marked, target=name, uid=uid, fingerprint=fingerprint):
            log.warning("dropped what an interrupted run of this request had left", database=leftover)
        # Only now: a server that refuses us is known before a wait of hours.
        bring_back(self.store, self.manifest, self.context.progress, deadline=self.context.deadline.at)
        with _dump(self.store, self.manifest, self.key) as chunks:
            contents = read_contents(chunks, self.context.deadline.at)
        facts = read_target_facts(self.server, name, contents=contents, wanted=self.census.database)
        free_space = self.target.free_space
        wishes = Wishes(
            database=name,
            on_existing=self.target.on_existing,
            ownership=self.target.ownership,
            globals=self.target.globals,
            free_space_bytes=parse_size(free_space) if free_space else None,
        )
        return plan_restore(wishes, contents, self.census, facts)

    def _fill(self, temporary: str, keep_as: str | None, plan: RestorePlan, mark: Mark) -> None:
        name = self.target.database
        self.context.progress.step(f"loading backup {self.manifest.id} into {temporary}")
        create_database(
            self.server, temporary, self.census.database, mark, target=name, deadline=self.context.deadline.at
        )
        with _dump(self.store, self.manifest, self.key) as chunks:
            total = _only(self.manifest, ObjectRole.DUMP).plain_bytes
            load(
                self.server,
                temporary,
                self.context.progress.count("load", chunks, total),
                plan,
                self.context.deadline.at,
            )
        self.context.progress.step("comparing with the census, table by table")
        with analyzing(self.server, temporary, self.context.deadline.at):
            verification = verify(self.server, temporary, self.census, deadline=self.context.deadline.at)
        self._tell(checks=list(verification.checks))
        lacking = apply_properties(
            self.server, temporary, self.census.database, mark,
            ownership=self.target.ownership, privileges=plan.database_privileges, target=name,
            deadline=self.context.deadline.at,
        )  # fmt: skip
        self._leave_out(lacking)
        if not verification.is_equal:
            leave_aside(self.server, temporary, mark=mark, target=name)
            self._tell(database=temporary)
            raise RestoredUnverified(
                f"{verification.differences}. It stands as database {temporary}, and nothing else was changed. "
                f"To use it all the same, look at it and run in psql:\n{promotion_commands(temporary, name, keep_as=keep_as)}"
            )

    def _give_name(self, temporary: str, keep_as: str | None, mark: Mark) -> str | None:
        """The name under which the database of before is kept; None where there was none."""
        name = self.target.database
        self.context.progress.step(f"renaming {temporary} to {name}")
        with self.context.deadline.commit():
            try:
                return promote(
                    self.server, temporary, name, keep_as=keep_as, mark=mark, deadline=self.context.deadline.at
                )
            except (TargetBusy, TargetNotEmpty) as error:
                leave_aside(self.server, temporary, mark=mark, target=name)
                self._tell(database=temporary)
                raise type(error)(
                    f"{error}. The backup is restored, equal to its census, and stands as database {temporary}. Once "
                    f"nothing is in the way, run in psql:\n{promotion_commands(temporary, name, keep_as=keep_as)}"
                ) from None

    @property
    def _outcome(self) -> RestoreOutcome:
        return self.context.findings.restore or RestoreOutcome()

    def _tell(self, **facts: object) -> None:
        self.context.findings.restore = self._outcome.model_copy(update=facts)

    def _leave_out(self, sentences: list[str]) -> None:
        """Tell each once, in the Report and in the log: whole there, where the Report may have to cut."""
        told = self._outcome.omitted
        news = [sentence for sentence in sentences if sentence not in told]
        for sentence in news:
            log.warning("left out or different", what=sentence)
        self._tell(omitted=[*told, *news])

    def _mark(self, *, borrowed: tuple[str, ...]) -> Mark:
        metadata = self.request.metadata
        return Mark(
            MarkState.BEING_RESTORED, metadata.namespace, metadata.name, uid_of(self.request), self.request.fingerprint,
            self.manifest.id, borrowed=borrowed,
        )  # fmt: skip


def _only(manifest: Manifest, role: ObjectRole) -> ObjectEntry:
    found = [entry for entry in manifest.objects if entry.role is role]
    if len(found) != 1:
        raise ManifestInvalid(f"the manifest of {manifest.id} names {len(found)} objects of role {role}; one is needed")
    return found[0]


@contextmanager
def _dump(store: Store, manifest: Manifest, key: BackupKey | None) -> Iterator[Iterator[bytes]]:
    chunks = open_object(store, manifest.id, _only(manifest, ObjectRole.DUMP), backup_key=key)
    # Closed early, it must let go of what is being fetched ahead.
    with closing(chunks):  # type: ignore[type-var]
        yield chunks
