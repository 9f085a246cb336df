"""zstd around a stream, in both directions, in bounded memory (RFC 8878; `zstd -d` reads what is written here)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Protocol

import zstandard

LEVEL = 3
THREADS_MAX = 4
READ_BYTES = 1024 * 1024
#: What each thread compresses at a time. zstd's own choice is 8 MiB, with which two threads hold 230 MiB and hand out 70 at
#: once; with this they hold 80, and compress as well (measured: tests/data/test_store_streams.py keeps the bound).
JOB_BYTES = 2 * 1024 * 1024
#: zstd's own limit without --long; a frame that asks for more would be somebody's attack on a reader's memory.
WINDOW_MAX_BYTES = 128 * 1024 * 1024


class CompressingWriter:
    """Compresses what is written and hands it on; one frame with a checksum of the contents."""

    def __init__(self, write: Callable[[bytes], None], *, threads: int | None = None, level: int = LEVEL) -> None:
        """`write` takes the compressed bytes, in chunks of any size; `threads` is by default what the machine has, to 4."""
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level,
            threads=available_threads() if threads is None else threads,
            job_size=JOB_BYTES,
            write_checksum=True,
            write_content_size=False,
        )
        compressor = zstandard.ZstdCompressor(compression_params=parameters)
        self._frame = compressor.compressobj()
        self._write = write
        self.plain_bytes = 0

    def write(self, data: bytes) -> None:
        """Take the next plain bytes."""
        self.plain_bytes += len(data)
        self._pass_on(self._frame.compress(data))

    def finish(self) -> None:
        """Write the end of the frame. Once; without it the stream is refused as truncated by every reader."""
        self._pass_on(self._frame.flush())

    def _pass_on(self, compressed: bytes) -> None:
        if compressed:
            self._write(compressed)


def available_threads() -> int:
    """The processors that this process may run on, four at most."""
    return min(THREADS_MAX, len(os.sched_getaffinity(0)))


class Readable(Protocol):
    """Something to read from."""

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""


def decompress(source: Readable) -> Iterator[bytes]:
    """The plain bytes, at most 1 MiB at a time however well they were compressed.

    Raises zstandard.ZstdError for what is no zstd or fails its checksum. A frame that is cut short ends the iterator
    without an error: the caller counts.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_MAX_BYTES)
    with decompressor.stream_reader(source, read_size=READ_BYTES, read_across_frames=True) as reader:  # type: ignore[arg-type]
        while chunk := reader.read(READ_BYTES):
            yield chunk
