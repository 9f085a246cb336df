"""The Store over a folder: a volume that a pod mounts, or any folder of a person's machine.

An object is a file under its key. It is written in a hidden folder of the same file system, brought to disk, and given its
name in one step: by link(2) where nothing may be, which fails when something is, and by rename(2) in place of what is there.
What NFS needs for that: hard links, and for a take-over locks that all nodes share (see `volume_lock`).
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from resguardo.api import volume as spec
from resguardo.api.errors import (
    ObjectCorrupt,
    ObjectMissing,
    ResguardoError,
    StorageClassRefused,
    StoreAccessDenied,
    StoreError,
)
from resguardo.rules.access import Right
from resguardo.store.conflict import confirmed, settle
from resguardo.store.protocol import Availability, ObjectInfo, Stored
from resguardo.store.volume_errors import translated
from resguardo.store.volume_lock import locked
from resguardo.store.volume_tree import FILE_MODE, HIDDEN, Parts, Tree, parts_of, sync_folder
from resguardo.store.volume_upload import UPLOADS, VolumeUpload, etag_of, info_of, link, write_all
from resguardo.store.without_locks import WithoutLocks

#: Small objects on their way to their names.
WRITES: Parts = (HIDDEN, "writes")


class VolumeStore(WithoutLocks):
    """A folder of a volume; see `protocol.Store` for the contract. `root` is where the volume is mounted."""

    def __init__(self, store: spec.VolumeStore, root: Path) -> None:
        self._claim, self._path, self._root = store.claim_name, store.path, root
        self._tree = Tree(root, parts_of(store.path) if store.path else ())

    @property
    def location(self) -> str:
        """Claim, mount and folder."""
        return f"volume {self._claim} at {self._root}, " + (f"folder {self._path!r}" if self._path else "its root")

    @property
    def place(self) -> str:
        """Claim and folder."""
        return f"{self._claim}/{self._path}".rstrip("/")

    def put(
        self,
        key: str,
        body: bytes,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        content_type: str = "application/json",  # noqa: ARG002 - a file has none
        storage_class: str | None = None,
    ) -> str:
        """Write a small object whole, under a condition or none."""
        self._refuse_class(storage_class)
        parts = parts_of(key)

        def give_name(folder: int) -> str:
            with self._tree.folder(WRITES) as writes:
                if if_absent:
                    link(name, writes, parts[-1], folder, self.location)
                else:
                    os.rename(name, parts[-1], src_dir_fd=writes, dst_dir_fd=folder)
            sync_folder(folder)
            return etag

        with translated(self._what("writing", key)), self._written(body) as (name, etag):
            if if_match is None:
                with suppress(FileExistsError):
                    return self._tree.in_folder(parts[:-1], give_name)
            else:
                with locked(self._tree, self.location):
                    if self._etag(parts) == if_match:
                        return self._tree.in_folder(parts[:-1], give_name)
        return settle(self, key, body, name=self._name(key)).etag

    def add(self, key: str, body: bytes, *, content_type: str, storage_class: str | None = None) -> ObjectInfo:
        """Write a small object where nothing is."""
        etag = self.put(key, body, if_absent=True, content_type=content_type, storage_class=storage_class)
        return confirmed(self.head(key), etag, name=self._name(key))

    def get(self, key: str, *, max_bytes: int) -> Stored:
        """Read a small object whole."""
        with translated(self._what("reading", key)), self._opened(key) as (file, found):
            if found.st_size > max_bytes:
                raise ObjectCorrupt(
                    f"object {self._full(key)!r} in {self.location} has {found.st_size} bytes, and such an object never has "
                    f"more than {max_bytes}"
                )
            body = self._read(file, key, 0, found.st_size)
        return Stored(bytes(body), etag_of(found), info_of(key, found).last_modified)

    def head(self, key: str) -> ObjectInfo | None:
        """What stands at a key."""
        with translated(self._what("looking at", key)):
            found = self._stat(parts_of(key))
        return None if found is None else info_of(key, found)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects in the order of their keys, folder by folder."""
        with translated(self._what("listing", prefix)):
            for key, found in self._tree.walk((), prefix):
                yield info_of(key, found)

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Names of the folders right under a prefix that hold an object, in order."""
        seen = None
        for found in self.list(prefix):
            name, slash, _ = found.key.removeprefix(prefix).partition("/")
            if slash and name != seen:
                seen = name
                yield name

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with translated(self._what("deleting", key)):
            self._refuse_reader()
            self._tree.remove(parts_of(key))

    def erase(self, *paths: str, but: str | None = None) -> Mapping[str, StoreError]:
        """Remove objects and folders."""
        problems: dict[str, StoreError] = {}
        for path in paths:
            keys = (found.key for found in self.list(path)) if path.endswith("/") else iter([path])
            for key in keys:
                if key != but:
                    try:
                        self.delete(key)
                    except StoreError as error:
                        problems[key] = error
            if path.endswith("/"):
                self._tree.remove_hollow(parts_of(path.rstrip("/")))
        return problems

    def special_rights(self, key: str) -> Mapping[Right, bool | None]:  # noqa: ARG002
        """It keeps no versions, and locks nothing."""
        return {}

    def clock(self) -> datetime:
        """The time at which the file system, or its server, dates a new file; the machine's own where none may be written."""
        try:
            with translated(self._what("writing", "")), self._written(b"") as (name, _):
                found = self._tree.in_folder(WRITES, lambda folder: os.stat(name, dir_fd=folder))
        except StoreAccessDenied:
            return datetime.now(UTC).replace(microsecond=0)
        return datetime.fromtimestamp(int(found.st_mtime), UTC)

    def read_range(self, key: str, start: int, length: int) -> bytes | bytearray:
        """Exactly these bytes of an object."""
        if length == 0:
            return b""
        with translated(self._what("reading", key)), self._opened(key) as (file, _):
            return self._read(file, key, start, length)

    def begin_upload(self, key: str, *, storage_class: str | None = None) -> VolumeUpload:
        """Begin a file in the hidden folder."""
        self._refuse_class(storage_class)
        return VolumeUpload(self._tree, key, parts_of(key), self.location)

    def availability(self, key: str) -> Availability | None:
        """Ready, if it is there."""
        return None if self.head(key) is None else Availability.READY

    def bring_back(self, key: str, *, keep: timedelta) -> None:
        """Nothing: every file can be read at once."""

    def abort_uploads(self, prefix: str, *, begun_before: datetime | None = None) -> int:
        """Remove the files of uploads under a prefix, or of the old ones; and with them what killed writers have left."""
        with translated(self._what("giving up uploads of", prefix)):
            aborted = self._remove_hidden(UPLOADS, prefix, begun_before)
            if begun_before is not None:
                self._remove_hidden(WRITES, "", begun_before)
        return aborted

    def _remove_hidden(self, where: Parts, prefix: str, before: datetime | None) -> int:
        # Dated by its last write: the file system keeps no other time that every server has.
        old = [
            name
            for name, found in self._tree.walk(where, prefix)
            if before is None or info_of(name, found).last_modified < before
        ]
        return sum(self._tree.remove((*where, *name.split("/")), keep=len(where)) for name in old)

    @contextmanager
    def _written(self, body: bytes) -> Iterator[tuple[str, str]]:
        """A file of these bytes, on disk in the hidden folder until the block is left; its name and its ETag."""
        name = secrets.token_hex(8)

        def write(folder: int) -> str:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(name, flags, FILE_MODE, dir_fd=folder)
            try:
                write_all(file, body, 0)
                os.fsync(file)
            finally:
                os.close(file)
            # Only now: of a file that is open for writing, an NFS client may show a time of its own.
            return etag_of(os.stat(name, dir_fd=folder, follow_symlinks=False))

        try:
            yield name, self._tree.in_folder(WRITES, write)
        finally:
            # Renamed, it is here no more.
            with suppress(OSError, ResguardoError), self._tree.folder(WRITES) as folder:
                os.unlink(name, dir_fd=folder)

    @contextmanager
    def _opened(self, key: str) -> Iterator[tuple[int, os.stat_result]]:
        parts = parts_of(key)
        try:
            with self._tree.folder(parts[:-1]) as folder:
                # First what it is: opening a device can do something.
                found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
                if stat.S_ISLNK(found.st_mode):
                    raise ObjectCorrupt(
                        f"object {self._full(key)!r} in {self.location} is a symbolic link, and links are never followed: remove it"
                    )
                if not stat.S_ISREG(found.st_mode):
                    raise self._missing(key)
                # Without waiting: a named pipe that came a moment ago would never open.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                file = os.open(parts[-1], flags, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing(key) from None
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise self._missing(key)
            yield file, found
        finally:
            os.close(file)

    def _read(self, file: int, key: str, start: int, length: int) -> bytearray:
        read = bytearray(length)
        position = 0
        with memoryview(read) as view:
            while position < length and (count := os.preadv(file, [view[position:]], start + position)):
                position += count
        if position != length:
            raise ObjectCorrupt(
                f"object {self._full(key)!r} in {self.location} gives {position} bytes from byte {start} on, and {length} were "
                "asked for"
            )
        return read

    def _stat(self, parts: Parts) -> os.stat_result | None:
        with suppress(FileNotFoundError, NotADirectoryError), self._tree.folder(parts[:-1]) as folder:
            found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
            return found if stat.S_ISREG(found.st_mode) else None
        return None

    def _etag(self, parts: Parts) -> str | None:
        found = self._stat(parts)
        return None if found is None else etag_of(found)

    def _refuse_reader(self) -> None:
        """Raise what deleting would, where nothing is to be deleted: a probe asks whether it may."""
        with suppress(FileNotFoundError), self._tree.folder(()) as folder:
            if os.fstatvfs(folder).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            if not os.access(".", os.W_OK, dir_fd=folder, effective_ids=True):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    def _refuse_class(self, storage_class: str | None) -> None:
        if storage_class is not None:
            raise StorageClassRefused(
                f"{self.location} has no storage classes, and {storage_class} was asked for: a volume keeps all files alike"
            )

    def _name(self, key: str) -> str:
        return f"object {self._full(key)!r} in {self.location}"

    def _full(self, key: str) -> str:
        return f"{self._path}/{key}" if self._path else key

    def _missing(self, key: str) -> ObjectMissing:
        return ObjectMissing(f"there is no object {self._full(key)!r} in {self.location}")

    def _what(self, doing: str, key: str) -> str:
        return f"{doing} {self._full(key) or '/'!r} in {self.location}"
