"""Objects that were damaged or exchanged in the bucket: an error names object and block before one wrong byte is handed out."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import pytest
import zstandard

from resguardo.api.errors import ObjectCorrupt, ObjectMissing
from resguardo.api.manifest import ObjectEntry, ObjectRole
from resguardo.rules.part_sizes import BLOCK_BYTES
from resguardo.store import compress
from resguardo.store.download import open_object, verify_object
from resguardo.store.s3 import S3Store
from resguardo.store.seal import seal
from resguardo.store.upload import StreamUpload
from tests.fixtures.s3 import S3Server
from tests.fixtures.streams import FULL_KEY, ID, KEY, MIB, noise, sealed


@pytest.fixture
def large(s3_store: S3Store) -> tuple[ObjectEntry, bytes]:
    data = noise(20 * MIB)
    return sealed(s3_store, data), data


Overwrite = Callable[..., None]


@pytest.fixture
def overwrite(s3_server: S3Server, s3_bucket: str) -> Overwrite:
    """Change an object's bytes, as somebody does who may write to the bucket."""

    def change_object(change: Callable[[bytes], bytes], key: str = FULL_KEY) -> None:
        old = s3_server.root.get_object(Bucket=s3_bucket, Key=f"prod/{key}")["Body"].read()
        s3_server.root.put_object(Bucket=s3_bucket, Key=f"prod/{key}", Body=change(old))

    return change_object


def gather(chunks: Iterator[bytes], into: bytearray) -> None:
    for chunk in chunks:
        into += chunk


def _flip(position: int) -> Callable[[bytes], bytes]:
    def flip(old: bytes) -> bytes:
        changed = bytearray(old)
        changed[position] ^= 0x10
        return bytes(changed)

    return flip


def _swap_blocks(old: bytes) -> bytes:
    return old[BLOCK_BYTES : 2 * BLOCK_BYTES] + old[:BLOCK_BYTES] + old[2 * BLOCK_BYTES :]


def _read(store: S3Store, entry: ObjectEntry) -> bytes:
    return b"".join(open_object(store, ID, entry))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda old: old[:-1], "were written", id="one byte cut off"),
        pytest.param(lambda old: old + b"x", "were written", id="one byte added"),
        pytest.param(lambda _old: b"", "has 0 bytes", id="emptied"),
        pytest.param(_flip(0), "block 1 of 3", id="first byte"),
        pytest.param(_flip(BLOCK_BYTES - 1), "block 1 of 3", id="last byte of the first block"),
        pytest.param(
            _flip(BLOCK_BYTES), r"block 2 of 3 \(bytes 8388608 to 16777215\)", id="first byte of the second block"
        ),
        pytest.param(_flip(-1), "block 3 of 3", id="last byte"),
        pytest.param(_swap_blocks, "block 1 of 3", id="two blocks swapped"),
    ],
)
def test_a_changed_object_is_refused_naming_object_and_block(
    s3_store: S3Store,
    overwrite: Overwrite,
    large: tuple[ObjectEntry, bytes],
    change: Callable[[bytes], bytes],
    message: str,
) -> None:
    entry, _ = large
    overwrite(change)
    for read in (_read, lambda store, entry: verify_object(store, ID, entry)):
        with pytest.raises(ObjectCorrupt, match=message) as raised:
            read(s3_store, entry)
        assert FULL_KEY in str(raised.value)


def test_no_byte_of_a_damaged_block_is_handed_out(
    s3_store: S3Store, overwrite: Overwrite, large: tuple[ObjectEntry, bytes]
) -> None:
    entry, data = large
    overwrite(_flip(2 * BLOCK_BYTES - 1))
    given = bytearray()
    with pytest.raises(ObjectCorrupt):
        gather(open_object(s3_store, ID, entry), given)
    assert data.startswith(given)
    assert 0 < len(given) <= BLOCK_BYTES


def test_another_backups_object_in_its_place_is_refused_with_its_list_or_without(
    s3_store: S3Store, s3_server: S3Server, s3_bucket: str, large: tuple[ObjectEntry, bytes]
) -> None:
    entry, _ = large
    other = "20261123T060000Z-aaaaaa"
    assert seal(s3_store, other, KEY, ObjectRole.DUMP, [noise(20 * MIB, seed=2)]).bytes == entry.bytes
    for key, message in [(KEY, "block 1 of 3"), (f"{KEY}.blocks", "list of blocks")]:
        source = {"Bucket": s3_bucket, "Key": f"prod/backups/{other}/{key}"}
        s3_server.root.copy_object(Bucket=s3_bucket, Key=f"prod/backups/{ID}/{key}", CopySource=source)  # type: ignore[arg-type]
        with pytest.raises(ObjectCorrupt, match=message):
            list(open_object(s3_store, ID, entry))


