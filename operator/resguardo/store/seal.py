"""Source ▶ compress ▶ encrypt ▶ upload: one object of a backup from a stream of plain bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack

from resguardo.api.manifest import ObjectEntry, ObjectRole
from resguardo.store.backup_key import BackupKey
from resguardo.store.compress import LEVEL, CompressingWriter
from resguardo.store.encrypt import EncryptingWriter
from resguardo.store.layout import encrypted
from resguardo.store.protocol import Store
from resguardo.store.upload import StreamUpload


def seal(
    store: Store,
    backup_id: str,
    key: str,
    role: ObjectRole,
    chunks: Iterable[bytes],
    *,
    backup_key: BackupKey | None = None,
    threads: int | None = None,
    level: int = LEVEL,
    storage_class: str | None = None,
) -> ObjectEntry:
    """Write all chunks as one object of the backup, and give its entry for the manifest.

    The list of its blocks is in the store's usual class, whatever the object's.

    Nothing is held but what is on its way. An error that the source raises at its end (a process that failed) comes before
    the object is made; after any error no part of it is left. With a `backup_key` the object is encrypted to it, and its key
    says so.
    """
    with ExitStack() as stack:
        # Each writer hands on to the next.
        full_key = encrypted(key) if backup_key else key
        upload = stack.enter_context(StreamUpload(store, backup_id, full_key, role, storage_class=storage_class))
        write: Callable[[bytes], None] = upload.write
        encrypting: EncryptingWriter | None = None
        if backup_key is not None:
            encrypting = stack.enter_context(EncryptingWriter(upload.write, backup_key.recipient))
            write = encrypting.write
        compressing = CompressingWriter(write, threads=threads, level=level)
        for chunk in chunks:
            compressing.write(chunk)
        compressing.finish()
        if encrypting is not None:
            encrypting.finish()
        return upload.finish(plain_bytes=compressing.plain_bytes)
