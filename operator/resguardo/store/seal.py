"""Source ▶ compress ▶ upload: one object of a backup from a stream of plain bytes."""

from __future__ import annotations

from collections.abc import Iterable

from resguardo.api.manifest import ObjectEntry, ObjectRole
from resguardo.store.compress import LEVEL, CompressingWriter
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
    storage_class: str | None = None,
) -> ObjectEntry:
    """Write all chunks as one object of the backup, and give its entry for the manifest.

    The list of its blocks is in the store's usual class, whatever the object's.

    Nothing is held but what is on its way. An error that the source raises at its end (a process that failed) comes before
    the object is made; after any error no part of it is left.
    """
    with StreamUpload(store, backup_id, key, role, storage_class=storage_class) as upload:
        # Each writer hands on to the next: a further one, such as encryption, goes between these two.
        compressing = CompressingWriter(upload.write, threads=threads, level=level)
        for chunk in chunks:
            compressing.write(chunk)
        compressing.finish()
        return upload.finish(plain_bytes=compressing.plain_bytes)
