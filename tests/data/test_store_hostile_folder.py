"""A volume in which somebody else may write: whatever stands there, nothing outside of the folder is touched, and nothing waits or swells.

What a link may not do is in test_store_volume.py, and what objects may hold in test_untrusted.py: this is about what stands where
objects should. One bad thing hides no backup beside it.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resguardo.api.errors import ObjectCorrupt, ObjectMissing, StoreError
from resguardo.store.catalogue import read_catalogue
from resguardo.store.facts import read_facts
from resguardo.store.signatures import ANYBODY
from resguardo.store.trash import read_trash
from resguardo.store.volume import VolumeStore
from resguardo.store.volume_tree import KEY_MAX_BYTES
from tests.fixtures.stores import VolumeGround

pytestmark = pytest.mark.timeout(60)  # what would wait for ever fails

GOOD, BAD = "20261123T050000Z-3f9a1c", "20261124T050000Z-000bad"
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture
def store(volume_ground: VolumeGround) -> VolumeStore:
    return volume_ground.store()


@pytest.fixture
def prod(volume_ground: VolumeGround) -> Path:
    """The folder of the policy's objects."""
    folder = volume_ground.root / "prod"
    folder.mkdir(exist_ok=True)
    return folder


def _link_to_a_file(place: Path) -> None:
    (place.parent / "outside").write_text("secret")
    place.symlink_to(place.parent / "outside")


def _link_to_itself(place: Path) -> None:
    place.symlink_to(place)


def _pipe(place: Path) -> None:
    os.mkfifo(place)


def _socket(place: Path) -> None:
    above = os.open(place.parent, os.O_RDONLY)
    try:
        with closing(socket.socket(socket.AF_UNIX)) as made:
            # The path itself may be longer than a socket's may be.
            made.bind(f"/proc/self/fd/{above}/{place.name}")
    finally:
        os.close(above)


def _device(place: Path) -> None:
    try:
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero, which never ends
    except PermissionError as error:
        pytest.skip(f"a device needs rights: {error}")


def _folder(place: Path) -> None:
    place.mkdir()


def _huge(place: Path) -> None:
    with place.open("wb") as file:
        file.truncate(2**42)


NO_OBJECTS: dict[str, Callable[[Path], None]] = {
    "a link to a file": _link_to_a_file,
    "a link to itself": _link_to_itself,
    "a named pipe": _pipe,
    "a socket": _socket,
    "a device": _device,
    "a folder": _folder,
}


