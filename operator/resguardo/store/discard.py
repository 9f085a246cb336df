"""Removes what a backup that failed has left, so that nothing of it can ever be taken for a backup.

A manifest whose answer never came may still be on its way. Whoever wants to remove its data creates, under the manifest's
own key and with the same condition that nothing is there, a few words that say "discarded": of the two writes one wins, and
the store decides which. Where the words win, the manifest can never arrive, and the data may go. Where the manifest won, the
backup is whole. Where neither is known, everything stays: data without a manifest are no backup in anybody's listing.
"""

from __future__ import annotations

from contextlib import suppress

from resguardo.api.errors import StoreError, StoreUnreachable, WriteConflict
from resguardo.store.layout import (
    backup_folder,
    census_key,
    dump_key,
    encrypted,
    globals_key,
    manifest_key,
    object_key,
)
from resguardo.store.protocol import Store

#: What stands in a manifest's place where a backup was given up after its manifest had been sent.
DISCARDED = b'{"discarded":true}\n'


def discard_backup(store: Store, backup_id: str, *, manifest_was_sent: bool = False) -> bool:
    """Remove what a backup that failed has left; True when nothing of it can count any more.

    A backup whose manifest stands is whole: everything was confirmed before the manifest was written, so it is left as it
    is. Raises the store's errors, such as StoreAccessDenied for a key that may not delete; what was left is then orphaned,
    and no backup in anybody's listing. Of a store that does not answer nothing more is asked.
    """
    folder = backup_folder(backup_id)
    # Some servers list uploads only under a key's whole name, and some keys may not list them at all.
    keys = [name for key in (dump_key(), globals_key(), census_key()) for name in (key, encrypted(key))]
    for prefix in [folder, *(object_key(backup_id, key) for key in keys)]:
        try:
            store.abort_uploads(prefix)
        except StoreUnreachable:
            raise
        except StoreError:
            continue
    if manifest_was_sent:
        if not forbid_manifest(store, backup_id):
            return False
    elif store.head(manifest_key(backup_id)) is not None:
        return False
    # With the versions, where the bucket keeps any: nobody would find them again. What is locked stays until it is not.
    for problem in store.erase(folder, but=manifest_key(backup_id)).values():
        raise problem
    return True


def forbid_manifest(store: Store, backup_id: str) -> bool:
    """Make that a manifest which is still on its way can never arrive; False where one stands already.

    Of this write and the manifest's own one succeeds: both ask for nothing to be there.
    """
    with suppress(WriteConflict):
        store.put(manifest_key(backup_id), DISCARDED, if_absent=True)
        return True
    return False
