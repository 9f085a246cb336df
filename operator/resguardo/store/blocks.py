"""The list of blocks: the SHA-256 of each block of an object's stored bytes.

A text object, one line of 64 hex digits for each block, so that `split` and `sha256sum` can check it too. Its own SHA-256
stands in the manifest. A reader needs no more memory than a few blocks, however large the parts were that made the object.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from resguardo.api.errors import ObjectCorrupt
from resguardo.api.manifest import ObjectEntry
from resguardo.rules.part_sizes import blocks_of
from resguardo.store.layout import object_key
from resguardo.store.protocol import Store

LINE_BYTES = 65

_LINES = re.compile(rb"(?:[0-9a-f]{64}\n)*")


@dataclass(frozen=True)
class BlockList:
    """The digests of an object's blocks, in order."""

    text: bytes

    def __len__(self) -> int:
        return len(self.text) // LINE_BYTES

    def digest(self, index: int) -> bytes:
        """The SHA-256 of the block of that index, counted from 0."""
        return bytes.fromhex(self.text[index * LINE_BYTES : (index + 1) * LINE_BYTES - 1].decode())

    @property
    def sha256(self) -> str:
        """Hex digest of the list itself."""
        return hashlib.sha256(self.text).hexdigest()


def print_block(digest: bytes) -> bytes:
    """The line of one block."""
    return digest.hex().encode() + b"\n"


def read_blocks(store: Store, backup_id: str, entry: ObjectEntry) -> BlockList:
    """An object's list, proven by the manifest's digest. Raises ObjectMissing and ObjectCorrupt, naming the list."""
    key = object_key(backup_id, entry.blocks_key)
    size = blocks_of(entry.bytes, entry.block_bytes) * LINE_BYTES
    blocks = BlockList(store.get(key, max_bytes=size).body)
    if blocks.sha256 != entry.blocks_sha256:
        # Read twice before it is called corrupt: the first time it may have been damaged on its way.
        blocks = BlockList(store.get(key, max_bytes=size).body)
    if blocks.sha256 != entry.blocks_sha256:
        raise ObjectCorrupt(f"the list of blocks {key} is not the one that backup {backup_id} wrote; {_ADVICE}")
    if len(blocks.text) != size or not _LINES.fullmatch(blocks.text):
        raise ObjectCorrupt(f"the list of blocks {key} does not fit an object of {entry.bytes} bytes; {_ADVICE}")
    return blocks


_ADVICE = "restore another backup, and find out who writes to the bucket"
