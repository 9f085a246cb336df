"""Whether a store locks what it is told to lock, and locks for a whole backup."""

from __future__ import annotations

import secrets
from datetime import timedelta
from functools import partial

from resguardo.api.store_fields import ObjectLock
from resguardo.rules.locks import Lock
from resguardo.store.layout import LOCK_PROBE_KEY, backup_folder, manifest_key
from resguardo.store.protocol import Store
from resguardo.store.threads import in_threads

#: Nobody can remove the probe before that.
PROBE_LOCK = timedelta(minutes=1)


def probe_locks(store: Store, asked: ObjectLock) -> None:
    """Lock a tiny object for a minute, and then a little longer. Raises ObjectLockNotHonoured, and StoreAccessDenied for each right.

    One object stays, which each probe writes again; in a bucket that keeps versions, which is one that has locks, former versions go
    with it when the keys may remove them.
    """
    now = store.clock()
    lock = Lock(asked.mode, now + PROBE_LOCK)
    there = store.lock_of(LOCK_PROBE_KEY)
    if there is None or there.until <= now:
        store.erase(LOCK_PROBE_KEY)
        store.locking(lock).put(LOCK_PROBE_KEY, b'{"probe":"%s"}' % secrets.token_hex(16).encode())
    else:
        # A server without versions would refuse to write over it.
        lock = there
    store.extend_lock(LOCK_PROBE_KEY, Lock(lock.mode, lock.until + timedelta(seconds=1)))


def lock_backup(store: Store, backup_id: str, lock: Lock) -> bool:
    """Let all of a backup be held at least so long; whether anything had to be done.

    The manifest comes last, so that its lock says that all others stand.
    """
    manifest = manifest_key(backup_id)
    there = store.lock_of(manifest)
    if there is not None and there.holds(lock):
        return False
    others = [found.key for found in store.list(backup_folder(backup_id)) if found.key != manifest]
    in_threads(partial(_extend, store, lock), others, name="locks")
    store.extend_lock(manifest, lock)
    return True


def _extend(store: Store, lock: Lock, key: str) -> None:
    store.extend_lock(key, lock)


def held_like(store: Store, backup_id: str) -> Store:
    """The store as it writes what is added to a backup later: locked for as long as the manifest is, if it still is."""
    there = store.lock_of(manifest_key(backup_id))
    return store.locking(there) if there is not None and there.until > store.clock() else store
