"""What processes which were killed have left: uploads that no listing shows, and folders that never became a backup."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from resguardo.api.errors import StoreError
from resguardo.rules.orphans import orphaned_before
from resguardo.store.discard import forbid_manifest
from resguardo.store.layout import BACKUPS_PREFIX, backup_folder, manifest_key
from resguardo.store.protocol import Store

log = structlog.get_logger()


def abort_dead_uploads(store: Store, *, now: datetime, timeout: timedelta) -> None:
    """Abort the uploads under the own prefix that no process can still be at work on; `now` is by the store's clock.

    A courtesy to whoever pays for the bucket: that it fails, or may not be done, is logged and no error. Servers that list
    uploads only under a key's whole name (MinIO) show none here, and forget old ones by themselves.
    """
    try:
        aborted = store.abort_uploads(BACKUPS_PREFIX, begun_before=orphaned_before(now, timeout))
    except StoreError as error:
        log.info("uploads that killed runs may have left were not looked for", problem=str(error))
        return
    if aborted:
        log.warning("aborted uploads that killed runs had left", uploads=aborted)


def remove_dead_folder(store: Store, backup_id: str, *, now: datetime, timeout: timedelta) -> bool:
    """Remove a folder without a manifest that no process can still be at work on; whether it was one.

    `now` is by the store's clock, and so is the age of the newest object in it. The manifest's place is taken before the
    data go, so that one which comes all the same never stands over nothing.
    """
    newest = max((found.last_modified for found in store.list(backup_folder(backup_id))), default=None)
    if newest is None or newest >= orphaned_before(now, timeout) or not forbid_manifest(store, backup_id):
        return False
    erase_whole(store, backup_folder(backup_id), but=manifest_key(backup_id))
    erase_whole(store, manifest_key(backup_id))
    return True


def erase_whole(store: Store, *paths: str, but: str | None = None) -> None:
    """Erase objects and folders, or raise the first thing that could not be removed."""
    for problem in store.erase(*paths, but=but).values():
        raise problem
