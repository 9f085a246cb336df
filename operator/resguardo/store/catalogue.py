"""What is in the bucket: manifests, attempts, and the census of a backup. Everything read from it is untrusted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import structlog
from pydantic import Field

from resguardo.api.backup_id import BACKUP_ID_PATTERN, is_backup_id, parse_start
from resguardo.api.base import WHOLE_MAX, Exchanged, Moment, print_time
from resguardo.api.census import CENSUS_FORMAT_VERSION, Census
from resguardo.api.errors import (
    FormatTooNew,
    ManifestInvalid,
    ObjectCorrupt,
    ObjectMissing,
    SignatureRefused,
    StoreError,
    StoreUnreachable,
)
from resguardo.api.manifest import MANIFEST_FORMAT_VERSION, MANIFEST_MAX_BYTES, Manifest, ObjectRole, Trigger
from resguardo.api.policy import BackupSummary, Inventory
from resguardo.api.report import NEWEST_JOBS_MAX
from resguardo.api.sizes import print_size
from resguardo.rules.chain import Link, broken_links
from resguardo.rules.part_sizes import OBJECT_MAX_BYTES
from resguardo.store.backup_key import BackupKey
from resguardo.store.discard import DISCARDED, forbid_manifest
from resguardo.store.documents import parse_document
from resguardo.store.download import open_object
from resguardo.store.layout import BACKUPS_PREFIX, MANIFEST_NAME, SIGNATURE_NAME, attempt_key, manifest_key
from resguardo.store.protocol import Store
from resguardo.store.signatures import SigningKey, Trust, find_distrust, read_signature, write_signature
from resguardo.store.threads import in_threads

log = structlog.get_logger()

_WAYS_OUT = "Find out who writes to the bucket; signing.allowUnsigned lets it count, and others like it"
#: Half a million tables; read into memory whole.
CENSUS_MAX_BYTES = 64 * 1024 * 1024
#: Values in it, of which that many tables have six each: 64 MiB of empty lists are 22 million, which take 1.6 GiB as objects.
CENSUS_MAX_VALUES = 4_000_000
#: A reader holds a few blocks at once, and a list of them.
BLOCK_BYTES_MIN, BLOCK_BYTES_MAX = 1024 * 1024, 64 * 1024 * 1024
ATTEMPT_FORMAT_VERSION = 1
ATTEMPT_MESSAGE_MAX = 1024
#: A message of so many characters, each of which JSON may write with six bytes.
ATTEMPT_MAX_BYTES = 16 * 1024


@dataclass(frozen=True)
class CatalogueEntry:
    """A backup: its manifest, or why that cannot be read. One of the two is set."""

    id: str
    manifest: Manifest | None = None
    problem: StoreError | None = None
    #: Why it is not believed, where the reader lets it count all the same.
    distrust: str | None = None
    #: When the store received the manifest, by its own clock; None where it was not read.
    stored_at: datetime | None = None


@dataclass(frozen=True)
class Catalogue:
    """What stands under backups/, by the order of ids."""

    entries: list[CatalogueEntry]
    #: Ids of folders without a manifest: of backups that are being made, or never will be.
    uncommitted: list[str]


class Attempt(Exchanged):
    """A backup that was started, and how it ended. Without an end it is under way, or was killed."""

    id: str = Field(pattern=BACKUP_ID_PATTERN)
    trigger: Trigger
    #: The Job whose pod makes it; None where it is made by hand.
    job_name: str | None = Field(None, max_length=63)
    started_at: Moment
    ended_at: Moment | None = None
    reason: str | None = None
    message: str | None = None

    def ended(self, *, reason: str, message: str, at: datetime) -> Attempt:
        """The same attempt with its end."""
        end = {"ended_at": at, "reason": reason, "message": message[:ATTEMPT_MESSAGE_MAX]}
        return self.model_copy(update=end)


def list_backups(store: Store, trusted: Trust) -> list[CatalogueEntry]:
    """Every backup under the prefix, by the order of their ids, which is that of their starts.

    A folder without a manifest is no backup. A manifest that cannot be understood, belongs elsewhere, or is not believed, is an
    entry with a problem and hides no other. Where the store does not answer or denies, that is raised: half a list would be a lie.
    """
    return read_catalogue(store, trusted).entries


def read_catalogue(store: Store, trusted: Trust) -> Catalogue:
    """Every backup as in `list_backups`, and the folders that hold none."""
    ids = sorted(name for name in store.list_folders(BACKUPS_PREFIX) if is_backup_id(name))
    found = in_threads(partial(_read_entry, store, trusted), ids, name="catalogue")
    return Catalogue(
        entries=_judged([entry for entry in found if entry is not None], trusted),
        uncommitted=[backup_id for backup_id, entry in zip(ids, found, strict=True) if entry is None],
    )


def _read_entry(store: Store, trusted: Trust, backup_id: str) -> CatalogueEntry | None:
    try:
        stored = store.get(manifest_key(backup_id), max_bytes=MANIFEST_MAX_BYTES)
    except ObjectMissing:
        return None
    except ObjectCorrupt as problem:
        return CatalogueEntry(backup_id, problem=problem)
    try:
        manifest = _understand(stored.body, backup_id)
    except ObjectMissing:
        return None
    except (ManifestInvalid, FormatTooNew) as problem:
        return CatalogueEntry(backup_id, problem=problem, stored_at=stored.last_modified)
    distrust = None
    if trusted.asks:
        signature = read_signature(store, backup_id)
        if signature is None and store.head(manifest_key(backup_id)) is None:
            return None  # removed a moment ago
        distrust = find_distrust(trusted, manifest, stored.body, signature, place=store.place)
    return CatalogueEntry(backup_id, manifest=manifest, distrust=distrust, stored_at=stored.last_modified)


def _judged(entries: list[CatalogueEntry], trusted: Trust) -> list[CatalogueEntry]:
    """The entries with what is not believed refused, or told of where that is allowed."""
    links = [
        Link(entry.id, entry.manifest.previous_id, entry.manifest.started_at, entry.stored_at)
        for entry in entries
        if trusted.asks and entry.manifest and entry.distrust is None and entry.stored_at is not None
    ]
    breaks = broken_links(links)
    judged = [replace(entry, distrust=breaks.get(entry.id, entry.distrust)) for entry in entries]
    if not trusted.allows_unsigned:
        return [_refused(entry) for entry in judged]
    if believed_all_the_same := {entry.id: entry.distrust for entry in judged if entry.distrust is not None}:
        log.warning(
            "backups count that are not believed, since signing.allowUnsigned is true", backups=believed_all_the_same
        )
    return judged


def _refused(entry: CatalogueEntry) -> CatalogueEntry:
    if entry.distrust is None:
        return entry
    problem = SignatureRefused(f"backup {entry.id} is not believed: {entry.distrust}. {_WAYS_OUT}")
    return CatalogueEntry(entry.id, problem=problem, stored_at=entry.stored_at)


def _understand(body: bytes, backup_id: str) -> Manifest:
    if body == DISCARDED:
        raise ObjectMissing(f"backup {backup_id} was given up while it was made: it has no manifest")
    return _parse_manifest(body, backup_id)


def read_manifest(store: Store, backup_id: str) -> Manifest:
    """A backup's manifest, whoever made it. Raises ObjectMissing, ObjectCorrupt (too large), FormatTooNew and ManifestInvalid."""
    return _understand(store.get(manifest_key(backup_id), max_bytes=MANIFEST_MAX_BYTES).body, backup_id)