@pytest.mark.parametrize(
    "change",
    [
        _flip(0),
        _flip(64),
        lambda old: old[65:130] + old[:65] + old[130:],
        lambda old: old[:-2] + (b"0" if old[-2:-1] != b"0" else b"1") + old[-1:],
        lambda old: old[:-1],
        lambda old: old[:65],
        lambda old: old + old[:65],
        lambda _old: b"",
    ],
)
def test_a_changed_list_of_blocks_is_refused_before_the_object_is_read(
    s3_store: S3Store, overwrite: Overwrite, large: tuple[ObjectEntry, bytes], change: Callable[[bytes], bytes]
) -> None:
    entry, _ = large
    overwrite(change, key=f"{FULL_KEY}.blocks")
    with pytest.raises(ObjectCorrupt, match=r"dump\.zst\.blocks"):
        open_object(s3_store, ID, entry)  # at once, not when the first chunk is asked for


@pytest.mark.parametrize("key", [FULL_KEY, f"{FULL_KEY}.blocks"])
def test_an_object_or_a_list_that_is_gone_is_missing_at_once(
    s3_store: S3Store, large: tuple[ObjectEntry, bytes], key: str
) -> None:
    entry, _ = large
    s3_store.delete(key)
    with pytest.raises(ObjectMissing, match=key):
        open_object(s3_store, ID, entry)


def test_an_object_that_is_replaced_while_it_is_read_is_refused(
    s3_store: S3Store, s3_server: S3Server, s3_bucket: str
) -> None:
    data = noise(64 * MIB)
    entry = sealed(s3_store, data)
    chunks = open_object(s3_store, ID, entry, prefetch=1)
    given = bytearray(next(chunks))
    s3_server.root.put_object(Bucket=s3_bucket, Key=f"prod/{FULL_KEY}", Body=noise(entry.bytes, seed=9))
    with pytest.raises(ObjectCorrupt, match="block"):
        gather(chunks, given)
    assert data.startswith(given)


def _raw(store: S3Store, stored: bytes, plain_bytes: int) -> ObjectEntry:
    with StreamUpload(store, ID, KEY, ObjectRole.DUMP) as upload:
        upload.write(stored)
        return upload.finish(plain_bytes=plain_bytes)


def test_a_bomb_ends_at_the_size_that_the_manifest_gives(s3_store: S3Store) -> None:
    plain = 512 * MIB
    bomb = zstandard.ZstdCompressor(level=1).compress(bytes(plain))
    assert len(bomb) < MIB
    tracemalloc.start()
    try:
        given = bytearray()
        chunks = open_object(s3_store, ID, _raw(s3_store, bomb, 5_000_000))
        with pytest.raises(ObjectCorrupt, match="holds more than the 5000000 bytes"):
            gather(chunks, given)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(given) <= 5_000_000
    assert peak < 40 * MIB


FRAME = zstandard.ZstdCompressor(write_checksum=True).compress(b"plain bytes")


@pytest.mark.parametrize(
    ("stored", "plain_bytes", "message"),
    [
        pytest.param(FRAME, 10, "holds more than", id="longer than the manifest says"),
        pytest.param(FRAME, 12, "holds 11 of the 12 bytes", id="shorter than the manifest says"),
        pytest.param(FRAME[:-6], 11, "holds 9 of the 11 bytes", id="a frame that was never ended"),
        pytest.param(FRAME[:-1] + b"\0", 11, "cannot be decompressed", id="another checksum"),
        pytest.param(FRAME + b"rubbish behind", 11, "cannot be decompressed", id="something behind the frame"),
        pytest.param(b"no zstd at all", 11, "cannot be decompressed", id="no zstd"),
        pytest.param(b"", 11, "holds 0 of the 11 bytes", id="nothing"),
    ],
)
def test_stored_bytes_that_are_not_what_the_manifest_says_are_corrupt(
    s3_store: S3Store, stored: bytes, plain_bytes: int, message: str
) -> None:
    entry = _raw(s3_store, stored, plain_bytes)
    with pytest.raises(ObjectCorrupt, match=message):
        _read(s3_store, entry)


@pytest.mark.parametrize("window_log", [28, 31])
def test_a_frame_that_asks_for_more_window_than_zstd_allows_is_refused(s3_store: S3Store, window_log: int) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
    bomb = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    stored = bomb.compress(b"x" * 1000) + bomb.flush()
    assert compress.WINDOW_MAX_BYTES < 2**28
    with pytest.raises(ObjectCorrupt, match="cannot be decompressed"):
        _read(s3_store, _raw(s3_store, stored, 1000))
