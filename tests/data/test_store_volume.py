"""A volume as a store: what only a file system can do to it. The contract itself is in test_store_contract.py.

NFS itself is not here: this machine's kernel has no client for it. What a test can show without one is that each step which
decides something is one call that NFS too carries out as one: link(2), rename(2) and flock(2).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resguardo.api.errors import (
    BucketNotFound,
    ConditionalWriteNotHonoured,
    ObjectMissing,
    StorageClassRefused,
    StoreAccessDenied,
    StoreError,
    StoreFull,
    StoreUnreachable,
)
from resguardo.api.manifest import ObjectRole
from resguardo.store import volume, volume_lock, volume_tree
from resguardo.store.download import open_object
from resguardo.store.orphans import abort_dead_uploads
from resguardo.store.seal import seal
from resguardo.store.volume import VolumeStore
from tests.fixtures.stores import VolumeGround
from tests.fixtures.streams import ID, KEY, MIB, noise

RACES = 12


@pytest.fixture
def store(volume_ground: VolumeGround) -> VolumeStore:
    return volume_ground.store()


@pytest.fixture
def prod(volume_ground: VolumeGround) -> Path:
    """The folder of the policy's objects."""
    folder = volume_ground.root / "prod"
    folder.mkdir(exist_ok=True)
    return folder


_RIVAL = """
import sys, time, json
from pathlib import Path
from datetime import UTC, datetime
from resguardo.api import volume
from resguardo.api.errors import PrefixOwned
from resguardo.store.ownership import claim
from resguardo.store.volume import VolumeStore

root, name, words = sys.argv[1:]
for line in sys.stdin:
    prefix, at = line.split()
    store = VolumeStore(volume.VolumeStore(claim_name="backups", path=prefix), Path(root))
    while time.time() < float(at):
        pass
    try:
        claim(store, f"{name}/agepar/portal", take_over_from=words or None, now=datetime.now(UTC))
        print("won", flush=True)
    except PrefixOwned:
        print("lost", flush=True)
"""


@pytest.mark.fault
@pytest.mark.parametrize("take_over", [False, True], ids=["two first writers", "two who take over"])
def test_of_two_processes_that_claim_at_the_same_moment_exactly_one_wins(
    volume_ground: VolumeGround, take_over: bool
) -> None:
    words = "old/agepar/portal@1" if take_over else ""
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", _RIVAL, str(volume_ground.root), name, words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in ("one", "two")
    ]  # fmt: skip
    try:
        results = []
        for number in range(RACES):
            prefix = f"race-{number}"
            if take_over:
                owner = b'{"formatVersion":1,"owner":"old/agepar/portal","epoch":1,"claimedAt":"2026-11-23T05:00:00Z"}'
                volume_ground.store(prefix).put("resguardo.json", owner)
            at = time.time() + (0.1 if number else 2)
            for rival in rivals:
                assert rival.stdin
                rival.stdin.write(f"{prefix} {at}\n")
                rival.stdin.flush()
            told = [rival.stdout.readline().strip() if rival.stdout else "" for rival in rivals]
            owner_now = json.loads(volume_ground.store(prefix).get("resguardo.json", max_bytes=4096).body)
            assert owner_now["owner"].startswith("one" if told[0] == "won" else "two")
            assert owner_now["epoch"] == (2 if take_over else 1)
            results.append(sorted(told))
        assert results == [["lost", "won"]] * RACES
    finally:
        for rival in rivals:
            rival.kill()
            rival.communicate()