def commit_manifest(store: Store, manifest: Manifest, signing_key: SigningKey | None) -> None:
    """Make the backup one. Raises WriteConflict where another manifest stands; the same one again is no conflict.

    Nothing is written that a reader would refuse. Returns only when the manifest was read back. An error whose answer was
    lost is settled here: either the manifest stands, which is success, or it can never arrive any more.
    """
    body = manifest.to_json().encode()
    if len(body) > MANIFEST_MAX_BYTES:
        raise ManifestInvalid(
            f"the manifest of {manifest.id} has {len(body)} bytes, and {MANIFEST_MAX_BYTES} are the most"
        )
    _parse_manifest(body, manifest.id)
    if signing_key is not None:
        # First: a backup that counts has its signature.
        write_signature(store, manifest.id, body, signing_key)
    try:
        store.put(manifest_key(manifest.id), body, if_absent=True)
    except StoreUnreachable:
        if forbid_manifest(store, manifest.id):
            raise
        # It stands. Written once more, whether it is encrypted and locked as asked is looked at like with any other.
        store.put(manifest_key(manifest.id), body, if_absent=True)
    if store.get(manifest_key(manifest.id), max_bytes=MANIFEST_MAX_BYTES).body != body:
        raise ObjectCorrupt(f"the manifest of {manifest.id} is not what was written to {store.location}")


def read_census(store: Store, manifest: Manifest, backup_key: BackupKey | None = None) -> Census:
    """A backup's census, verified; of an encrypted backup with the key that opens it. Raises ObjectMissing, ObjectCorrupt, FormatTooNew and ManifestInvalid."""
    sealed = [entry for entry in manifest.objects if entry.role is ObjectRole.CENSUS]
    if len(sealed) != 1:
        raise ManifestInvalid(f"the manifest of {manifest.id} names {len(sealed)} censuses, and a backup has one")
    if sealed[0].plain_bytes > CENSUS_MAX_BYTES:
        raise ManifestInvalid(f"the census of {manifest.id} has more than {print_size(CENSUS_MAX_BYTES)}")
    text = b"".join(open_object(store, manifest.id, sealed[0], backup_key=backup_key))
    if sum(text.count(sign) for sign in (b",", b"[", b"{")) > CENSUS_MAX_VALUES:
        raise ManifestInvalid(f"the census of {manifest.id} has more than {CENSUS_MAX_VALUES:,} values")
    return parse_document(Census, text, f"the census of {manifest.id}", known_version=CENSUS_FORMAT_VERSION)


