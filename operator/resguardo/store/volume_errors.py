"""What the system says of a file, as Resguardo's errors: the one place that knows what each number means for a volume."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from resguardo.api.errors import StoreAccessDenied, StoreError, StoreFull, StoreUnreachable


@dataclass(frozen=True)
class _Meaning:
    error: type[StoreError]
    message: str
    numbers: frozenset[int]


def _meaning(error: type[StoreError], message: str, *numbers: int) -> _Meaning:
    return _Meaning(error, message, frozenset(numbers))


_MEANINGS = [
    _meaning(
        StoreFull,
        "{what}: {said}. Make room there, or enlarge the volume or its quota",
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
    ),
    _meaning(StoreAccessDenied, "{what}: {said}: the volume is mounted for reading only", errno.EROFS),
    _meaning(
        StoreAccessDenied,
        "{what}: {said}: user {user} with groups {groups} may not; give the folder to that user or to one of the groups, with "
        "the right to write (a NAS' export is not given to anybody by Kubernetes' fsGroup)",
        errno.EACCES,
        errno.EPERM,
    ),
    _meaning(
        StoreError,
        "{what}: {said}: a file or a symbolic link stands in the way, and links are never followed: remove it",
        errno.ELOOP,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENOTEMPTY,
    ),
    _meaning(
        StoreUnreachable,
        "{what}: {said}. Look at the disk or the file server, and at what lies between",
        *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN),
        *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ENXIO, errno.EREMOTEIO, errno.EAGAIN),
    ),
    _meaning(StoreError, "{what} failed: {said}", *errno.errorcode),
]


def translate(error: OSError, what: str) -> StoreError:
    """The error of Resguardo's family that says the same; `what` says what was done, to which object, and where."""
    number = error.errno or errno.EIO
    found = next((meaning for meaning in _MEANINGS if number in meaning.numbers), _MEANINGS[-1])
    groups = " ".join(map(str, sorted({os.getegid(), *os.getgroups()})))
    return found.error(found.message.format(what=what, said=os.strerror(number), user=os.geteuid(), groups=groups))


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise Resguardo's errors in place of the system's."""
    try:
        yield
    except OSError as error:
        raise translate(error, what) from error
