"""Streams into the bucket and back: what comes out is what went in, in bounded memory, and what fails leaves nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from resguardo.api.errors import Stopped, StoreError
from resguardo.api.manifest import ObjectEntry, ObjectRole
from resguardo.rules.part_sizes import BLOCK_BYTES
from resguardo.store import download
from resguardo.store.backup_key import BackupKey
from resguardo.store.discard import discard_backup
from resguardo.store.download import open_object, verify_object
from resguardo.store.protocol import ObjectInfo, Upload
from resguardo.store.s3 import S3Store
from resguardo.store.seal import seal
from resguardo.store.upload import StreamUpload
from tests.fixtures.s3 import ROOT, S3Server
from tests.fixtures.streams import FULL_KEY, ID, KEY, MIB, noise, pieces, sealed, uploads_in


def keys_in(server: S3Server, bucket: str) -> list[str]:
    return [found["Key"] for found in server.root.list_objects_v2(Bucket=bucket).get("Contents", [])]


# ---- there and back


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        pytest.param(0, [1], id="an empty stream"),
        pytest.param(1, [1], id="one byte"),
        pytest.param(100_000, [1, 7, 65_537], id="less than one part"),
        pytest.param(8 * MIB, [MIB], id="about one part"),
        pytest.param(33 * MIB + 5, [3, 9 * MIB, 1, 12_345, 17 * MIB], id="more than four parts, in odd chunks"),
    ],
)
def test_a_stream_comes_back_as_it_was_and_its_entry_is_true(
    s3_store: S3Store, s3_server: S3Server, s3_bucket: str, size: int, sizes: list[int]
) -> None:
    data = noise(size)
    entry = seal(s3_store, ID, KEY, ObjectRole.DUMP, pieces(data, sizes))
    stored = s3_server.root.get_object(Bucket=s3_bucket, Key=f"prod/{FULL_KEY}")["Body"].read()
    assert entry.bytes == len(stored)
    assert entry.plain_bytes == size
    assert entry.sha256 == hashlib.sha256(stored).hexdigest()
    assert (entry.role, entry.key, entry.blocks_key) == (ObjectRole.DUMP, KEY, f"{KEY}.blocks")
    chunks = list(open_object(s3_store, ID, entry))
    assert b"".join(chunks) == data
    assert all(len(chunk) <= MIB for chunk in chunks)
    verify_object(s3_store, ID, entry)
    assert uploads_in(s3_server, s3_bucket) == []


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES])
def test_stored_bytes_are_cut_into_blocks_at_the_very_byte(
    s3_store: S3Store, s3_server: S3Server, s3_bucket: str, size: int
) -> None:
    data = noise(size)
    with StreamUpload(s3_store, ID, KEY, ObjectRole.DUMP) as upload:
        for piece in pieces(data, [5 * MIB, 1]):
            upload.write(piece)
        entry = upload.finish(plain_bytes=size)
    text = s3_server.root.get_object(Bucket=s3_bucket, Key=f"prod/{FULL_KEY}.blocks")["Body"].read()
    blocks = [data[start : start + BLOCK_BYTES] for start in range(0, size, BLOCK_BYTES)]
    assert text.decode().splitlines() == [hashlib.sha256(block).hexdigest() for block in blocks]
    assert hashlib.sha256(text).hexdigest() == entry.blocks_sha256
    assert entry.bytes == size
    verify_object(s3_store, ID, entry)


def test_a_person_reads_a_sealed_object_with_zstd_alone(s3_store: S3Store, s3_server: S3Server, s3_bucket: str) -> None:
    data = b"CREATE TABLE portal();\n" * 200_000
    sealed(s3_store, data)
    stored = s3_server.root.get_object(Bucket=s3_bucket, Key=f"prod/{FULL_KEY}")["Body"].read()
    assert len(stored) < len(data) / 100
    if zstd := shutil.which("zstd"):
        plain = subprocess.run([zstd, "-dc"], input=stored, capture_output=True, check=True, timeout=60).stdout
    else:
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(stored)
    assert plain == data


# ---- a source or a store that fails


def _failing(data: bytes, error: BaseException) -> Iterator[bytes]:
    yield from pieces(data, [MIB])
    raise error


@pytest.mark.parametrize("size", [0, 1, 30 * MIB])
@pytest.mark.parametrize("error", [StoreError("pg_dump failed"), Stopped("SIGTERM"), KeyboardInterrupt()])
def test_a_source_that_fails_at_its_end_leaves_no_object_and_no_upload(
    s3_store: S3Store, s3_server: S3Server, s3_bucket: str, size: int, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        seal(s3_store, ID, KEY, ObjectRole.DUMP, _failing(noise(size), error))
    assert keys_in(s3_server, s3_bucket) == []
    assert uploads_in(s3_server, s3_bucket) == []


def test_a_stream_that_is_left_without_finish_leaves_nothing(
    s3_store: S3Store, s3_server: S3Server, s3_bucket: str
) -> None:
    with StreamUpload(s3_store, ID, KEY, ObjectRole.DUMP) as upload:
        upload.write(noise(20 * MIB))
    upload.abort()
    assert keys_in(s3_server, s3_bucket) == []
    assert uploads_in(s3_server, s3_bucket) == []


class _Tampered(S3Store):
    """A real store, of whose uploads a test can slow down or break single parts."""

    on_part: Callable[[int], None] = staticmethod(lambda _number: None)

    def begin_upload(self, key: str, **options: Any) -> Upload:  # type: ignore[override]
        upload = super().begin_upload(key, **options)
        send = upload.upload_part

        def tampered(number: int, body: bytes | bytearray, *, start: int, sha256: bytes) -> None:
            self.on_part(number)
            send(number, body, start=start, sha256=sha256)

        upload.upload_part = tampered  # type: ignore[method-assign]
        return upload


@pytest.fixture
def tampered(s3_server: S3Server, s3_bucket: str) -> _Tampered:
    plain = s3_server.store(s3_bucket)
    plain.__class__ = _Tampered
    assert isinstance(plain, _Tampered)
    return plain


def test_a_part_that_fails_ends_the_stream_soon_and_leaves_nothing(
    tampered: _Tampered, s3_server: S3Server, s3_bucket: str
) -> None:
    def fail_at_two(number: int) -> None:
        if number == 2:
            raise StoreError("part 2 was refused")

    tampered.on_part = fail_at_two  # type: ignore[method-assign]
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for seed in range(1000):
            taken += MIB
            yield noise(MIB, seed)

    with pytest.raises(StoreError, match="part 2 was refused"):
        seal(tampered, ID, KEY, ObjectRole.DUMP, endless())
    assert taken < 200 * MIB
    assert uploads_in(s3_server, s3_bucket) == []


def test_a_slow_store_slows_the_source_down(tampered: _Tampered) -> None:
    gate = threading.Event()
    tampered.on_part = lambda _number: gate.wait(30) and None  # type: ignore[method-assign]
    taken = 0

    def source() -> Iterator[bytes]:
        nonlocal taken
        for seed in range(160):
            taken += MIB
            yield noise(MIB, seed)

    def work() -> None:
        with StreamUpload(tampered, ID, KEY, ObjectRole.DUMP) as upload:
            for chunk in source():
                upload.write(chunk)
            upload.finish(plain_bytes=0)

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 30
    while taken < 64 * MIB and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    held = taken
    gate.set()
    thread.join(60)
    assert 64 * MIB <= held <= 65 * MIB, "64 MiB are taken, and then the source waits"
    assert taken == 160 * MIB


def test_parts_are_sent_in_parallel(tampered: _Tampered) -> None:
    at_once, most, lock = 0, 0, threading.Lock()

    def count(_number: int) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.3)
        with lock:
            at_once -= 1

    tampered.on_part = count  # type: ignore[method-assign]
    with StreamUpload(tampered, ID, KEY, ObjectRole.DUMP) as upload:
        upload.write(noise(60 * MIB))
        upload.finish(plain_bytes=0)
    assert 3 <= most <= 8


@pytest.mark.parametrize("key", [None, BackupKey()], ids=["plain", "encrypted"])
def test_memory_stays_bounded_in_both_directions(s3_store: S3Store, key: BackupKey | None) -> None:
    size = 120 * MIB
    block = noise(MIB)

    sent, came = hashlib.sha256(), hashlib.sha256()

    def source() -> Iterator[bytes]:
        for number in range(size // MIB):
            chunk = number.to_bytes(8, "big") + block[8:]
            sent.update(chunk)
            yield chunk

    def unpack(entry: ObjectEntry) -> None:
        for chunk in open_object(s3_store, ID, entry, backup_key=key):
            came.update(chunk)

    tracemalloc.start()
    try:
        entry = seal(s3_store, ID, KEY, ObjectRole.DUMP, source(), backup_key=key, threads=0, level=-50)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        unpack(entry)
        _, reading_peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The buffers of parts are used again: each must be sent before it is filled anew.
    assert came.digest() == sent.digest()
    assert entry.bytes > 110 * MIB
    assert peak < 90 * MIB
    # Where it is decrypted, a block more is fed, one comes out, and one is put together of its pieces.
    assert reading_peak < (60 if key is None else 100) * MIB


def test_a_stop_in_the_middle_leaves_nothing(tampered: _Tampered, s3_server: S3Server, s3_bucket: str) -> None:
    tampered.on_part = lambda _number: time.sleep(0.4)  # type: ignore[method-assign]

    def stop(_number: int, _frame: object) -> None:
        raise Stopped("told to stop by SIGUSR1")

    former = signal.signal(signal.SIGUSR1, stop)
    timer = threading.Timer(1.5, os.kill, [os.getpid(), signal.SIGUSR1])
    timer.start()
    try:
        with pytest.raises(Stopped):
            seal(tampered, ID, KEY, ObjectRole.DUMP, (noise(MIB, seed) for seed in range(100_000)))
    finally:
        signal.signal(signal.SIGUSR1, former)
        timer.join()
    assert keys_in(s3_server, s3_bucket) == []
    assert uploads_in(s3_server, s3_bucket) == []


_SEAL_AND_MEASURE = """
import os, resource, sys
from resguardo.api import s3
from resguardo.api.manifest import ObjectRole
from resguardo.store.backup_key import BackupKey
from resguardo.store.download import open_object
from resguardo.store.s3 import AccessKeys, S3Store
from resguardo.store.seal import seal

