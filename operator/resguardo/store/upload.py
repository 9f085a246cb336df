"""A stream of unknown length into one object, its parts in parallel, in bounded memory."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from types import TracebackType
from typing import Self

import structlog

from resguardo.api.errors import ObjectCorrupt, ResguardoError, StoreError
from resguardo.api.manifest import Compression, ObjectEntry, ObjectRole
from resguardo.rules.part_sizes import (
    BLOCK_BYTES,
    PARTS_MAX,
    blocks_of,
    check_object_size,
    part_bytes,
    parts_in_memory,
)
from resguardo.store.blocks import BlockList, print_block
from resguardo.store.layout import blocks_key, object_key
from resguardo.store.protocol import ObjectInfo, Store, Upload
from resguardo.store.threads import RequestThreads

log = structlog.get_logger()

THREADS = 8
#: How long an abort waits for parts on their way, which could outlive it and be paid for.
ABORT_SECONDS = 20.0


class StreamUpload:
    """One object of a backup, written as a stream.

    `write` waits while memory is full, which slows the source down. `finish` gives the manifest's entry, once the store
    has confirmed the object and its list of blocks. A `with` block that is left any other way, by an error, a deadline or
    a stop, aborts the upload: no object and no part of it stay. For one thread; the parts are sent by others.
    """

    def __init__(
        self, store: Store, backup_id: str, key: str, role: ObjectRole, *, storage_class: str | None = None
    ) -> None:
        self._storage_class = storage_class
        self._store, self._backup_id, self._key, self._role = store, backup_id, key, role
        self._full_key = object_key(backup_id, key)
        self._upload: Upload | None = None
        self._threads = RequestThreads(THREADS, name=f"upload {key}")
        self._sending: set[Future[None]] = set()
        self._digests: dict[int, list[bytes]] = {}
        self._number, self._filled = 1, 0
        self._buffer = bytearray(part_bytes(1))
        #: Buffers of parts that were sent, to be filled again: fresh ones would scatter over the heap.
        self._spare: deque[bytearray] = deque()
        self._sha256 = hashlib.sha256()
        self._bytes = 0
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes. Raises what became of parts before, as soon as it is known."""
        with memoryview(data) as given, given.cast("B") as rest:
            taken = 0
            while taken < len(rest):
                # Only when there is more to come: a stream of one part or less needs no multipart upload.
                if self._filled == len(self._buffer):
                    self._send()
                count = min(len(rest) - taken, len(self._buffer) - self._filled)
                with memoryview(self._buffer) as buffer:
                    buffer[self._filled : self._filled + count] = rest[taken : taken + count]
                self._filled += count
                taken += count

    def finish(self, *, plain_bytes: int) -> ObjectEntry:
        """Make the object and its list of blocks; `plain_bytes` is how much was compressed into it."""
        del self._buffer[self._filled :]
        made = self._put_whole() if self._number == 1 else self._complete()
        if made.bytes != self._bytes:
            raise ObjectCorrupt(f"object {self._full_key} has {made.bytes} bytes, and {self._bytes} were sent")
        blocks = self._put_blocks()
        self._is_over = True
        self._threads.shutdown()
        self._spare.clear()
        return ObjectEntry(
            role=self._role,
            key=self._key,
            bytes=self._bytes,
            plain_bytes=plain_bytes,
            sha256=self._sha256.hexdigest(),
            compression=Compression.ZSTD,
            blocks_key=blocks_key(self._key),
            blocks_sha256=blocks.sha256,
            block_bytes=BLOCK_BYTES,
            storage_class=self._confirmed_class(made),
            store_encryption=made.encryption,
        )

    def _confirmed_class(self, made: ObjectInfo) -> str | None:
        """Where the store says that the object is, if somebody asked for a class. In another one it is as good a backup."""
        if self._storage_class is None:
            return None
        if made.storage_class != self._storage_class:
            log.warning(
                "the store keeps an object in another storage class than it was told",
                object=self._full_key,
                asked=self._storage_class,
                kept=made.storage_class,
            )
        return made.storage_class

    def abort(self) -> None:
        """Leave nothing behind. Nothing to do after `finish`; never raises over the error that is under way."""
        if self._is_over:
            return
        self._is_over = True
        self._threads.shutdown()
        self._buffer = bytearray()
        self._spare.clear()
        if self._upload is not None:
            self._abort_upload(self._upload)

    def _abort_upload(self, upload: Upload) -> None:
        try:
            upload.abort()
            _, still_sending = wait(self._sending, timeout=ABORT_SECONDS)
            # A part that arrived after the store had forgotten the others would stay.
            upload.abort()
        except ResguardoError as error:
            log.warning("a half-made upload could not be aborted", object=self._full_key, problem=str(error))
        else:
            if still_sending:
                log.warning("parts of an aborted upload may still arrive", object=self._full_key)

    def _send(self) -> None:
        """Hand the full part over and begin the next one, when there is room for it."""
        if self._upload is None:
            self._upload = self._store.begin_upload(self._full_key, storage_class=self._storage_class)
        part, number, start = self._buffer, self._number, self._bytes
        self._count(part)
        self._sending.add(self._threads.submit(self._send_part, self._upload, number, start, part))
        del part
        self._buffer, self._filled = bytearray(), 0
        if number == PARTS_MAX:
            raise StoreError(f"{self._full_key} would need more than {PARTS_MAX} parts, which no store takes")
        self._number += 1
        size = part_bytes(self._number)
        self._collect(at_most=parts_in_memory(size) - 1)
        self._buffer = self._empty_buffer(size)

    def _empty_buffer(self, size: int) -> bytearray:
        while self._spare:
            if len(spare := self._spare.popleft()) == size:
                return spare
        return bytearray(size)

    def _count(self, part: bytearray) -> None:
        self._sha256.update(part)
        self._bytes += len(part)
        try:
            check_object_size(self._bytes)
        except ValueError as error:
            raise StoreError(f"{self._full_key} cannot be kept: {error}") from None

    def _send_part(self, upload: Upload, number: int, start: int, part: bytearray) -> None:
        if self._is_over:
            return
        digests = _digests(part)
        sha256 = digests[0] if len(digests) == 1 else hashlib.sha256(part).digest()
        upload.upload_part(number, part, start=start, sha256=sha256)
        self._digests[number] = digests
        self._spare.append(part)

    def _collect(self, *, at_most: int) -> None:
        """Wait until at most so many parts are on their way; raise the error of one that failed."""
        done = {future for future in self._sending if future.done()}
        while len(self._sending) - len(done) > at_most:
            finished, _ = wait(self._sending - done, return_when=FIRST_COMPLETED)
            done |= finished
        self._sending -= done
        for future in done:
            future.result()

    def _put_whole(self) -> ObjectInfo:
        self._count(self._buffer)
        self._digests[1] = _digests(self._buffer)
        return self._store.add(
            self._full_key,
            bytes(self._buffer),
            content_type="application/octet-stream",
            storage_class=self._storage_class,
        )

    def _complete(self) -> ObjectInfo:
        start = self._bytes
        self._count(self._buffer)
        if self._upload is None:
            raise AssertionError("a second part is begun only after the first was sent")
        self._sending.add(self._threads.submit(self._send_part, self._upload, self._number, start, self._buffer))
        self._buffer = bytearray()
        self._collect(at_most=0)
        return self._upload.complete()

    def _put_blocks(self) -> BlockList:
        lines = (print_block(digest) for number in sorted(self._digests) for digest in self._digests[number])
        blocks = BlockList(b"".join(lines))
        if len(blocks) != blocks_of(self._bytes):
            raise AssertionError(f"{len(blocks)} blocks for {self._bytes} bytes")
        key = blocks_key(self._full_key)
        made = self._store.add(key, blocks.text, content_type="text/plain")
        if made.bytes != len(blocks.text):
            raise ObjectCorrupt(f"object {key} has {made.bytes} bytes, and {len(blocks.text)} were sent")
        return blocks


def _digests(part: bytearray) -> list[bytes]:
    with memoryview(part) as view:
        return [
            hashlib.sha256(view[start : start + BLOCK_BYTES]).digest() for start in range(0, len(part), BLOCK_BYTES)
        ]
