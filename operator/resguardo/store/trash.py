"""Backups that are to go: a marker, a grace, and a decision that only one side can win.

A marker says that from now on a backup is to go. After its grace whoever wants to remove it, or to take it back, creates
the decision object of the marker's nonce under the condition that nothing is there: the store lets one of the two in. The
decision stays when the marker is gone, until no process can be at work any more that read that marker; were it removed at
once, a slow one could decide again, and the other way.
"""

from __future__ import annotations

import secrets
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from pydantic import Field

from resguardo.api.backup_id import BACKUP_ID_PATTERN, is_backup_id
from resguardo.api.base import Exchanged, Instant
from resguardo.api.errors import (
    FormatTooNew,
    ManifestInvalid,
    ObjectCorrupt,
    ObjectMissing,
    StoreError,
    WriteConflict,
)
from resguardo.rules.grace import GRACE_MAX, GRACE_MIN
from resguardo.rules.removal import Decision
from resguardo.store.documents import parse_document
from resguardo.store.layout import (
    TRASH_PREFIX,
    accepted_key,
    attempt_key,
    backup_folder,
    decision_key,
    manifest_key,
    marker_key,
    pin_key,
    verified_key,
)
from resguardo.store.orphans import erase_whole
from resguardo.store.protocol import ObjectInfo, Store
from resguardo.store.threads import in_threads

TRASH_FORMAT_VERSION = 1
MARKER_MAX_BYTES = 8192
REASONS_MAX = 16


class Marker(Exchanged):
    """That a backup is to go, and why. When it was written is the store's to say."""

    format_version: int = TRASH_FORMAT_VERSION
    id: str = Field(pattern=BACKUP_ID_PATTERN)
    nonce: str = Field(pattern=r"^[0-9a-f]{16}$", description="No two markers have the same.")
    marked_at: Instant = Field(description="By the clock of whoever wrote it: for people.")
    grace_seconds: int = Field(
        ge=int(GRACE_MIN.total_seconds()),
        le=int(GRACE_MAX.total_seconds()),
        description="How long after the store received this the backup may go.",
    )
    reasons: list[str] = []


class _Decided(Exchanged):
    """The same bytes from everybody who decides the same, so that none of them takes another's for a conflict."""

    format_version: int = TRASH_FORMAT_VERSION
    decision: Decision


@dataclass(frozen=True)
class Trashed:
    """A marked backup. Times are the store's."""

    marker: Marker
    marked_at: datetime
    #: None while nobody has decided.
    decision: Decision | None = None

    @property
    def id(self) -> str:
        """Of the backup."""
        return self.marker.id

    @property
    def goes_at(self) -> datetime:
        """From when on it may be removed."""
        return self.marked_at + timedelta(seconds=self.marker.grace_seconds)


@dataclass(frozen=True)
class Trash:
    """What stands under trash/."""

    marked: dict[str, Trashed]
    #: Markers, or decisions about them, that cannot be read: nothing is done about their backups.
    problems: dict[str, StoreError]
    #: Decisions whose marker is gone.
    settled: list[ObjectInfo]


def read_trash(store: Store) -> Trash:
    """Every marker, what was decided about it, and what is left of former ones."""
    there = {found.key: found for found in store.list(TRASH_PREFIX)}
    ids = [name for name in (_id_of_marker(key) for key in there) if name is not None]
    found = dict(zip(ids, in_threads(partial(_read_or_problem, store, there), ids, name="trash"), strict=True))
    marked = {name: read for name, read in found.items() if isinstance(read, Trashed)}
    problems = {name: read for name, read in found.items() if isinstance(read, StoreError)}
    standing = {decision_key(one.id, one.marker.nonce) for one in marked.values()}
    settled = [
        there[key]
        for key in sorted(there.keys() - standing)
        if (owner := _id_of_decision(key)) is not None and owner not in problems
    ]
    return Trash(marked, problems, settled)


