"""Folders and files under one folder, reached part by part, so that no link and no `..` leads out of it.

Every folder is opened relative to the one above it, and none through a symbolic link: what somebody puts in the way while a
path is walked is met as an error, not followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from resguardo.api.errors import BucketNotFound, StoreError

T = TypeVar("T")

#: What one part of a path may have in bytes, on every file system that a volume is likely to have (NAME_MAX).
NAME_MAX_BYTES = 255
#: What a key may have, as with S3; who makes deeper folders makes no objects.
KEY_MAX_BYTES = 1024
#: In it stand the objects that are not whole yet; no listing shows it, and no key may name it.
HIDDEN = ".resguardo"
#: For the owner, and for the group, which in a pod is the volume's, to read; nobody else.
FILE_MODE, FOLDER_MODE = 0o640, 0o750
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: How often a folder is made again that somebody else, who found it empty, takes away.
ATTEMPTS = 10

Parts = tuple[str, ...]


def parts_of(key: str) -> Parts:
    """A key's folders and its name. Raises StoreError for one that no file can have."""
    parts = tuple(key.split("/"))
    if len(key.encode()) > KEY_MAX_BYTES:
        raise StoreError(
            f"{key[:80]!r}… cannot be a file's path: it has {len(key.encode())} bytes, and a key has at most {KEY_MAX_BYTES}"
        )
    for part in parts:
        if part in ("", ".", "..", HIDDEN) or "\0" in part:
            raise StoreError(f"{key!r} cannot be a file's path: {part!r} is no name that a file may have here")
        if len(part.encode()) > NAME_MAX_BYTES:
            raise StoreError(
                f"{key!r} cannot be a file's path: {part[:40]!r}… has {len(part.encode())} bytes, and a file's name has at most "
                f"{NAME_MAX_BYTES}"
            )
    return parts


def sync_folder(folder: int) -> None:
    """Have a folder's names on disk; some file systems cannot be asked for that, and do it at once."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


class Tree:
    """`root` is where the volume is mounted, `base` the folders in it that hold a policy's objects."""

    def __init__(self, root: Path, base: Parts) -> None:
        self.root, self._base = root, base

    @contextmanager
    def folder(self, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
        """A folder, open until the block is left. Raises FileNotFoundError, or makes what is missing of the path to it."""
        try:
            folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise BucketNotFound(
                f"there is no folder {self.root}: mount the volume there, or name in RESGUARDO_VOLUME where it is"
            ) from None
        try:
            for part in (*self._base, *parts):
                below = _enter(folder, part, make=make)
                os.close(folder)
                folder = below
            yield folder
        finally:
            os.close(folder)

    def in_folder(self, parts: Sequence[str], act: Callable[[int], T]) -> T:
        """Do something in a folder that is made where it is missing, again where it is taken away at that very moment."""
        for attempt in range(ATTEMPTS):
            try:
                with self.folder(parts, make=True) as folder:
                    return act(folder)
            except FileNotFoundError:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def walk(self, above: Sequence[str], prefix: str) -> Iterator[tuple[str, os.stat_result]]:
        """Every file below a folder whose path from there begins with the prefix, in the order of the path's UTF-8 bytes.

        Holds the names of one folder of each level at a time. Links, names that are no UTF-8, and what lies deeper than a key
        reaches, are passed over.
        """
        *folders, begin = prefix.split("/")
        if any(part in ("", ".", "..", HIDDEN) for part in folders):
            return
        with suppress(FileNotFoundError, NotADirectoryError), self.folder([*above, *folders]) as folder:
            yield from _walk(folder, "".join(f"{part}/" for part in folders), begin)

    def remove(self, parts: Parts, *, keep: int = 0) -> bool:
        """Remove a file, and the folders that this leaves empty, the first `keep` of its path aside; whether it was there."""
        try:
            with self.folder(parts[:-1]) as folder:
                os.unlink(parts[-1], dir_fd=folder)
                sync_folder(folder)
        except (FileNotFoundError, NotADirectoryError):
            return False
        self.remove_empty(parts[:-1], keep=keep)
        return True

    def remove_empty(self, parts: Parts, *, keep: int = 0) -> None:
        """Remove a folder and those above it, as far as they are empty; never the first `keep`, nor the root."""
        while len(parts) > keep:
            try:
                with self.folder(parts[:-1]) as folder:
                    os.rmdir(parts[-1], dir_fd=folder)
            except OSError:
                # Not empty, gone already, or not ours to remove: an empty folder is no object, and harms nobody.
                return
            parts = parts[:-1]

    def remove_hollow(self, parts: Parts) -> None:
        """Remove all folders below one, and itself, that hold no file."""
        with suppress(FileNotFoundError, NotADirectoryError), self.folder(parts) as folder:
            _remove_hollow(folder, len("/".join(parts)))
        self.remove_empty(parts)


def _enter(folder: int, part: str, *, make: bool) -> int:
    try:
        return os.open(part, _OPEN_FOLDER, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):
        os.mkdir(part, FOLDER_MODE, dir_fd=folder)
        sync_folder(folder)
    return os.open(part, _OPEN_FOLDER, dir_fd=folder)


def _walk(folder: int, path: str, begin: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        # With its slash a folder's name sorts where the keys below it do.
        names = sorted(
            os.fsencode(entry.name) + (b"/" if entry.is_dir(follow_symlinks=False) else b"")
            for entry in entries
            if entry.name.startswith(begin) and entry.name != HIDDEN
        )
    for name in names:
        with suppress(FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
            if len(path.encode()) + len(name) > KEY_MAX_BYTES:
                continue
            if name.endswith(b"/"):
                below = os.open(name[:-1], _OPEN_FOLDER, dir_fd=folder)
                try:
                    yield from _walk(below, path + name.decode(), "")
                finally:
                    os.close(below)
            elif stat.S_ISREG((found := os.stat(name, dir_fd=folder, follow_symlinks=False)).st_mode):
                yield path + name.decode(), found


def _remove_hollow(folder: int, bytes_above: int) -> None:
    if bytes_above > KEY_MAX_BYTES:
        return
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False) and entry.name != HIDDEN]
    for name in names:
        with suppress(OSError):
            below = os.open(name, _OPEN_FOLDER, dir_fd=folder)
            try:
                _remove_hollow(below, bytes_above + 1 + len(os.fsencode(name)))
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=folder)