ID = "20261123T050000Z-3f9a1c"
spec, key_id, secret = s3.S3Store.model_validate_json(sys.argv[1]), *sys.stdin.read().splitlines()
store = S3Store(spec, AccessKeys(key_id, secret), None)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
key = BackupKey() if sys.argv[2] == "encrypted" else None
entry = seal(store, ID, "data/x.zst", ObjectRole.DUMP, (os.urandom(2**20) for _ in range(128)), backup_key=key, threads=2)
for _ in open_object(store, ID, entry, backup_key=key):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("how", ["plain", "encrypted"])
def test_a_whole_process_needs_at_most_160_mib_more_zstd_and_age_included(
    s3_server: S3Server, s3_bucket: str, how: str
) -> None:
    spec = s3_server.spec(s3_bucket).model_dump_json(by_alias=True, exclude_none=True)
    measured = subprocess.run(
        [sys.executable, "-c", _SEAL_AND_MEASURE, spec, how],
        input=f"{ROOT.access_key_id}\n{ROOT.secret_access_key}",
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert int(measured.stdout) * 1024 < 160 * MIB


# ---- reading


def test_a_reader_that_stops_early_leaves_no_thread_behind(s3_store: S3Store) -> None:
    entry = sealed(s3_store, noise(20 * MIB))
    chunks = open_object(s3_store, ID, entry)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while any(thread.name.startswith("download") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_at_most_so_many_blocks_are_read_ahead(s3_store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = sealed(s3_store, noise(20 * MIB))
    started: list[int] = []
    read = s3_store.read_range

    def counted(key: str, start: int, length: int) -> bytes:
        started.append(start)
        return read(key, start, length)

    monkeypatch.setattr(s3_store, "read_range", counted)
    chunks = open_object(s3_store, ID, entry, prefetch=1)
    next(chunks)
    time.sleep(0.5)
    assert len(started) <= 2
    assert sum(map(len, chunks)) == entry.plain_bytes - MIB
    assert download.PREFETCH >= 2
    assert isinstance(s3_store.head(FULL_KEY), ObjectInfo)


def test_the_temporary_folder_stays_empty(s3_store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    entry = sealed(s3_store, noise(20 * MIB))
    assert len(b"".join(open_object(s3_store, ID, entry))) == 20 * MIB
    assert list(tmp_path.iterdir()) == []


# ---- discarding


def test_discarding_removes_objects_and_uploads_of_one_backup_only(
    s3_store: S3Store, s3_server: S3Server, s3_bucket: str
) -> None:
    sealed(s3_store, noise(100))
    s3_store.begin_upload(f"backups/{ID}/data/other.zst")
    s3_store.put("backups/20261123T050000Z-3f9a1d/data/dump.zst", b"another's")
    assert discard_backup(s3_store, ID)
    assert keys_in(s3_server, s3_bucket) == ["prod/backups/20261123T050000Z-3f9a1d/data/dump.zst"]
    assert uploads_in(s3_server, s3_bucket) == []
    assert discard_backup(s3_store, ID)


def test_a_committed_backup_is_not_discarded(s3_store: S3Store, s3_server: S3Server, s3_bucket: str) -> None:
    entry = sealed(s3_store, b"data")
    s3_store.put(f"backups/{ID}/manifest.json", b"{}")
    assert not discard_backup(s3_store, ID)
    assert b"".join(open_object(s3_store, ID, entry)) == b"data"
