"""One backup: locks, snapshot, census beside pg_dump, globals, and the manifest last."""

from __future__ import annotations

import random
import secrets
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path

import structlog

import resguardo
from resguardo.api.backup_id import new_backup_id
from resguardo.api.base import print_time
from resguardo.api.census import Census
from resguardo.api.conditions import Reason
from resguardo.api.durations import parse_duration
from resguardo.api.errors import LockTimeout, ResguardoError, SchemaChanging, StoreError, StoreUnreachable
from resguardo.api.manifest import (
    CensusSummary,
    Manifest,
    ObjectEntry,
    ObjectRole,
    Promise,
    Sealing,
    SourceIdentity,
    Trigger,
)
from resguardo.api.policy import BackupPolicy, BackupPolicySpec
from resguardo.api.roles import Role
from resguardo.api.sizes import print_size
from resguardo.jobs.check import claim_prefix, read_inventory, require_rights
from resguardo.jobs.former import Former, find_oddities, read_former, rows_by_table, tiers_of
from resguardo.jobs.task import Context, Findings, Interrupted
from resguardo.jobs.trust import signing_key_of, trust_of
from resguardo.postgres.census import census_beside, read_system_identifier
from resguardo.postgres.connection import Server
from resguardo.postgres.dump import dump, dump_globals, output, tool_versions
from resguardo.postgres.rights import check_server, missing_rights
from resguardo.postgres.snapshot import open_snapshot
from resguardo.rules.census_budget import census_budget, lock_patience, lock_timeout
from resguardo.rules.growth import ROWS_MIN
from resguardo.rules.locks import lock_of, lock_while_made
from resguardo.rules.storage_classes import class_of
from resguardo.rules.tiers import Tier
from resguardo.store.backup_key import BackupKey, write_key
from resguardo.store.catalogue import (
    Attempt,
    backup_summary,
    commit_manifest,
    record_attempt,
)
from resguardo.store.discard import discard_backup
from resguardo.store.layout import attempt_key, backup_folder, census_key, data_folder, dump_key, globals_key
from resguardo.store.locks import lock_backup
from resguardo.store.orphans import abort_dead_uploads
from resguardo.store.ownership import Owner, verify_owner
from resguardo.store.protocol import Store
from resguardo.store.rows import write_rows
from resguardo.store.seal import seal
from resguardo.store.signatures import SigningKey, Trust

log = structlog.get_logger()

#: Between an attempt that could not lock the tables and the next.
PAUSE_SECONDS = 2.0
PAUSE_MAX_SECONDS = 60.0


def back_up(policy: BackupPolicy, trigger: Trigger, context: Context, *, job_name: str | None = None) -> None:
    """Make one backup of the policy's source, or raise and leave nothing that a listing could take for one.

    `job_name` is the Job's whose pod this is.
    """
    started_at = _now()
    store = context.credentials.open_store(policy.spec.store, role=Role.WRITER)
    owner = claim_prefix(store, policy)
    trusted, signing_key = trust_of(policy), signing_key_of(policy, context.credentials)
    former = read_former(store, trusted)
    backup_id = new_backup_id(started_at, secrets.token_hex(3))
    attempt = Attempt(id=backup_id, trigger=trigger, job_name=job_name, started_at=started_at)
    record_attempt(store, attempt)
    _abort_dead_uploads(store, attempt, timeout=parse_duration(policy.spec.timeout))
    manifest_was_sent = False
    try:
        # What would be lost is the work of hours, so that a store which is away for a moment is waited for longer.
        patient_store = context.credentials.open_store(policy.spec.store, role=Role.WRITER, patient=True)
        if (asked := policy.spec.store.object_lock) is not None:
            timeout = parse_duration(policy.spec.timeout)
            patient_store = patient_store.locking(lock_while_made(asked, started_at=started_at, timeout=timeout))
        key, sealing = _make_key(patient_store, backup_id, policy)
        made = _Making(patient_store, attempt, policy, former, context, key, sealing).make()
        manifest = _manifest(policy, owner, attempt, made, former, place=store.place, signing_key=signing_key)
        manifest = manifest.model_copy(update={"oddities": find_oddities(store, manifest, made.census, former, policy)})
        verify_owner(store, owner)
        with context.deadline.commit():
            manifest_was_sent = True
            commit_manifest(patient_store, manifest, signing_key)
    except BaseException as raised:
        error = raised.error if isinstance(raised, Interrupted) else raised
        # At the end, where the stop or deadline that may still come does not cut it short.
        context.at_end.callback(_clean_up, store, attempt, error, manifest_was_sent=manifest_was_sent)
        raise
    findings = context.findings
    findings.backup = backup_summary(manifest)
    findings.reason = Reason.BACKUP_SUCCEEDED
    findings.message = f"backup {backup_id} holds {print_size(manifest.bytes)} in the bucket"
    _extend_locks(store, findings, manifest, policy)
    _after_commit(store, attempt, findings, trusted)


