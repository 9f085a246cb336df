"""Uploads that processes which were killed have left: in no listing of objects, and paid for all the same."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from resguardo.api.errors import StoreError
from resguardo.rules.orphans import orphaned_before
from resguardo.store.layout import BACKUPS_PREFIX
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