_HOLDER = """
import sys, time
from pathlib import Path
from resguardo.store.volume_lock import locked
from resguardo.store.volume_tree import Tree
with locked(Tree(Path(sys.argv[1]), ("prod",)), "here"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.fault
def test_a_lock_is_waited_for_and_a_killed_holder_gives_it_back(
    store: VolumeStore, volume_ground: VolumeGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    etag = store.put("x", b"1")
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(volume_ground.root)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        monkeypatch.setattr(volume_lock, "LOCK_SECONDS", 0.2)
        with pytest.raises(StoreUnreachable, match="another process has held the lock"):
            store.put("x", b"2", if_match=etag)
        assert store.get("x", max_bytes=1).body == b"1"
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    store.put("x", b"2", if_match=etag)
    assert store.get("x", max_bytes=1).body == b"2"


class TestPaths:
    @pytest.mark.parametrize(
        "key", ["", "/x", "x/", "a//b", ".", "..", "../x", "a/../../x", "a/./b", "a\0b", ".resguardo/x", "a/.resguardo"]
    )
    def test_a_key_that_leads_elsewhere_is_refused_by_every_method(
        self, store: VolumeStore, volume_ground: VolumeGround, key: str
    ) -> None:
        for attempt in (
            lambda: store.put(key, b"x"),
            lambda: store.put(key, b"x", if_absent=True),
            lambda: store.get(key, max_bytes=1),
            lambda: store.head(key),
            lambda: store.read_range(key, 0, 1),
            lambda: store.delete(key),
            lambda: store.begin_upload(key),
        ):
            with pytest.raises(StoreError, match="cannot be a file's path"):
                attempt()
        assert list(volume_ground.root.rglob("*")) == []

    @pytest.mark.parametrize("name", ["x" * 256, "é" * 128])
    def test_a_name_longer_than_any_file_may_have_is_refused_at_one_byte(self, store: VolumeStore, name: str) -> None:
        store.put("x" * 255, b"x")
        with pytest.raises(StoreError, match=r"has 256 bytes, and a file's name has at most 255"):
            store.put(name, b"x")

    def test_a_prefix_that_climbs_lists_nothing(self, store: VolumeStore, volume_ground: VolumeGround) -> None:
        (volume_ground.root / "secret").write_text("x")
        store.put("a/x", b"x")
        for prefix in ("../", "a/../", "/", "a//", "./"):
            assert list(store.list(prefix)) == []

    def test_no_link_is_followed_wherever_it_stands(
        self, store: VolumeStore, volume_ground: VolumeGround, prod: Path
    ) -> None:
        outside = volume_ground.root / "outside"
        outside.mkdir()
        (outside / "secret").write_text("secret")
        (prod / "folder").symlink_to(outside)
        (prod / "file").symlink_to(outside / "secret")
        for key in ("file", "folder/secret"):
            assert store.head(key) is None
            with pytest.raises(StoreError):
                store.get(key, max_bytes=100)
        with pytest.raises(StoreError, match="links are never followed"):
            store.put("folder/new", b"x")
        upload = store.begin_upload("folder/new")
        upload.upload_part(1, b"x", start=0, sha256=hashlib.sha256(b"x").digest())
        with pytest.raises(StoreError, match="links are never followed"):
            upload.complete()
        upload.abort()
        assert list(store.list("")) == []
        assert store.erase("folder/") == {}
        store.put("file", b"ours")
        assert store.get("file", max_bytes=4).body == b"ours", "the link was replaced, and not what it led to"
        assert [(path.name, path.read_text()) for path in outside.iterdir()] == [("secret", "secret")]

    def test_a_link_in_the_hidden_folders_place_leads_nowhere(
        self, store: VolumeStore, volume_ground: VolumeGround, prod: Path
    ) -> None:
        outside = volume_ground.root / "outside"
        outside.mkdir()
        (prod / ".resguardo").symlink_to(outside)
        with pytest.raises(StoreError, match="links are never followed"):
            store.put("x", b"x")
        assert list(outside.iterdir()) == []

    def test_what_is_no_file_is_no_object(self, store: VolumeStore, prod: Path) -> None:
        os.mkfifo(prod / "pipe")
        (prod / "folder").mkdir()
        (prod / os.fsdecode(b"caf\xe9")).write_text("no UTF-8")
        assert list(store.list("")) == []
        for key in ("pipe", "folder"):
            assert store.head(key) is None
            with pytest.raises(ObjectMissing):
                store.get(key, max_bytes=1)

    def test_an_object_and_a_folder_of_one_name_are_told_apart(self, store: VolumeStore) -> None:
        store.put("a", b"x")
        with pytest.raises(StoreError, match="stands in the way"):
            store.put("a/b", b"x")
        store.put("c/d", b"x")
        with pytest.raises(StoreError, match="stands in the way"):
            store.put("c", b"x")


class TestFolders:
    def test_what_an_object_leaves_empty_goes_and_the_root_stays(self, store: VolumeStore, prod: Path) -> None:
        store.put("a/b/c/d", b"x")
        store.put("a/e", b"x")
        store.delete("a/b/c/d")
        assert [path.name for path in (prod / "a").iterdir()] == ["e"]
        assert store.erase("a/") == {}
        assert [path.name for path in prod.iterdir()] == [".resguardo"]

    def test_empty_folders_that_a_killed_process_left_are_no_folders_and_go_when_erased(
        self, store: VolumeStore, prod: Path
    ) -> None:
        (prod / "backups" / "hollow" / "data").mkdir(parents=True)
        store.put("backups/full/data/x", b"x")
        assert list(store.list_folders("backups/")) == ["full"]
        assert store.erase("backups/hollow/") == {}
        assert [path.name for path in (prod / "backups").iterdir()] == ["full"]

    def test_a_folder_that_goes_while_an_object_is_written_into_it_is_made_again(
        self, store: VolumeStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gone = []

        def link(*arguments: object) -> None:
            if not gone:
                gone.append((store._root / "prod" / "a").rmdir())
            linked(*arguments)  # type: ignore[arg-type]

        linked = volume.link
        monkeypatch.setattr(volume, "link", link)
        store.put("a/b", b"x", if_absent=True)
        assert gone
        assert store.get("a/b", max_bytes=1).body == b"x"

    def test_files_and_folders_are_for_their_owner_and_for_the_group_to_read(
        self, store: VolumeStore, prod: Path
    ) -> None:
        upload = store.begin_upload("a/large")
        upload.upload_part(1, b"x", start=0, sha256=hashlib.sha256(b"x").digest())
        upload.complete()
        store.put("a/small", b"x")
        assert {path.stat().st_mode & 0o777 for path in (prod / "a").iterdir()} == {0o640}
        assert (prod / "a").stat().st_mode & 0o777 == 0o750


@pytest.mark.fault
class TestKilled:
    def test_what_a_killed_process_was_writing_is_in_no_listing_and_goes_in_time(
        self, store: VolumeStore, volume_ground: VolumeGround, prod: Path
    ) -> None:
        upload = store.begin_upload("backups/x/data")
        upload.upload_part(1, b"x", start=0, sha256=hashlib.sha256(b"x").digest())
        (prod / ".resguardo" / "writes").mkdir(exist_ok=True)
        (prod / ".resguardo" / "writes" / "0123456789abcdef").write_bytes(b"half")
        assert list(store.list("")) == list(volume_ground.store("").list("")) == []
        now, hour = datetime.now(UTC), timedelta(hours=1)
        abort_dead_uploads(store, now=now + hour, timeout=hour)
        assert volume_ground.uploads() == 1, "as long as somebody may be at work on it"
        abort_dead_uploads(store, now=now + 3 * 24 * hour, timeout=hour)
        assert [path for path in prod.rglob("*") if path.is_file()] == []
        with pytest.raises(StoreError, match="is gone: it was given up"):
            upload.upload_part(2, b"y", start=1, sha256=hashlib.sha256(b"y").digest())
        with pytest.raises(StoreError, match="is gone: it was given up"):
            upload.complete()
        assert list(store.list("")) == []


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip(f"a file system of one's own needs mount: {done.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.fault
class TestRefusals:
    def test_a_full_disk_is_told_and_nothing_is_left(self, volume_ground: VolumeGround) -> None:
        with mounted(volume_ground.root / "full", "size=4m"):
            store = VolumeGround(volume_ground.root / "full").store()
            store.put("x", b"1")
            with pytest.raises(StoreFull, match=r"'prod/big'.*No space left on device. Make room there"):
                store.put("big", noise(5 * MIB))
            with pytest.raises(StoreFull):
                seal(store, ID, KEY, ObjectRole.DUMP, [noise(20 * MIB)])
            assert [found.key for found in store.list("")] == ["x"]
            assert VolumeGround(volume_ground.root / "full").uploads() == 0
            store.put("y", noise(3 * MIB))

    def test_a_volume_that_is_mounted_for_reading_is_read_and_not_written(self, volume_ground: VolumeGround) -> None:
        root = volume_ground.root / "read"
        with mounted(root, "size=4m"):
            store = VolumeGround(root).store()
            store.put("x", b"1")
            subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
            assert store.get("x", max_bytes=1).body == b"1"
            assert [found.key for found in store.list("")] == ["x"]
            assert abs(store.clock().timestamp() - time.time()) < 60
            for attempt in (
                lambda: store.put("y", b"1"),
                lambda: store.delete("nothing"),
                lambda: store.begin_upload("y"),
            ):
                with pytest.raises(StoreAccessDenied, match="mounted for reading only"):
                    attempt()

    def test_a_folder_of_somebody_else_is_told_with_who_asks(self, volume_ground: VolumeGround) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root may act as another user")
        volume_ground.root.chmod(0o755)
        volume_ground.store().put("x", b"1")
        told = subprocess.run(
            [sys.executable, "-c", _STRANGER, str(volume_ground.root)], capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert told.stdout.splitlines() == ["StoreAccessDenied"] * 3
        assert "user 65532 with groups 65532 may not" in told.stderr

    def test_no_volume_is_no_empty_bucket(self, volume_ground: VolumeGround) -> None:
        store = VolumeGround(volume_ground.root / "nothing").store()
        for attempt in (lambda: store.put("x", b"1"), lambda: list(store.list("")), lambda: store.head("x")):
            with pytest.raises(BucketNotFound, match="RESGUARDO_VOLUME"):
                attempt()

    def test_a_storage_class_is_refused(self, store: VolumeStore) -> None:
        with pytest.raises(StorageClassRefused, match="has no storage classes"):
            store.put("x", b"x", storage_class="GLACIER")
        with pytest.raises(StorageClassRefused, match="has no storage classes"):
            store.begin_upload("x", storage_class="GLACIER")

    def test_a_file_system_without_hard_links_is_no_place_for_two_writers(
        self, store: VolumeStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Played: the error that link(2) gives on SMB and FAT, of which this machine has none."""

        def link(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", link)
        with pytest.raises(ConditionalWriteNotHonoured, match="knows no hard links"):
            store.put("x", b"x", if_absent=True)

    def test_a_file_system_without_locks_is_no_place_for_a_take_over(
        self, store: VolumeStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Played: the error that flock(2) gives on an NFS without a lock server."""
        etag = store.put("x", b"1")

        def flock(*_: object) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(volume_lock.fcntl, "flock", flock)
        with pytest.raises(ConditionalWriteNotHonoured, match="keeps no locks"):
            store.put("x", b"2", if_match=etag)

    def test_a_link_whose_answer_was_lost_is_ours(self, store: VolumeStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """Played: an NFS server that made the link, whose answer was lost, and which was asked again."""
        made = os.link

        def link(*arguments: str, **options: int) -> None:
            made(*arguments, **options)  # type: ignore[arg-type]
            raise FileExistsError

        monkeypatch.setattr(os, "link", link)
        etag = store.put("x", b"x", if_absent=True)
        assert store.get("x", max_bytes=1).etag == etag

    @pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ETIMEDOUT])
    def test_a_file_server_that_is_away_may_be_asked_again(
        self, store: VolumeStore, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        """Played: an NFS server that went away, mounted soft."""

        def fsync(_: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(volume_tree.os, "fsync", fsync)
        with pytest.raises(StoreUnreachable, match="Look at the disk or the file server"):
            store.put("x", b"x")


_STRANGER = """
import os, sys
from pathlib import Path
from resguardo.api import volume
from resguardo.api.errors import ResguardoError
from resguardo.store.volume import VolumeStore
os.setgroups([])
os.setgid(65532)
os.setuid(65532)
store = VolumeStore(volume.VolumeStore(claim_name="backups", path="prod"), Path(sys.argv[1]))
for attempt in (lambda: store.put("y", b"1"), lambda: store.get("x", max_bytes=1), lambda: store.delete("nothing")):
    try:
        attempt()
    except ResguardoError as error:
        print(error.reason)
        print(error, file=sys.stderr)
"""


def test_a_stream_of_many_parts_goes_out_and_comes_back_whole(store: VolumeStore, volume_ground: VolumeGround) -> None:
    data = noise(50 * MIB)
    entry = seal(store, ID, KEY, ObjectRole.DUMP, [data])
    assert b"".join(open_object(store, ID, entry)) == data
    assert volume_ground.uploads() == 0
