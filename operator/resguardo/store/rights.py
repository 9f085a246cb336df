"""Tries what keys may do, at a key where no backup ever is, in ways that leave nothing behind.

A read of what is not there is told as missing where it is allowed, a write under a condition that cannot hold as a conflict, and a
removal of nothing succeeds: only where the right is missing is any of them refused. So nothing has to be made to find out, and
nothing that is there is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from contextlib import suppress

from resguardo.api.errors import EncryptionNotHonoured, ObjectMissing, StoreAccessDenied, StoreError, WriteConflict
from resguardo.rules.access import Right, Tried
from resguardo.store.layout import ATTEMPTS_PREFIX, BACKUPS_PREFIX, MANIFEST_NAME, TRASH_PREFIX
from resguardo.store.protocol import Store

#: Named like no backup, so that nobody takes what stands there for one.
_FOLDER = f"{BACKUPS_PREFIX}probe/"
_DATA, _MANIFEST = f"{_FOLDER}data/probe", f"{_FOLDER}{MANIFEST_NAME}"
#: Of no object: whoever writes in place of one with this tag writes nothing.
_NO_ETAG = '"00000000000000000000000000000000"'
_MAX_BYTES = 4096
_PART = b"probe"


def try_rights(store: Store, rights: Collection[Right] = tuple(Right)) -> list[Tried]:
    """What came of trying each; what the store has no word for is left out. Raises StoreUnreachable and BucketNotFound."""
    own = {} if _SPECIAL.isdisjoint(rights) else store.special_rights(_MANIFEST)
    found = []
    for right in rights:
        if right in _SPECIAL:
            if right in own:
                found.append(Tried(right, own[right]))
            continue
        try:
            has = _TRIES[right](store)
        except StoreAccessDenied as refused:
            found.append(Tried(right, False, str(refused)))
        else:
            found.append(Tried(right, has))
    return found


_SPECIAL = frozenset({Right.SEE_VERSIONS, Right.REMOVE_VERSIONS, Right.SEE_LOCKS, Right.LOCK})


def _list(store: Store) -> bool:
    for _ in store.list(_FOLDER):
        break
    return True


def _read(key: str) -> Callable[[Store], bool]:
    def attempt(store: Store) -> bool:
        with suppress(ObjectMissing):
            store.get(key, max_bytes=_MAX_BYTES)
        return True

    return attempt


def _write(key: str) -> Callable[[Store], bool]:
    def attempt(store: Store) -> bool:
        try:
            store.put(key, b"{}", if_match=_NO_ETAG)
        except WriteConflict:
            return True
        # The condition was not honoured, and a probe stands there now.
        with suppress(StoreAccessDenied):
            store.delete(key)
        return True

    return attempt


def _begin(key: str) -> Callable[[Store], bool]:
    def attempt(store: Store) -> bool:
        upload = store.begin_upload(key)
        try:
            # Not each kind of store is told of an upload before its first part. How it is encrypted is another question.
            with suppress(EncryptionNotHonoured):
                upload.upload_part(1, _PART, sha256=hashlib.sha256(_PART).digest(), start=0)
        finally:
            with suppress(StoreAccessDenied):
                upload.abort()
        return True

    return attempt


def _give_up(store: Store) -> bool | None:
    try:
        upload = store.begin_upload(_DATA)
    except StoreAccessDenied:
        return None
    upload.abort()
    return True


def _remove(store: Store) -> bool:
    store.delete(_DATA)
    # In a versioned bucket a mark that it was deleted lies there now.
    with suppress(StoreError):
        store.erase(_DATA)
    return True


_TRIES: dict[Right, Callable[[Store], bool | None]] = {
    Right.LIST: _list,
    Right.READ_FACTS: _read(_MANIFEST),
    Right.READ_DATA: _read(_DATA),
    Right.ADD: _begin(_DATA),
    Right.GIVE_UP: _give_up,
    Right.OVERWRITE: _write(_DATA),
    # A condition of the bucket's may let nobody write there without If-None-Match, which would make an object.
    Right.FORBID: _begin(_MANIFEST),
    Right.RECORD: _write(f"{ATTEMPTS_PREFIX}probe.json"),
    Right.MARK: _write(f"{TRASH_PREFIX}probe.json"),
    Right.REMOVE: _remove,
}
