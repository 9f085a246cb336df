"""Source ▶ compress ▶ upload: one object of a backup from a stream of plain bytes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from resguardo.api.errors import ResguardoError
from resguardo.api.manifest import ObjectEntry, ObjectRole
from resguardo.store.compress import LEVEL, CompressingWriter
from resguardo.store.layout import backup_folder, census_key, dump_key, globals_key, manifest_key, object_key
from resguardo.store.protocol import Store
from resguardo.store.upload import StreamUpload


def seal(
    store: Store,
    backup_id: str,
    key: str,
    role: ObjectRole,
    chunks: Iterable[bytes],
    *,
    threads: int | None = None,
    level: int = LEVEL,
) -> ObjectEntry:
    """Write all chunks as one object of the backup, and give its entry for the manifest.

    Nothing is held but what is on its way. An error that the source raises at its end (a process that failed) comes before
    the object is made; after any error no part of it is left.
    """
    with StreamUpload(store, backup_id, key, role) as upload:
        # Each writer hands on to the next: a further one, such as encryption, goes between these two.
        compressing = CompressingWriter(upload.write, threads=threads, level=level)
        for chunk in chunks:
            compressing.write(chunk)
        compressing.finish()
        return upload.finish(plain_bytes=compressing.plain_bytes)


def discard_backup(store: Store, backup_id: str) -> bool:
    """Remove what a backup that failed has left; True when nothing of it remains.

    A backup whose manifest stands is whole: everything was confirmed before the manifest was written, so it is left as it
    is, even when the one who wrote it never learned so. Raises the store's errors, such as StoreAccessDenied for a key
    that may not delete; what was left is then orphaned, and no backup in anybody's listing.
    """
    folder = backup_folder(backup_id)
    # Some servers list uploads only under a key's whole name, and some keys may not list them at all.
    for prefix in [folder, *(object_key(backup_id, key) for key in (dump_key(), globals_key(), census_key()))]:
        with suppress(ResguardoError):
            store.abort_uploads(prefix)
    if store.head(manifest_key(backup_id)) is not None:
        return False
    for found in list(store.list(folder)):
        if found.key != manifest_key(backup_id):
            store.delete(found.key)
    # A manifest whose writing was given up may have arrived meanwhile; without its data it must not stand.
    store.delete(manifest_key(backup_id))
    return True
