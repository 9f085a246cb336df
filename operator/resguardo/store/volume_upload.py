"""A large file in the making, in a hidden folder until it is whole."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from datetime import timedelta
from typing import Any

from resguardo.api.base import EARLIEST, LATEST
from resguardo.api.errors import ConditionalWriteNotHonoured, StoreError, WriteConflict
from resguardo.store.protocol import ObjectInfo
from resguardo.store.volume_errors import translated
from resguardo.store.volume_tree import FILE_MODE, HIDDEN, Parts, Tree, sync_folder

#: What link(2) says on a file system that has no hard links.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_LATEST_SECONDS = (LATEST - EARLIEST).total_seconds()
#: Uploads stand under their keys, which are folders here: .resguardo/uploads/<key>/<random>.
UPLOADS: Parts = (HIDDEN, "uploads")


def etag_of(found: os.stat_result) -> str:
    """What changes with the object: a file is never written again once it stands, only replaced by another."""
    return f'"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"'


def info_of(key: str, found: os.stat_result) -> ObjectInfo:
    """A file as an object. Of a time that was set to where nothing was ever stored, what comes nearest to it."""
    written_at = EARLIEST + timedelta(seconds=min(max(found.st_mtime, 0), _LATEST_SECONDS))
    return ObjectInfo(key, found.st_size, etag_of(found), written_at)


def write_all(file: int, body: Any, start: int) -> None:
    """Write all of the body at a place in a file."""
    with memoryview(body) as view:
        written = 0
        while written < len(view):
            written += os.pwrite(file, view[written:], start + written)


def link(name: str, writes: int, new_name: str, folder: int, where: str) -> None:
    """link(2), which makes a name only where there is none, for all nodes alike."""
    try:
        os.link(name, new_name, src_dir_fd=writes, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        # An answer of a file server that was lost, and asked for again: the second link says what the first made.
        if os.stat(name, dir_fd=writes, follow_symlinks=False).st_nlink != 2:
            raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise ConditionalWriteNotHonoured(
            f"{where}: its file system knows no hard links ({error.strerror}), without which nobody can write only where nothing "
            "is. Use NFS, or a local file system"
        ) from error


class VolumeUpload:
    """See `protocol.Upload` for the contract.

    Each part is opened, written at its place, and on disk before it counts: a full disk is told by the part that it met.
    """

    def __init__(self, tree: Tree, key: str, parts: Parts, where: str) -> None:
        self._tree, self._key, self._parts = tree, key, parts
        self._folder: Parts = (*UPLOADS, *parts)
        self._name = secrets.token_hex(8)
        self._what = f"an upload of object {key!r} in {where}"
        #: Where each part begins, and its length.
        self._sent: dict[int, tuple[int, int]] = {}
        self._is_complete = False
        with translated(self._what):
            tree.in_folder(self._folder, lambda folder: os.close(self._open(folder, os.O_CREAT | os.O_EXCL)))

    def upload_part(self, number: int, body: bytes | bytearray, *, start: int, sha256: bytes) -> None:  # noqa: ARG002
        """Write one part at its place. A file system takes no digest: what reads a backup verifies it."""
        with translated(self._what):
            file = self._reopen()
            try:
                write_all(file, body, start)
                os.fdatasync(file)
            finally:
                os.close(file)
        self._sent[number] = (start, len(body))

    def complete(self) -> ObjectInfo:
        """Give the file its name, once all of it is on disk, where nothing stands."""
        size = self._size()
        with translated(self._what):
            file = self._reopen()
            try:
                # A part may have been sent before, and been longer.
                os.ftruncate(file, size)
                os.fsync(file)
            finally:
                os.close(file)
            found = self._tree.in_folder(self._parts[:-1], self._give_name)
            self._is_complete = True
            self._tree.remove((*self._folder, self._name), keep=len(UPLOADS))
        if found.st_size != size:
            raise StoreError(
                f"{self._what} has {found.st_size} bytes, and {size} were sent: something else writes there"
            )
        return info_of(self._key, found)

    def abort(self) -> None:
        """Remove what was written; a part that is still being written finds nothing to write to."""
        if not self._is_complete:
            with translated(self._what):
                self._tree.remove((*self._folder, self._name), keep=len(UPLOADS))

    def _size(self) -> int:
        end = 0
        for expected, number in enumerate(sorted(self._sent), start=1):
            start, length = self._sent[number]
            if (number, start) != (expected, end):
                raise AssertionError(f"part {number} begins at {start}, and the one before it ends at {end}")
            end += length
        return end

    def _open(self, folder: int, flags: int) -> int:
        # Without waiting: a named pipe that somebody put in its place would never open.
        flags |= os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(self._name, flags, FILE_MODE, dir_fd=folder)

    def _reopen(self) -> int:
        try:
            with self._tree.folder(self._folder) as folder:
                return self._open(folder, 0)
        except FileNotFoundError:
            raise StoreError(f"{self._what} is gone: it was given up, here or by somebody else") from None

    def _give_name(self, folder: int) -> os.stat_result:
        with self._tree.folder(self._folder) as source:
            written = os.stat(self._name, dir_fd=source, follow_symlinks=False)
            try:
                link(self._name, source, self._parts[-1], folder, self._what)
            except FileExistsError:
                raise WriteConflict(f"{self._what}: something else stands there now; nothing was overwritten") from None
        sync_folder(folder)
        found = os.stat(self._parts[-1], dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode) or found.st_ino != written.st_ino:
            raise StoreError(f"{self._what} was replaced by something else as soon as it stood")
        return found
