"""What is in the bucket: manifests, attempts, and the census of a backup. Everything read from it is untrusted."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pydantic import Field, ValidationError
from pydantic_core import from_json

from resguardo.api.backup_id import BACKUP_ID_PATTERN, is_backup_id
from resguardo.api.base import Exchanged, Instant
from resguardo.api.census import CENSUS_FORMAT_VERSION, Census
from resguardo.api.errors import (
    FormatTooNew,
    ManifestInvalid,
    ObjectCorrupt,
    ObjectMissing,
    StoreError,
    StoreUnreachable,
)
from resguardo.api.manifest import MANIFEST_FORMAT_VERSION, MANIFEST_MAX_BYTES, Manifest, ObjectRole, Trigger
from resguardo.api.policy import BackupSummary, Inventory
from resguardo.api.sizes import print_size
from resguardo.rules.part_sizes import OBJECT_MAX_BYTES
from resguardo.store.discard import DISCARDED, forbid_manifest
from resguardo.store.download import open_object
from resguardo.store.layout import BACKUPS_PREFIX, MANIFEST_NAME, attempt_key, manifest_key
from resguardo.store.protocol import Store
from resguardo.store.threads import RequestThreads

THREADS = 8
#: Half a million tables; read into memory whole.
CENSUS_MAX_BYTES = 64 * 1024 * 1024
#: A reader holds a few blocks at once, and a list of them.
BLOCK_BYTES_MIN, BLOCK_BYTES_MAX = 1024 * 1024, 64 * 1024 * 1024
ATTEMPT_MESSAGE_MAX = 1024

M = TypeVar("M", bound=Exchanged)


@dataclass(frozen=True)
class CatalogueEntry:
    """A backup: its manifest, or why that cannot be read. One of the two is set."""

    id: str
    manifest: Manifest | None = None
    problem: StoreError | None = None


class Attempt(Exchanged):
    """A backup that was started, and how it ended. Without an end it is under way, or was killed."""

    id: str = Field(pattern=BACKUP_ID_PATTERN)
    trigger: Trigger
    started_at: Instant
    ended_at: Instant | None = None
    reason: str | None = None
    message: str | None = None

    def ended(self, *, reason: str, message: str, at: datetime) -> Attempt:
        """The same attempt with its end."""
        end = {"ended_at": at, "reason": reason, "message": message[:ATTEMPT_MESSAGE_MAX]}
        return self.model_copy(update=end)


def list_backups(store: Store) -> list[CatalogueEntry]:
    """Every backup under the prefix, by the order of their ids, which is that of their starts.

    A folder without a manifest is no backup. A manifest that cannot be understood, or belongs elsewhere, is an entry with
    a problem and hides no other. Where the store does not answer or denies, that is raised: half a list would be a lie.
    """
    ids = [name for name in store.list_folders(BACKUPS_PREFIX) if is_backup_id(name)]
    threads = RequestThreads(THREADS, name="catalogue")
    try:
        reading: list[Future[CatalogueEntry | None]] = [threads.submit(_read_entry, store, name) for name in ids]
        entries = [future.result() for future in reading]
    finally:
        threads.shutdown()
    return sorted((entry for entry in entries if entry is not None), key=lambda entry: entry.id)


def _read_entry(store: Store, backup_id: str) -> CatalogueEntry | None:
    try:
        return CatalogueEntry(backup_id, manifest=read_manifest(store, backup_id))
    except ObjectMissing:
        return None
    except (ManifestInvalid, FormatTooNew, ObjectCorrupt) as problem:
        return CatalogueEntry(backup_id, problem=problem)


def read_manifest(store: Store, backup_id: str) -> Manifest:
    """A backup's manifest. Raises ObjectMissing, ObjectCorrupt (too large), FormatTooNew and ManifestInvalid."""
    body = store.get(manifest_key(backup_id), max_bytes=MANIFEST_MAX_BYTES).body
    if body == DISCARDED:
        raise ObjectMissing(f"backup {backup_id} was given up while it was made: it has no manifest")
    return _parse_manifest(body, backup_id)


def commit_manifest(store: Store, manifest: Manifest) -> None:
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
    try:
        store.put(manifest_key(manifest.id), body, if_absent=True)
    except StoreUnreachable:
        if forbid_manifest(store, manifest.id):
            raise
    if store.get(manifest_key(manifest.id), max_bytes=MANIFEST_MAX_BYTES).body != body:
        raise ObjectCorrupt(f"the manifest of {manifest.id} is not what was written to {store.location}")


def read_census(store: Store, manifest: Manifest) -> Census:
    """A backup's census, verified. Raises ObjectMissing, ObjectCorrupt, FormatTooNew and ManifestInvalid."""
    sealed = [entry for entry in manifest.objects if entry.role is ObjectRole.CENSUS]
    if len(sealed) != 1:
        raise ManifestInvalid(f"the manifest of {manifest.id} names {len(sealed)} censuses, and a backup has one")
    if sealed[0].plain_bytes > CENSUS_MAX_BYTES:
        raise ManifestInvalid(f"the census of {manifest.id} has more than {print_size(CENSUS_MAX_BYTES)}")
    text = b"".join(open_object(store, manifest.id, sealed[0]))
    return _parse(Census, text, f"the census of {manifest.id}", known_version=CENSUS_FORMAT_VERSION)


def record_attempt(store: Store, attempt: Attempt) -> None:
    """Write down that a backup started, or how it ended."""
    store.put(attempt_key(attempt.id), attempt.to_json().encode())


def summarise(entries: Sequence[CatalogueEntry]) -> Inventory:
    """The readable backups in numbers."""
    manifests = [entry.manifest for entry in entries if entry.manifest]
    starts = [manifest.started_at for manifest in manifests]
    return Inventory(
        backups=len(manifests),
        bytes=sum(manifest.bytes for manifest in manifests),
        oldest=min(starts, default=None),
        newest=max(starts, default=None),
    )


def newest_summary(entries: Sequence[CatalogueEntry]) -> BackupSummary | None:
    """The good backup that started last."""
    manifests = [entry.manifest for entry in entries if entry.manifest]
    newest = max(manifests, key=lambda manifest: (manifest.started_at, manifest.id), default=None)
    return backup_summary(newest) if newest else None


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
        oddities=manifest.oddities,
    )


def _parse_manifest(body: bytes, backup_id: str) -> Manifest:
    what = f"the manifest of {backup_id}"
    manifest = _parse(Manifest, body, what, known_version=MANIFEST_FORMAT_VERSION)
    if manifest.id != backup_id:
        raise ManifestInvalid(f"{what} calls itself {manifest.id}: it was copied there; delete the copied folder")
    keys = [key for entry in manifest.objects for key in (entry.key, entry.blocks_key)]
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
    """Whether a relative key names something within its folder, the manifest aside."""
    return key != MANIFEST_NAME and all(part not in {"", ".", ".."} for part in key.split("/"))


def _parse(model: type[M], body: bytes, what: str, *, known_version: int) -> M:
    try:
        document = from_json(body)
    except ValueError as error:
        raise ManifestInvalid(f"{what} is no JSON: {error}") from None
    version = document.get("formatVersion") if isinstance(document, dict) else None
    if isinstance(version, int) and version > known_version:
        raise FormatTooNew(
            f"{what} has format {version}, and this Resguardo knows formats up to {known_version}: use a newer one"
        )
    try:
        return model.model_validate(document)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) or "the whole" for problem in error.errors()[:5])
        raise ManifestInvalid(f"{what} cannot be read: {fields}") from None
