"""Reads a backup again, from its first byte to its last, and writes down what came of it. Needs no database."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from resguardo.api.durations import parse_duration
from resguardo.api.errors import (
    BackupNotFound,
    IdentityRefused,
    ManifestInvalid,
    ObjectCorrupt,
    ObjectMissing,
    ResguardoError,
    RestoreFailed,
    ServerVersionUnsupported,
    StoreAccessDenied,
)
from resguardo.api.manifest import Manifest, ObjectRole
from resguardo.api.policy import BackupPolicy
from resguardo.api.request import Recover
from resguardo.jobs.archive import ask_for, bring_back
from resguardo.jobs.check import owner_name
from resguardo.jobs.progress import Progress
from resguardo.jobs.trust import trust_of
from resguardo.postgres.dump import tool_versions
from resguardo.postgres.load import to_sql
from resguardo.rules.archive import major_of
from resguardo.rules.selection import choose
from resguardo.store.backup_key import BackupKey, check_sealed_key, open_key
from resguardo.store.catalogue import list_backups, read_census
from resguardo.store.download import open_object, verify_object
from resguardo.store.identities import Identity
from resguardo.store.marks import Verification, record_verification
from resguardo.store.ownership import read_owner
from resguardo.store.protocol import Store

log = structlog.get_logger()

LATEST, ALL = "latest", "all"

#: What says something about the backup, and not about the store, this machine or this version.
_DAMAGE = (ObjectCorrupt, ObjectMissing, ManifestInvalid, RestoreFailed)


@dataclass(frozen=True)
class Verified:
    """One backup that was read again; `problem` says what is wrong with it, None where nothing is."""

    id: str
    bytes: int
    problem: ResguardoError | None
    #: Whether only its bytes were compared, since nothing was given that opens it.
    is_unopened: bool = False
    #: Whether what came of it stands in the bucket now; the keys may not be allowed to write.
    is_written_down: bool = True


def verify(
    policy: BackupPolicy, store: Store, which: str, progress: Progress, identities: list[Identity] | None = None
) -> Iterator[Verified]:
    """Read backups again: the one with an id, the `latest`, or `all`, the oldest first, those in an archive last.

    Each size and each digest is compared with the manifest, and pg_restore reads the dump to its end. What came of it
    stands in the bucket from then on, if the keys may write it there: a damaged backup is no good one any more, until it was
    verified again. Each may take the policy's timeout. Of an encrypted backup, the inside is read with `identities` alone; without,
    its bytes are compared. One that they do not open is told before all others, and says nothing about the backup. Raises
    PrefixOwned, BackupNotFound, and what keeps a backup from being read without being its fault: the store's errors,
    ServerVersionUnsupported for a pg_restore that is too old, DeadlineExceeded.
    """
    read_owner(store, owner_name(policy))
    entries = list_backups(store, trust_of(policy))
    readable = [entry.manifest for entry in entries if entry.manifest]
    problems = {entry.id: entry.problem for entry in entries if entry.problem}
    if which != ALL:
        readable = [choose(readable, Recover(backup=None if which == LATEST else which), unusable=problems)]
    elif not entries:
        raise BackupNotFound(f"{store.location} holds no backup")
    else:
        yield from (Verified(entry.id, 0, entry.problem) for entry in entries if entry.problem)
    timeout = parse_duration(policy.spec.timeout)
    # First: what is brought back is waited for, and paid for. A backup's key never lies in an archive.
    refused = {manifest.id: problem for manifest in readable if (problem := _refusal(store, manifest, identities))}
    yield from (
        Verified(manifest.id, manifest.bytes, refused[manifest.id]) for manifest in readable if manifest.id in refused
    )
    readable = [manifest for manifest in readable if manifest.id not in refused]
    # All at once, since what lies in an archive takes hours, and one after the other days; what can be read is read meanwhile.
    awaited = {manifest.id: ask_for(store, manifest, keep=timeout * len(readable)) for manifest in readable}
    for manifest in sorted(readable, key=lambda manifest: bool(awaited[manifest.id])):
        progress.step(f"reading backup {manifest.id} again")
        yield _verify(store, manifest, identities, progress, deadline=datetime.now(UTC) + timeout)


def _refusal(store: Store, manifest: Manifest, identities: list[Identity] | None) -> IdentityRefused | None:
    """Why the identities do not open a backup, which says nothing about it; None where they do, or it is not to be opened, or is damaged."""
    try:
        if identities is not None:
            open_key(store, manifest, identities)
    except IdentityRefused as refused:
        return refused
    except _DAMAGE:
        return None  # told where it is read
    return None


def _verify(
    store: Store, manifest: Manifest, identities: list[Identity] | None, progress: Progress, *, deadline: datetime
) -> Verified:
    is_unopened = manifest.encryption is not None and identities is None
    if not is_unopened:
        _require_tool(manifest)
    bring_back(store, manifest, progress, deadline=deadline)
    problem: ResguardoError | None = None
    try:
        # Also where another key opens it: those to whom the first one is sealed may have no other.
        check_sealed_key(store, manifest)
        if is_unopened:
            _read_stored(store, manifest)
        else:
            _read_whole(store, manifest, open_key(store, manifest, identities or []), deadline)
    except _DAMAGE as error:
        problem = error
    message = str(problem) if problem else ""
    try:
        record_verification(store, manifest.id, Verification(at=datetime.now(UTC), ok=problem is None, message=message))
    except StoreAccessDenied as denied:
        log.warning("what came of it is not written down", backup=manifest.id, problem=str(denied))
        return Verified(manifest.id, manifest.bytes, problem, is_unopened, is_written_down=False)
    return Verified(manifest.id, manifest.bytes, problem, is_unopened)


def _require_tool(manifest: Manifest) -> None:
    # Of one folder, and so of one version, is the pg_restore that is taken.
    wanted, here = major_of(manifest.tools.get("pg_dump", "")), major_of(tool_versions()["pg_dump"])
    if here < wanted:
        raise ServerVersionUnsupported(
            f"backup {manifest.id} was written by pg_dump {wanted}, and the newest pg_restore here is {here}: run this where "
            f"the client programs of PostgreSQL {wanted} are, or name their folder in RESGUARDO_POSTGRESQL"
        )


def _read_stored(store: Store, manifest: Manifest) -> None:
    for entry in manifest.objects:
        verify_object(store, manifest.id, entry)


def _read_whole(store: Store, manifest: Manifest, key: BackupKey | None, deadline: datetime) -> None:
    if not any(entry.role is ObjectRole.DUMP for entry in manifest.objects):
        raise ManifestInvalid(f"the manifest of {manifest.id} names no dump")
    read_census(store, manifest, key)
    for entry in manifest.objects:
        chunks = open_object(store, manifest.id, entry, backup_key=key)
        if entry.role is ObjectRole.DUMP:
            with tempfile.TemporaryDirectory(prefix="resguardo-") as scratch, Path(os.devnull).open("wb") as nowhere:
                to_sql(chunks, nowhere, deadline=deadline, scratch=Path(scratch))
        else:
            for _ in chunks:
                pass