def read_trashed(store: Store, backup_id: str) -> Trashed | None:
    """The marker of one backup, and what was decided; None where it is not marked. Raises ManifestInvalid, FormatTooNew."""
    read = _read_marker(store, backup_id)
    return read and replace(read, decision=_read_decision(store, read.marker))


def _read_marker(store: Store, backup_id: str) -> Trashed | None:
    key = marker_key(backup_id)
    try:
        stored = store.get(key, max_bytes=MARKER_MAX_BYTES)
    except ObjectMissing:
        return None
    marker = parse_document(Marker, stored.body, f"the marker {key}", known_version=TRASH_FORMAT_VERSION)
    if marker.id != backup_id:
        raise ManifestInvalid(f"the marker {key} is about {marker.id}: it was copied there; delete it")
    return Trashed(marker, stored.last_modified)


def mark(store: Store, backup_id: str, *, reasons: Sequence[str], grace: timedelta, at: datetime) -> bool:
    """Say that a backup is to go; False where that is said already, and its grace goes on."""
    marker = Marker(
        id=backup_id,
        nonce=secrets.token_hex(8),
        marked_at=at,
        grace_seconds=int(grace.total_seconds()),
        reasons=list(reasons[:REASONS_MAX]),
    )
    try:
        store.put(marker_key(backup_id), marker.to_json().encode(), if_absent=True)
    except WriteConflict:
        return False
    return True


def take_back(store: Store, trashed: Trashed) -> bool:
    """Let a marked backup stay; False where its removal was decided first. May be repeated."""
    if _decide(store, trashed.marker, Decision.UNDELETE) is Decision.PURGE:
        return False
    erase_whole(store, marker_key(trashed.id))
    return True


def purge(store: Store, trashed: Trashed) -> bool:
    """Remove a marked backup and all that is said about it; False where somebody took it back first.

    May be cut off anywhere and repeated: the manifest goes first, so that no half of a backup is ever listed, and the
    marker last, so that what is left is found again. Raises the first thing that could not be removed.
    """
    if _decide(store, trashed.marker, Decision.PURGE) is Decision.UNDELETE:
        return False
    erase_whole(store, manifest_key(trashed.id))
    erase_whole(store, backup_folder(trashed.id))
    erase_whole(store, *(key(trashed.id) for key in (attempt_key, pin_key, accepted_key, verified_key)))
    erase_whole(store, marker_key(trashed.id))
    return True


def _decide(store: Store, marker: Marker, wanted: Decision) -> Decision:
    """What stands once this was tried: what was wanted, or what somebody else decided first."""
    try:
        store.put(decision_key(marker.id, marker.nonce), _Decided(decision=wanted).to_json().encode(), if_absent=True)
    except WriteConflict:
        if (decided := _read_decision(store, marker)) is None:
            raise  # decided, and cleared away already: whoever comes so late does nothing
        return decided
    return wanted


def _read_decision(store: Store, marker: Marker) -> Decision | None:
    key = decision_key(marker.id, marker.nonce)
    try:
        body = store.get(key, max_bytes=MARKER_MAX_BYTES).body
    except ObjectMissing:
        return None
    return parse_document(_Decided, body, f"the decision {key}", known_version=TRASH_FORMAT_VERSION).decision


def _read_or_problem(store: Store, listed: Container[str], backup_id: str) -> Trashed | StoreError | None:
    """A marker, and the decision if the listing had one: what was decided since then is met when this side decides."""
    try:
        read = _read_marker(store, backup_id)
        if read is None or decision_key(read.id, read.marker.nonce) not in listed:
            return read
        return replace(read, decision=_read_decision(store, read.marker))
    except (ManifestInvalid, FormatTooNew, ObjectCorrupt) as problem:
        return problem


def _id_of_marker(key: str) -> str | None:
    name = key.removeprefix(TRASH_PREFIX).removesuffix(".json")
    return name if is_backup_id(name) and key == marker_key(name) else None


def _id_of_decision(key: str) -> str | None:
    name, _, nonce = key.removeprefix(TRASH_PREFIX).removesuffix(".json").partition("/")
    return name if is_backup_id(name) and nonce and key == decision_key(name, nonce) else None
