"""age around a stream: what comes out is what went in, in order and in bounded memory, or an error; and nothing waits for ever."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

import pyrage
import pytest

from resguardo.store.encrypt import EncryptedDataInvalid, EncryptingWriter, decrypt

IDENTITY = pyrage.x25519.Identity.generate()
MIB = 1024 * 1024


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def encrypted(data: bytes, step: int) -> bytes:
    out: list[bytes] = []
    with EncryptingWriter(out.append, IDENTITY.to_public()) as writer:
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
        writer.finish()
    return b"".join(out)


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    return (data[start : start + step] for start in range(0, len(data), step))


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "age"]


def settled() -> bool:
    for thread in threading.enumerate():
        if thread.name == "age":
            thread.join(10)
    return threads() == []


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 3 * MIB + 1])
@pytest.mark.parametrize("step", [1000, 65_536, MIB])
def test_there_and_back(size: int, step: int) -> None:
    data = noise(size)
    sealed = encrypted(data, step)
    assert bytes(pyrage.decrypt(sealed, [IDENTITY])) == data
    assert b"".join(decrypt(pieces(sealed, 700_000), IDENTITY)) == data
    assert settled()


def test_an_empty_piece_is_not_the_end() -> None:
    out: list[bytes] = []
    with EncryptingWriter(out.append, IDENTITY.to_public()) as writer:
        for piece in [b"", b"before", b"", b"after", b""]:
            writer.write(piece)
        writer.finish()
    assert bytes(pyrage.decrypt(b"".join(out), [IDENTITY])) == b"beforeafter"
    assert b"".join(decrypt([b"".join(out), b""], IDENTITY)) == b"beforeafter"


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda _: b"", id="nothing"),
        pytest.param(lambda sealed: sealed[:50], id="half a header"),
        pytest.param(lambda sealed: sealed[:-1], id="a byte less"),
        pytest.param(lambda sealed: sealed[: len(sealed) - (len(sealed) % 65_552)], id="about a chunk less"),
        pytest.param(lambda sealed: sealed + b"x", id="a byte more"),
        pytest.param(lambda sealed: sealed + sealed, id="twice"),
        pytest.param(lambda sealed: sealed[:MIB] + bytes([sealed[MIB] ^ 1]) + sealed[MIB + 1 :], id="a bit flipped"),
        pytest.param(lambda sealed: noise(len(sealed)), id="something else"),
        pytest.param(lambda _: b"age-encryption.org/v1\n" + b"-> x\n" * 100_000, id="a header without an end"),
    ],
)
@pytest.mark.parametrize("step", [700_000, 10 * MIB])
def test_what_was_changed_is_an_error(edit: Callable[[bytes], bytes], step: int) -> None:
    sealed = edit(encrypted(noise(3 * MIB), MIB))
    with pytest.raises(EncryptedDataInvalid):
        list(decrypt(pieces(sealed, step), IDENTITY))
    assert settled()


def test_another_identity_opens_nothing() -> None:
    with pytest.raises(EncryptedDataInvalid):
        list(decrypt([encrypted(b"x", 1)], pyrage.x25519.Identity.generate()))


def test_an_error_of_whoever_takes_the_bytes_ends_the_thread() -> None:
    def refuse(_piece: bytes) -> None:
        raise ZeroDivisionError

    def write() -> None:
        with EncryptingWriter(refuse, IDENTITY.to_public()) as writer:
            for _ in range(100):
                writer.write(b"x" * MIB)

    with pytest.raises(ZeroDivisionError):
        write()
    assert settled()


def test_an_error_of_the_source_ends_the_thread_and_is_the_error() -> None:
    def broken() -> Iterator[bytes]:
        yield encrypted(noise(3 * MIB), MIB)[:MIB]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(decrypt(broken(), IDENTITY))
    assert settled()


def test_a_reader_that_is_left_early_ends_the_thread() -> None:
    chunks = decrypt(pieces(encrypted(noise(3 * MIB), MIB), 100_000), IDENTITY)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert settled()


def test_as_much_comes_out_as_was_fed_a_piece_at_most_behind() -> None:
    """So that memory is bounded by what is fed, however long the stream."""
    fed, came, behind = 0, [0], 0

    def take(piece: bytes) -> None:
        came[0] += len(piece)

    block = noise(MIB)
    with EncryptingWriter(take, IDENTITY.to_public()) as writer:
        for _ in range(50):
            writer.write(block)
            fed += len(block)
            behind = max(behind, fed - came[0])
        writer.finish()
    assert behind <= 4 * MIB