def record_attempt(store: Store, attempt: Attempt) -> None:
    """Write down that a backup started, or how it ended."""
    store.put(attempt_key(attempt.id), attempt.to_json().encode())


def read_attempt(store: Store, backup_id: str) -> Attempt:
    """How a backup that was started ended. Raises ObjectMissing, ObjectCorrupt (too large), FormatTooNew, ManifestInvalid."""
    key = attempt_key(backup_id)
    body = store.get(key, max_bytes=ATTEMPT_MAX_BYTES).body
    attempt = parse_document(Attempt, body, f"the record {key}", known_version=ATTEMPT_FORMAT_VERSION)
    if attempt.id != backup_id:
        raise ManifestInvalid(f"the record {key} is about {attempt.id}: it was copied there; delete it")
    return attempt


def summarise(entries: Sequence[CatalogueEntry]) -> Inventory:
    """The readable backups in numbers."""
    manifests = [entry.manifest for entry in entries if entry.manifest]
    starts = [manifest.started_at for manifest in manifests]
    return Inventory(
        backups=len(manifests),
        bytes=min(WHOLE_MAX, sum(manifest.bytes for manifest in manifests)),
        oldest=min(starts, default=None),
        newest=max(starts, default=None),
    )


def newest_summary(
    entries: Sequence[CatalogueEntry], *, accepted: Collection[str] = frozenset()
) -> BackupSummary | None:
    """The backup that started last; of one that a person accepted (`accepted` are ids) nothing is odd."""
    manifests = [entry.manifest for entry in entries if entry.manifest]
    newest = max(manifests, key=lambda manifest: (manifest.started_at, manifest.id), default=None)
    if newest is None:
        return None
    summary = backup_summary(newest)
    return summary.model_copy(update={"oddities": []}) if newest.id in accepted else summary


def newest_jobs(entries: Sequence[CatalogueEntry]) -> list[str]:
    """The Jobs that made the newest backups, the newest first; what was made by hand has none."""
    names = [entry.manifest.job_name for entry in sorted(entries, key=lambda entry: entry.id) if entry.manifest]
    return [name for name in reversed(names) if name][:NEWEST_JOBS_MAX]


def backup_summary(manifest: Manifest) -> BackupSummary:
    """A backup in a few numbers."""
    took = (manifest.completed_at - manifest.started_at).total_seconds()
    return BackupSummary(
        id=manifest.id,
        started_at=manifest.started_at,
        completed_at=manifest.completed_at,
        bytes=manifest.bytes,
        size=print_size(manifest.bytes),
        duration_seconds=max(0, round(took)),
        job_name=manifest.job_name,
        oddities=manifest.oddities,
    )


def _parse_manifest(body: bytes, backup_id: str) -> Manifest:
    what = f"the manifest of {backup_id}"
    manifest = parse_document(Manifest, body, what, known_version=MANIFEST_FORMAT_VERSION)
    if manifest.id != backup_id:
        raise ManifestInvalid(f"{what} calls itself {manifest.id}: it was copied there; delete the copied folder")
    if manifest.started_at.replace(microsecond=0) != parse_start(backup_id):
        raise ManifestInvalid(
            f"{what} says that it started at {print_time(manifest.started_at)}, and its id another time: it was changed"
        )
    keys = [key for entry in manifest.objects for key in (entry.key, entry.blocks_key)]
    if manifest.encryption is not None:
        keys.append(manifest.encryption.age.sealed_key.key)
    for key in keys:
        if not _stays_inside(key):
            raise ManifestInvalid(f"{what} names the object {key!r}, which is not one of its own")
    if len(set(keys)) != len(keys):
        raise ManifestInvalid(f"{what} names an object twice")
    for entry in manifest.objects:
        if not BLOCK_BYTES_MIN <= entry.block_bytes <= BLOCK_BYTES_MAX or entry.bytes > OBJECT_MAX_BYTES:
            raise ManifestInvalid(f"{what} gives {entry.key} a size, or a size of blocks, that no version writes")
    return manifest


def _stays_inside(key: str) -> bool:
    """Whether a relative key names something within its folder, the manifest and its signature aside."""
    return key not in {MANIFEST_NAME, SIGNATURE_NAME} and all(part not in {"", ".", ".."} for part in key.split("/"))