@pytest.mark.parametrize("what", NO_OBJECTS)
class TestWhatIsNoObject:
    def test_it_is_neither_listed_nor_read_and_waits_for_nobody(
        self, store: VolumeStore, prod: Path, what: str
    ) -> None:
        NO_OBJECTS[what](prod / "x")
        assert "x" not in [found.key for found in store.list("")]
        assert store.head("x") is None
        for read in (lambda: store.get("x", max_bytes=100), lambda: store.read_range("x", 0, 10)):
            with pytest.raises((ObjectMissing, ObjectCorrupt)):
                read()

    def test_what_is_written_there_takes_its_place_or_is_refused(
        self, store: VolumeStore, prod: Path, what: str
    ) -> None:
        NO_OBJECTS[what](prod / "x")
        with pytest.raises(StoreError):
            store.put("x", b"new", if_absent=True)
        with pytest.raises(StoreError):
            store.put("x", b"new", if_match='"etag"')
        if what == "a folder":
            with pytest.raises(StoreError, match="stands in the way"):
                store.put("x", b"new")
        else:
            store.put("x", b"new")
            assert store.get("x", max_bytes=3).body == b"new"

    def test_it_goes_when_it_is_erased_and_what_it_led_to_stays(
        self, store: VolumeStore, prod: Path, what: str
    ) -> None:
        (prod / "f").mkdir()
        NO_OBJECTS[what](prod / "f" / "x")
        if what == "a folder":
            assert store.erase("f/") == {}
        else:
            assert store.erase("f/x") == {}
        assert not os.path.lexists(prod / "f" / "x")
        if what == "a link to a file":
            assert (prod / "f" / "outside").read_text() == "secret"

    def test_it_hides_no_backup_beside_it_wherever_it_stands(self, store: VolumeStore, prod: Path, what: str) -> None:
        """In the place of a manifest, of a marker, of an attempt."""
        store.put(f"backups/{GOOD}/data/dump", b"x")
        store.put(f"backups/{GOOD}/manifest.json", b"no manifest, and told as such")
        store.put(f"backups/{BAD}/data/dump", b"x")
        for place in (f"backups/{BAD}/manifest.json", f"trash/{BAD}.json", f"attempts/{BAD}.json", f"pins/{BAD}.json"):
            (prod / place).parent.mkdir(exist_ok=True)
            NO_OBJECTS[what](prod / place)
        catalogue = read_catalogue(store, ANYBODY)
        assert GOOD in [entry.id for entry in catalogue.entries]
        assert read_trash(store).marked == {}
        facts = read_facts(store, catalogue, timeout=timedelta(hours=6), store_now=NOW)
        assert [found.outcome for found in facts.backups] == ["Unreadable"] * len(facts.backups)

    def test_in_the_place_of_a_folder_it_is_an_empty_one(self, store: VolumeStore, prod: Path, what: str) -> None:
        NO_OBJECTS[what](prod / "backups")
        assert list(store.list("backups/")) == list(store.list_folders("backups/")) == []
        assert store.head("backups/x") is None
        if what != "a folder":
            for write in (lambda: store.put("backups/x", b"1"), lambda: store.begin_upload("backups/x").complete()):
                with pytest.raises((StoreError, AssertionError)):
                    write()


@pytest.mark.parametrize("what", ["a link to a file", "a named pipe", "a folder"])
def test_an_upload_whose_file_becomes_something_else_ends(store: VolumeStore, prod: Path, what: str) -> None:
    upload = store.begin_upload("x")
    (written,) = (path for path in prod.glob(".resguardo/uploads/x/*") if path.is_file())
    written.unlink()
    NO_OBJECTS[what](written)
    with pytest.raises(StoreError):
        upload.upload_part(1, b"x", start=0, sha256=hashlib.sha256(b"x").digest())
    assert store.head("x") is None


def test_the_policys_own_folder_may_be_no_link(volume_ground: VolumeGround) -> None:
    elsewhere = volume_ground.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x").write_text("secret")
    (volume_ground.root / "prod").symlink_to(elsewhere)
    store = volume_ground.store()
    assert list(store.list("")) == []
    with pytest.raises(StoreError):
        store.get("x", max_bytes=10)
    for attempt in (lambda: store.put("y", b"1"), lambda: store.delete("x")):
        with pytest.raises(StoreError):
            attempt()
    assert [(path.name, path.read_text()) for path in elsewhere.iterdir()] == [("x", "secret")]


class TestSizes:
    def test_more_than_an_object_may_have_is_not_read(self, store: VolumeStore, prod: Path) -> None:
        _huge(prod / "x")
        with pytest.raises(ObjectCorrupt, match="4398046511104 bytes, and such an object never has more than 4096"):
            store.get("x", max_bytes=4096)

    @pytest.mark.parametrize(("change", "after"), [(b"and more", b"start"), (None, None)], ids=["grows", "shrinks"])
    def test_a_file_that_changes_while_it_is_read(
        self, store: VolumeStore, prod: Path, monkeypatch: pytest.MonkeyPatch, change: bytes | None, after: bytes | None
    ) -> None:
        """What it had when it was opened is read, or it is damaged."""
        (prod / "x").write_bytes(b"start")
        opened = os.fstat

        def fstat(file: int) -> os.stat_result:
            found = opened(file)
            if change is None:
                os.truncate(prod / "x", 2)
            else:
                with (prod / "x").open("ab") as written:
                    written.write(change)
            return found

        monkeypatch.setattr(os, "fstat", fstat)
        if after is None:
            with pytest.raises(ObjectCorrupt, match="gives 2 bytes"):
                store.get("x", max_bytes=100)
        else:
            assert store.get("x", max_bytes=100).body == after