def _make_key(store: Store, backup_id: str, policy: BackupPolicy) -> tuple[BackupKey | None, Sealing | None]:
    """Before any data, so that none ever lie there that nobody could open."""
    if policy.spec.encryption is None or policy.spec.encryption.age is None:
        return None, None
    key, sealing = write_key(store, backup_id, policy.spec.encryption.age.recipients)
    return key, Sealing(age=sealing)


def _abort_dead_uploads(store: Store, attempt: Attempt, *, timeout: timedelta) -> None:
    with suppress(StoreError):  # a courtesy: what stands in a backup's way tells so by itself
        # The attempt was written a moment ago, by the store's own clock.
        if (written := store.head(attempt_key(attempt.id))) is not None:
            abort_dead_uploads(store, now=written.last_modified, timeout=timeout)


def _after_commit(store: Store, attempt: Attempt, findings: Findings, trusted: Trust) -> None:
    """What is good to have once a backup counts; its failing must not make the backup a failure."""
    with suppress(StoreError):
        # An upload that the store began, but whose beginning we never heard of, and began again.
        store.abort_uploads(backup_folder(attempt.id))
    try:
        record_attempt(store, attempt.ended(reason=findings.reason, message=findings.message, at=datetime.now(UTC)))
        read_inventory(store, findings, trusted)
    except ResguardoError as error:
        log.warning("the backup is committed, but the bucket could not be looked at after it", problem=str(error))
        findings.newest_backup = findings.backup


def _extend_locks(store: Store, findings: Findings, manifest: Manifest, policy: BackupPolicy) -> None:
    """Lock the backup for as long as it will stand for its tiers; where that fails, the next run of retention does it."""
    asked = policy.spec.store.object_lock
    if asked is None or manifest.oddities:
        return
    tiers = [Tier(tier) for tier in manifest.tiers]
    lock = lock_of(asked, tiers, manifest.trigger, policy.spec.retention, made_at=manifest.started_at)
    if lock is None:
        return
    try:
        lock_backup(store, manifest.id, lock)
        findings.message += f", locked until {print_time(lock.until)}"
    except StoreError as error:
        log.warning(
            "the backup's locks could not be extended; the next run of retention tries again", problem=str(error)
        )
        findings.message += f"; it is not locked as it should be, {error.reason}: {error}"


def _clean_up(store: Store, attempt: Attempt, error: BaseException, *, manifest_was_sent: bool) -> None:
    reason = error.reason if isinstance(error, ResguardoError) else type(error).__name__
    try:
        discard_backup(store, attempt.id, manifest_was_sent=manifest_was_sent)
    except StoreUnreachable as problem:
        # What was to be removed is in no listing of backups; the kubelet's patience is short, and the Report is worth more.
        log.warning("nothing could be removed from the bucket", problem=str(problem))
        return
    except ResguardoError as problem:
        log.warning("not everything could be removed from the bucket", problem=str(problem))
    with suppress(ResguardoError):
        record_attempt(store, attempt.ended(reason=reason, message=str(error)[:1024], at=datetime.now(UTC)))


@dataclass(frozen=True)
class _Made:
    objects: list[ObjectEntry]
    census: Census
    tools: dict[str, str]
    sealing: Sealing | None


