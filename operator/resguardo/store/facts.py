"""What retention and growth decide on, read from the bucket alone: an entry for each backup, and for each that was to be one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from resguardo.api.backup_id import is_backup_id, parse_start
from resguardo.api.base import EARLIEST, LATEST
from resguardo.api.errors import FormatTooNew, ManifestInvalid, ObjectCorrupt, ObjectMissing
from resguardo.api.inventory import BackupFacts, Outcome
from resguardo.api.manifest import Manifest, SourceIdentity
from resguardo.rules.orphans import orphaned_before
from resguardo.store.catalogue import Catalogue, CatalogueEntry, read_attempt
from resguardo.store.layout import ATTEMPTS_PREFIX, attempt_key, manifest_key
from resguardo.store.marks import Mark, Verification, marked_ids, read_verifications
from resguardo.store.protocol import ObjectInfo, Store
from resguardo.store.threads import in_threads


@dataclass(frozen=True)
class Facts:
    """Everything under the prefix that a decision may rest on."""

    backups: list[BackupFacts]
    #: Ids of the backups that a person accepted.
    accepted: frozenset[str]
    catalogue: Catalogue


def read_facts(store: Store, catalogue: Catalogue, *, timeout: timedelta, store_now: datetime) -> Facts:
    """All facts about what the catalogue shows, the oldest entry first. `timeout` is the policy's, `store_now` by the store's clock.

    An attempt without an end is Running as long as a process can still be at work on it, then Failed; one that became a
    backup is listed once, as that. What is not named like a backup is not listed: it is somebody else's.
    """
    pinned, accepted = marked_ids(store, Mark.PINNED), marked_ids(store, Mark.ACCEPTED)
    reader = _Reader(store, pinned, accepted, read_verifications(store), orphaned_before(store_now, timeout))
    backups = in_threads(reader.backup, catalogue.entries, name="locks")
    listed = {backup.id for backup in backups}
    attempts = [found for found in store.list(ATTEMPTS_PREFIX) if (name := _id_of(found)) and name not in listed]
    backups += [entry for entry in in_threads(reader.attempt, attempts, name="attempts") if entry is not None]
    return Facts(sorted(backups, key=lambda entry: entry.by_age), accepted, catalogue)


def facts_of(
    manifest: Manifest,
    *,
    stored_at: datetime | None,
    pinned: bool = False,
    locked: bool = False,
    accepted: bool = False,
    damaged: bool = False,
) -> BackupFacts:
    """A committed backup as facts. Raises ValidationError where the manifest says what no backup can be."""
    return BackupFacts(
        id=manifest.id,
        started_at=manifest.started_at,
        stored_at=stored_at,
        outcome=Outcome.SUCCEEDED,
        trigger=manifest.trigger,
        bytes=manifest.bytes,
        pinned=pinned,
        locked=locked,
        odd=bool(manifest.oddities) and not accepted,
        damaged=damaged,
        source=identity_of(manifest.source),
        method=manifest.method,
        depends_on=tuple(manifest.depends_on),
    )


def identity_of(source: SourceIdentity) -> str:
    """A database by the system identifier of its server and its name there; another server's of the same name is another."""
    return f"{source.system_identifier}/{source.database}"


@dataclass(frozen=True)
class _Reader:
    store: Store
    pinned: frozenset[str]
    accepted: frozenset[str]
    verifications: dict[str, Verification]
    dead_before: datetime

    def backup(self, entry: CatalogueEntry) -> BackupFacts:
        if entry.manifest is None:
            return _unreadable(entry.id, entry.stored_at)
        verification = self.verifications.get(entry.id)
        try:
            return facts_of(
                entry.manifest,
                stored_at=entry.stored_at,
                pinned=entry.id in self.pinned,
                locked=self.store.is_locked(manifest_key(entry.id)),
                accepted=entry.id in self.accepted,
                damaged=verification is not None and not verification.ok,
            )
        except ValidationError:
            return _unreadable(entry.id, entry.stored_at)

    def attempt(self, found: ObjectInfo) -> BackupFacts | None:
        name = _id_of(found) or ""
        try:
            attempt = read_attempt(self.store, name)
            is_running = attempt.ended_at is None and found.last_modified >= self.dead_before
            return BackupFacts(
                id=name,
                started_at=attempt.started_at,
                stored_at=found.last_modified,
                outcome=Outcome.RUNNING if is_running else Outcome.FAILED,
                trigger=attempt.trigger,
            )
        except ObjectMissing:
            return None  # a purge of somebody else's, a moment ago
        except (ManifestInvalid, FormatTooNew, ObjectCorrupt, ValidationError):
            return _unreadable(name, found.last_modified)


def _unreadable(backup_id: str, stored_at: datetime | None) -> BackupFacts:
    started_at = min(max(parse_start(backup_id), EARLIEST), LATEST)
    return BackupFacts(id=backup_id, started_at=started_at, stored_at=stored_at, outcome=Outcome.UNREADABLE)


def _id_of(found: ObjectInfo) -> str | None:
    name = found.key.removeprefix(ATTEMPTS_PREFIX).removesuffix(".json")
    return name if is_backup_id(name) and found.key == attempt_key(name) else None
