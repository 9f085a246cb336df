"""A backup whose objects lie in an archive is asked for, and waited for, before it is read."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta

import structlog

from resguardo.api.durations import print_duration
from resguardo.api.errors import DeadlineExceeded, StoreUnreachable
from resguardo.api.manifest import Manifest
from resguardo.jobs.progress import Progress
from resguardo.store.layout import object_key
from resguardo.store.protocol import Availability, Store

log = structlog.get_logger()

#: Between two looks. An archive answers after hours, and a look is one request for each object.
PAUSE_SECONDS = 30.0
PAUSE_MAX_SECONDS = 300.0
#: How much longer than whoever asks may be at work an object stays readable.
MARGIN = timedelta(days=1)


def ask_for(store: Store, manifest: Manifest, *, keep: timedelta) -> list[str]:
    """Ask for what of a backup cannot be read at once, to be readable for as long as `keep`; the keys of all that is awaited."""
    keys = [object_key(manifest.id, key) for entry in manifest.objects for key in (entry.key, entry.blocks_key)]
    found = {key: store.availability(key) for key in keys}
    for key, availability in found.items():
        if availability is Availability.FROZEN:
            store.bring_back(key, keep=keep + MARGIN)
    return [key for key, availability in found.items() if _is_awaited(availability)]


def bring_back(store: Store, manifest: Manifest, progress: Progress, *, deadline: datetime) -> None:
    """Return once all of a backup can be read; at once where nothing of it lies in an archive.

    Raises DeadlineExceeded as soon as it is sure that the deadline comes first; what was asked for goes on in the store.
    """
    began = datetime.now(UTC)
    awaited = ask_for(store, manifest, keep=deadline - began)
    if not awaited:
        return
    progress.step(
        f"backup {manifest.id} lies in an archive: it was asked for, and is waited for until {deadline:%Y-%m-%dT%H:%MZ} at the latest"
    )
    pause = PAUSE_SECONDS
    while awaited:
        wait = pause * random.uniform(0.5, 1)  # noqa: S311 - jitter
        if datetime.now(UTC) + timedelta(seconds=wait) >= deadline:
            raise DeadlineExceeded(
                f"backup {manifest.id} lies in an archive, and {awaited[0]} could not be read in time. The store goes on bringing "
                "it back: ask again later, or with a longer timeout (of S3, GLACIER takes 3 to 5 hours, DEEP_ARCHIVE up to 12)"
            )
        time.sleep(wait)
        pause = min(2 * pause, PAUSE_MAX_SECONDS)
        awaited = _still_awaited(store, awaited)
        waited = print_duration(datetime.now(UTC) - began)
        state = f"{len(awaited)} objects are to come" if awaited else "it can be read"
        progress.step(f"waited {waited} for backup {manifest.id}: {state}")


def _still_awaited(store: Store, keys: list[str]) -> list[str]:
    try:
        return [key for key in keys if _is_awaited(store.availability(key))]
    except StoreUnreachable as problem:
        log.warning("the store does not answer; looking again later", problem=str(problem))
        return keys


def _is_awaited(availability: Availability | None) -> bool:
    """What is not there at all is told by whoever reads it."""
    return availability in (Availability.FROZEN, Availability.COMING_BACK)
