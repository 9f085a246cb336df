"""age around a stream, in both directions, in bounded memory (https://age-encryption.org/v1; `age -d` reads what is written).

The library pulls from a reader and pushes to a writer until the reader ends. Here it does so in a thread of its own, which
touches nothing but memory: whoever feeds it also takes what has come out, so that everything that can fail or be
interrupted (processes, the store, a deadline) stays in the caller's thread. What is ahead is bounded by what may be fed.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

import pyrage

#: Pieces that are fed ahead of the one that is being worked on.
AHEAD = 1
#: An honest header is of some hundred bytes. The library reads one again for every few bytes that it lacks: of 64 KiB of
#: empty stanzas that takes half a minute.
HEADER_MAX_BYTES = 4 * 1024
_HEADER_START, _HEADER_END = b"age-encryption.org/v1\n", b"\n--- "

Bytes = bytes | bytearray | memoryview


class EncryptedDataInvalid(Exception):
    """What was to be decrypted is not what was encrypted: another key's, cut short, or changed."""


class EncryptingWriter:
    """Encrypts what is written to one recipient and hands it on. A `with` block that is left without `finish` gives up."""

    def __init__(self, write: Callable[[bytes], None], recipient: pyrage.x25519.Recipient) -> None:
        """`write` takes the encrypted bytes, in this thread."""
        self._turned = _Turned(lambda reader, writer: pyrage.encrypt_io(reader, writer, [recipient]))
        self._write = write

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turned.give_up()

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        for piece in self._turned.feed(data):
            self._write(piece)

    def finish(self) -> None:
        """Write the end. Once; without it the stream is refused as truncated by every reader."""
        for piece in self._turned.finish():
            self._write(piece)


def decrypt(pieces: Iterable[bytes | bytearray], identity: pyrage.x25519.Identity) -> Iterator[bytes]:
    """The plain bytes. Only at the end is it known that nothing is missing: EncryptedDataInvalid comes even after the last."""
    turned = _Turned(lambda reader, writer: pyrage.decrypt_io(reader, writer, [identity]))
    is_first = True
    try:
        for piece in pieces:
            if is_first:
                _check_header(piece)
                is_first = False
            if out := turned.feed(piece):
                yield b"".join(out)
        if out := turned.finish():
            yield b"".join(out)
    except pyrage.DecryptError as error:
        raise EncryptedDataInvalid(str(error)) from None
    except OSError as error:
        raise EncryptedDataInvalid(f"{error}, or cut short") from None
    finally:
        turned.give_up()


def _check_header(piece: Bytes) -> None:
    start = bytes(memoryview(piece)[:HEADER_MAX_BYTES])
    if not start.startswith(_HEADER_START) or _HEADER_END not in start:
        raise EncryptedDataInvalid("it does not begin as an age file does")


class _GivenUp(Exception):
    """Ends the work from within."""


class _Turned:
    """A loop from a reader to a writer, turned into something that is fed."""

    def __init__(self, work: Callable[[_Turned, _Turned], None]) -> None:
        self._work = work
        self._fed: queue.Queue[Bytes | None] = queue.Queue(AHEAD)
        self._rest = memoryview(b"")
        self._out: deque[bytes] = deque()
        self._is_at_end = self._is_given_up = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="age", daemon=True)
        self._thread.start()

    def feed(self, data: Bytes) -> list[bytes]:
        """Take the next bytes, once there is room; gives what has come out so far."""
        self._fed.put(data)
        return self._taken()

    def finish(self) -> list[bytes]:
        """Say that nothing more comes; gives the rest of what comes out. Once."""
        self._fed.put(None)
        self._thread.join()
        return self._taken()

    def give_up(self) -> None:
        """Let the thread end. Nothing to do after `finish`; may be called again."""
        self._is_given_up = True
        # Where there is no room, what is there wakes the thread as well.
        with suppress(queue.Full):
            self._fed.put_nowait(None)

    def _taken(self) -> list[bytes]:
        if self._error is not None:
            raise self._error
        return [self._out.popleft() for _ in range(len(self._out))]

    def _run(self) -> None:
        try:
            self._work(self, self)
        except BaseException as error:
            self._error = error
        # Whoever feeds is told with the next piece, and waits for no room until then.
        while not (self._is_given_up or self._is_at_end):
            self._is_at_end = self._fed.get() is None

    def read(self, size: int) -> bytes:
        """For the work: at most so many bytes; none at the end."""
        # An empty piece is none: what the reader gives for it would be taken for the end.
        while not self._rest and not self._is_at_end:
            fed = self._fed.get()
            if self._is_given_up:
                raise _GivenUp
            self._is_at_end = fed is None
            self._rest = memoryview(fed or b"")
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)

    def write(self, data: bytes) -> int:
        """For the work: what comes out."""
        self._out.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """For the work."""