class TestNames:
    @pytest.mark.parametrize(
        "name", [b"caf\xe9", b"\xff\xfe", b"\xed\xa0\x80"], ids=["latin-1", "noise", "half a surrogate"]
    )
    def test_what_is_not_utf_8_is_no_object(self, store: VolumeStore, prod: Path, name: bytes) -> None:
        (prod / "backups").mkdir()
        folder = os.fsencode(prod / "backups") + b"/" + name
        os.mkdir(folder)  # noqa: PTH102 - bytes
        (Path(os.fsdecode(folder)) / "x").write_text("x")
        (Path(os.fsdecode(prod / "backups")) / "y").write_text("y")
        assert [found.key for found in store.list("")] == ["backups/y"]
        assert list(store.list_folders("backups/")) == []

    def test_what_speaks_to_a_terminal_is_a_name_like_others_and_is_never_a_backups(
        self, store: VolumeStore, prod: Path
    ) -> None:
        for name in ("\x1b[31m", "a\nb", "\u202e"):
            (prod / "backups" / name).mkdir(parents=True)
            (prod / "backups" / name / "manifest.json").write_text("x")
        assert len(list(store.list("backups/"))) == 3
        assert read_catalogue(store, ANYBODY).entries == []
        with pytest.raises(ObjectCorrupt) as raised:
            store.get("backups/\x1b[31m/manifest.json", max_bytes=0)
        assert "\x1b" not in str(raised.value)


class TestFolders:
    def test_what_is_deeper_than_a_key_reaches_is_passed_over(self, store: VolumeStore, prod: Path) -> None:
        """3,000 folders in one another: more than there are descriptors, or calls that may stand in one another."""
        store.put("a/z", b"x")
        folder = os.open(prod / "a", os.O_RDONLY)
        for _ in range(3000):
            os.mkdir("a", dir_fd=folder)
            below = os.open("a", os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = below
        os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        os.close(folder)
        assert [found.key for found in store.list("")] == ["a/z"]
        assert store.erase("a/") == {}
        assert list(store.list("")) == []
        # Python's own way to clean up would not reach so deep either.
        subprocess.run(["rm", "-r", str(prod / "a")], check=True)

    def test_a_key_at_the_limit_is_an_object_and_beyond_it_none(self, store: VolumeStore) -> None:
        deepest = "a/" * (KEY_MAX_BYTES // 2 - 1) + "ab"
        assert len(deepest) == KEY_MAX_BYTES
        store.put(deepest, b"x")
        assert [found.key for found in store.list("")] == [deepest]
        with pytest.raises(StoreError, match="has 1025 bytes, and a key has at most 1024"):
            store.put(deepest + "c", b"x")
        assert store.erase("a/") == {}
        assert list(store.list("")) == []


@pytest.mark.parametrize(
    "seconds", [-(2**40), -1, 2**38, 2**60], ids=["long before", "before 1970", "in the year 10680", "never"]
)
def test_a_time_that_was_set_to_where_nothing_was_ever_stored(store: VolumeStore, prod: Path, seconds: int) -> None:
    """It is told as the nearest that can be, and no sum of times fails."""
    store.put(f"backups/{BAD}/manifest.json", b"{}")
    store.put(f"attempts/{GOOD}.json", b"{}")
    store.put("trash/x", b"{}")
    (prod / ".resguardo" / "writes").mkdir(exist_ok=True)
    (prod / ".resguardo" / "writes" / "left").write_text("x")
    for path in prod.rglob("*"):
        if path.is_file():
            try:
                os.utime(path, (seconds, seconds))
            except OverflowError:
                pytest.skip("this file system keeps no such time")
    found = store.head(f"backups/{BAD}/manifest.json")
    assert found is not None
    assert 1970 <= found.last_modified.year <= 9000
    catalogue = read_catalogue(store, ANYBODY)
    read_facts(store, catalogue, timeout=timedelta(hours=6), store_now=store.clock())
    read_trash(store)
    store.abort_uploads("", begun_before=NOW)
