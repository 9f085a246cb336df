"""An object of a backup, block by block, each verified before a byte of it is handed out."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future

import zstandard

from resguardo.api.errors import ObjectCorrupt, ObjectMissing
from resguardo.api.manifest import ObjectEntry
from resguardo.store.backup_key import BackupKey
from resguardo.store.blocks import BlockList, read_blocks
from resguardo.store.compress import decompress
from resguardo.store.encrypt import EncryptedDataInvalid, decrypt
from resguardo.store.layout import object_key
from resguardo.store.protocol import Store
from resguardo.store.threads import RequestThreads

PREFETCH = 4
Block = bytes | bytearray
_ADVICE = "restore another backup, and find out who writes to the bucket"


def open_object(
    store: Store,
    backup_id: str,
    entry: ObjectEntry,
    *,
    backup_key: BackupKey | None = None,
    prefetch: int = PREFETCH,
) -> Iterator[bytes]:
    """The object's plain bytes, in chunks of at most 1 MiB; of an encrypted backup with the `backup_key` that opens it.

    At once: the list of blocks against the manifest, and the object's presence and size. While it is read: each block
    against the list, before any byte of it; at most `prefetch` blocks ahead, and one more in hand. At the end: the digest
    of the whole, that the encrypted stream is whole, and the number of plain bytes: until then nothing that was handed out
    may be promoted. Raises ObjectMissing, and ObjectCorrupt naming object and block.
    """
    blocks = _open_blocks(store, backup_id, entry, prefetch)
    return _plain_chunks(blocks, object_key(backup_id, entry.key), entry, backup_key)


def verify_object(store: Store, backup_id: str, entry: ObjectEntry, *, prefetch: int = PREFETCH) -> None:
    """Read all stored bytes and compare them with the manifest, without decrypting or decompressing. Raises as `open_object`."""
    for _ in _open_blocks(store, backup_id, entry, prefetch):
        pass


def _open_blocks(store: Store, backup_id: str, entry: ObjectEntry, prefetch: int) -> Iterator[Block]:
    blocks = read_blocks(store, backup_id, entry)
    key = object_key(backup_id, entry.key)
    there = store.head(key)
    if there is None:
        raise ObjectMissing(f"object {key} of backup {backup_id} is not in {store.location}; {_ADVICE}")
    if there.bytes != entry.bytes:
        raise ObjectCorrupt(f"object {key} has {there.bytes} bytes, and {entry.bytes} were written; {_ADVICE}")
    return _verified_blocks(store, key, entry, blocks, prefetch)


def _verified_blocks(store: Store, key: str, entry: ObjectEntry, blocks: BlockList, prefetch: int) -> Iterator[Block]:
    whole = hashlib.sha256()
    threads = RequestThreads(prefetch, name=f"download {key}")
    ahead: deque[Future[Block]] = deque()
    try:
        for index in range(len(blocks) + prefetch):
            if index < len(blocks):
                ahead.append(threads.submit(_read_block, store, key, entry, blocks, index))
            if index >= prefetch and ahead:
                block = ahead.popleft().result()
                whole.update(block)
                yield block
                del block
    finally:
        threads.shutdown()
    if whole.hexdigest() != entry.sha256:
        raise ObjectCorrupt(f"object {key} has another SHA-256 than its manifest says; {_ADVICE}")


def _read_block(store: Store, key: str, entry: ObjectEntry, blocks: BlockList, index: int) -> Block:
    start = index * entry.block_bytes
    length = min(entry.block_bytes, entry.bytes - start)
    for _ in range(2):
        # Read twice before it is called corrupt: the first time it may have been damaged on its way.
        block = store.read_range(key, start, length)
        if hashlib.sha256(block).digest() == blocks.digest(index):
            return block
    raise ObjectCorrupt(
        f"object {key}: block {index + 1} of {len(blocks)} (bytes {start} to {start + length - 1}) is not what was "
        f"written; {_ADVICE}"
    )


class _BlockReader:
    """Blocks as something to read from."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        if not self._rest:
            self._rest = memoryview(b"")
            self._rest = memoryview(next(self._blocks, b""))
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)


def _plain_chunks(
    blocks: Iterator[Block], key: str, entry: ObjectEntry, backup_key: BackupKey | None
) -> Iterator[bytes]:
    plain_bytes = 0
    compressed = blocks if backup_key is None else decrypt(blocks, backup_key.identity)
    try:
        for chunk in decompress(_BlockReader(compressed)):
            plain_bytes += len(chunk)
            if plain_bytes > entry.plain_bytes:
                raise ObjectCorrupt(
                    f"object {key} holds more than the {entry.plain_bytes} bytes of its manifest; {_ADVICE}"
                )
            yield chunk
    except zstandard.ZstdError as error:
        raise ObjectCorrupt(f"object {key} cannot be decompressed ({error}); {_ADVICE}") from None
    except EncryptedDataInvalid as error:
        raise ObjectCorrupt(f"object {key} cannot be decrypted ({error}); {_ADVICE}") from None
    if plain_bytes != entry.plain_bytes:
        raise ObjectCorrupt(
            f"object {key} holds {plain_bytes} of the {entry.plain_bytes} bytes of its manifest; {_ADVICE}"
        )
