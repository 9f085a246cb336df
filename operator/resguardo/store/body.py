"""Bytes of a request, read in pieces and without a copy of the whole."""

from __future__ import annotations

import io
from typing import Any

#: Bodies up to this size are handed to the socket in one piece.
ONE_PIECE_BYTES = 64 * 1024


class Body(io.RawIOBase):
    """Bytes to send, read in pieces and without a copy of the whole.

    A socket's timeout bounds the sending of one piece: with the whole body as one piece, a slow line that moves all the
    time would be taken for a dead one.
    """

    def __init__(self, body: bytes | bytearray) -> None:
        super().__init__()
        self._view = memoryview(body)
        self._position = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes: whoever sends it again goes back to the start before it sends again."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Copy out the next bytes."""
        taken = self._view[self._position : self._position + len(buffer)]
        buffer[: len(taken)] = taken
        self._position += len(taken)
        return len(taken)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._view)}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position


def part_body(body: bytes | bytearray) -> Any:
    """The body as an HTTP client is to have it."""
    return body if len(body) <= ONE_PIECE_BYTES else Body(body)
