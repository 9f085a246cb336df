"""One lock for a policy's folder, under which an object is compared and replaced.

flock(2): the system gives it back when its holder ends, however that ends. Linux' NFS client makes of it a lock of the server's
(nfs(5), `local_lock`), unless it was told at mounting to keep locks to itself: two nodes would then not see each other.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resguardo.api.errors import ConditionalWriteNotHonoured, StoreUnreachable
from resguardo.store.volume_tree import FILE_MODE, HIDDEN, Tree

LOCK_NAME = "lock"
#: A holder compares a few bytes and renames: who waits longer than this waits for something that hangs.
LOCK_SECONDS = 30.0
PAUSE_SECONDS = 0.02
MOUNTS = Path("/proc/self/mountinfo")


def keeps_locks_to_itself(mounts: str, device: str) -> bool:
    """Whether a file system, by the lines of /proc/self/mountinfo (proc(5)), is an NFS whose locks no other node sees.

    >>> line = "36 35 0:52 / /volume rw,noatime - nfs4 nas:/backups rw,vers=4.2,local_lock=none"
    >>> [keeps_locks_to_itself(text, "0:52") for text in (line, line.replace("none", "all"), line + ",nolock")]
    [False, True, True]
    """
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2:3] == [device] and after.startswith("nfs"):
            options = set(after.split()[-1].split(","))
            return bool(options & {"nolock", "local_lock=all", "local_lock=flock"})
    return False


@contextmanager
def locked(tree: Tree, where: str) -> Iterator[None]:
    """Hold the lock of a folder. Raises ConditionalWriteNotHonoured where the file system has none that would hold."""
    lock = tree.in_folder(
        [HIDDEN], lambda folder: os.open(LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE, dir_fd=folder)
    )  # fmt: skip
    try:
        device = os.fstat(lock).st_dev
        if keeps_locks_to_itself(MOUNTS.read_text(), f"{os.major(device)}:{os.minor(device)}"):
            raise ConditionalWriteNotHonoured(
                f"{where} is an NFS mounted with locks that no other node sees (nolock or local_lock): two writers could not be "
                "told apart. Mount it without these options"
            )
        _acquire(lock, where)
        # Closed, it is given back; it is the file of no other descriptor.
        yield
    finally:
        os.close(lock)


def _acquire(lock: int, where: str) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StoreUnreachable(
                    f"{where}: another process has held the lock {HIDDEN}/{LOCK_NAME} for more than {LOCK_SECONDS:.0f} s: look for "
                    "one that hangs, here or on another node"
                ) from None
            time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1))  # noqa: S311 - jitter
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
            raise ConditionalWriteNotHonoured(
                f"{where}: its file system keeps no locks ({os.strerror(error.errno)}): two writers could not be told apart. Use "
                "NFS version 4, or a local file system"
            ) from None