@dataclass(frozen=True)
class _Making:
    """Everything of a backup but its manifest."""

    store: Store
    attempt: Attempt
    policy: BackupPolicy
    former: Former
    context: Context
    key: BackupKey | None
    sealing: Sealing | None

    @property
    def backup_id(self) -> str:
        return self.attempt.id

    def make(self) -> _Made:
        postgres = self.policy.spec.source.postgres
        if postgres is None:
            raise AssertionError("a source has exactly one member")
        database = postgres.pg_dump.database
        login = self.context.credentials.login(postgres.connection)
        timeout = parse_duration(self.policy.spec.timeout)
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="resguardo-")))
            server = stack.enter_context(Server(login, scratch))
            with server.connect(database) as connection:
                check_server(connection)
                require_rights(missing_rights(connection), role=login.username, database=database)
                source = SourceIdentity(
                    system_identifier=read_system_identifier(connection),
                    database=database,
                    server_version_num=connection.info.server_version,
                )
            storage_class = self._storage_class(source)
            dumped, census = self._dump_patiently(server, database, timeout, storage_class)
            globals_ = self._seal(
                output(partial(dump_globals, server, database), server, database, self.context.deadline.at),
                globals_key(),
                ObjectRole.GLOBALS,
            )
            sealed_census = seal(
                self.store, self.backup_id, census_key(), ObjectRole.CENSUS, iter([census.to_json().encode()]),
                backup_key=self.key,
            )  # fmt: skip
            write_rows(self.store, self.backup_id, rows_by_table(census), rows_min=ROWS_MIN)
            return _Made([dumped, globals_, sealed_census], census, tool_versions(server.major), self.sealing)

    def _storage_class(self, source: SourceIdentity) -> str | None:
        """Of the dump, which is nearly all of a backup; what is read each night, and before a restore, is in the usual one."""
        spec, attempt = self.policy.spec, self.attempt
        tiers = tiers_of(attempt.started_at, attempt.trigger, source, self.former, self.policy)
        return class_of(tiers, attempt.trigger, spec.retention, spec.store.classes)

    def _dump_patiently(
        self, server: Server, database: str, timeout: timedelta, storage_class: str | None
    ) -> tuple[ObjectEntry, Census]:
        """Dump and count; again from the beginning where somebody else's DDL was in the way, as long as there is time.

        Between two attempts nothing is locked, so that the DDL gets through.
        """
        give_up = time.monotonic() + lock_patience(timeout).total_seconds()
        pause = PAUSE_SECONDS
        for attempt in count(1):
            try:
                return self._dump_and_count(server, database, timeout, dump_key(attempt), storage_class)
            except (LockTimeout, SchemaChanging) as error:
                wait = pause * random.uniform(0.5, 1)  # noqa: S311 - jitter
                if time.monotonic() + wait >= give_up:
                    raise
                log.warning(
                    "beginning again, since the schema was being changed", reason=error.reason, problem=str(error)
                )
            self._drop_data()
            time.sleep(wait)
            pause = min(2 * pause, PAUSE_MAX_SECONDS)
        raise AssertionError("it counts without an end")

    def _drop_data(self) -> None:
        """Of an attempt that is given up. What may not be removed goes with the backup, in whose manifest it is not named."""
        with suppress(StoreError):
            self.store.erase(data_folder(self.backup_id))

    def _dump_and_count(
        self, server: Server, database: str, timeout: timedelta, key: str, storage_class: str | None
    ) -> tuple[ObjectEntry, Census]:
        deadline, longest_wait = self.context.deadline.at, lock_timeout(timeout)
        self.context.progress.step(f"locking the tables of {database} and taking a snapshot")
        with (
            open_snapshot(server, database, lock_timeout=longest_wait, deadline=deadline) as snapshot,
            census_beside(server, database, snapshot, budget=census_budget(timeout), deadline=deadline) as counting,
        ):
            self.context.progress.step(f"dumping {database} beside its census")
            start = partial(dump, server, database, snapshot.id, lock_timeout=longest_wait)
            dumped = self._seal(output(start, server, database, deadline), key, ObjectRole.DUMP, storage_class)
            return dumped, counting.result()

    def _seal(
        self, dump: Generator[bytes, None, None], key: str, role: ObjectRole, storage_class: str | None = None
    ) -> ObjectEntry:
        """A dump that failed is an error before its upload could be completed; an upload that failed ends the dump."""
        with closing(dump):
            chunks = self.context.progress.count(role.value.lower(), dump)
            return seal(self.store, self.backup_id, key, role, chunks, backup_key=self.key, storage_class=storage_class)


def _manifest(
    policy: BackupPolicy,
    owner: Owner,
    attempt: Attempt,
    made: _Made,
    former: Former,
    *,
    place: str,
    signing_key: SigningKey | None,
) -> Manifest:
    census = made.census
    source = SourceIdentity(
        system_identifier=census.system_identifier,
        database=census.database.name,
        server_version_num=census.server_version_num,
    )
    counted = [table.rows for table in census.tables if table.rows is not None]
    return Manifest(
        id=attempt.id,
        previous_id=former.newest_before(attempt.id),
        owner=owner.owner,
        epoch=owner.epoch,
        place=place,
        signed_by=signing_key.public if signing_key else None,
        policy_uid=policy.metadata.uid,
        policy_generation=policy.metadata.generation,
        policy_hash=policy.hash,
        promise=_promise(policy.spec),
        source=source,
        trigger=attempt.trigger,
        job_name=attempt.job_name,
        tiers=[tier.value for tier in tiers_of(attempt.started_at, attempt.trigger, source, former, policy)],
        started_at=attempt.started_at,
        completed_at=_now(),
        snapshot_at=census.taken_at,
        snapshot_lsn=census.lsn,
        tools={"resguardo": resguardo.__version__, **made.tools},
        objects=made.objects,
        encryption=made.sealing,
        bytes=sum(entry.bytes for entry in made.objects) + (made.sealing.age.sealed_key.bytes if made.sealing else 0),
        census=CensusSummary(
            tables=len(census.tables),
            tables_counted=len(counted),
            rows=sum(counted),
            database_bytes=census.database.size_bytes,
        ),
    )


def _promise(spec: BackupPolicySpec) -> Promise:
    kept = spec.retention.model_dump(mode="json", by_alias=True, exclude_none=True) if spec.retention else {}
    return Promise(schedule=spec.schedule, time_zone=spec.time_zone, timeout=spec.timeout, retention=kept)


def _now() -> datetime:
    # Whole seconds, as JSON keeps them: a manifest just made and the same one read back say the same.
    return datetime.now(UTC).replace(microsecond=0)
