"""A conditional write that was refused: lost to somebody else, or won before by this very write, whose answer was lost."""

from __future__ import annotations

from datetime import timedelta

from resguardo.api.errors import ObjectCorrupt, ResguardoError, StoreAccessDenied, WriteConflict
from resguardo.store.protocol import ObjectInfo, Store, Stored

#: Of two times of the store's, each without its fraction of a second, the difference may be wrong by less than this.
_ROUNDING = timedelta(seconds=1)


def settle(store: Store, key: str, body: bytes, *, name: str) -> Stored:
    """What stands at the key where it is exactly these bytes; else WriteConflict. `name` says which object, and where."""
    conflict = WriteConflict(
        f"{name} is not as it was expected: something else writes there too; nothing was overwritten"
    )
    try:
        stored = store.get(key, max_bytes=len(body))
    except StoreAccessDenied as error:
        raise WriteConflict(
            f"{name} stands there already, and these keys may not read whether it is what they were to write, as it is where an "
            f"answer was lost; nothing was overwritten ({error})"
        ) from error
    except ResguardoError as error:
        raise conflict from error
    if stored.body != body:
        raise conflict
    return stored


def may_be_ours(store: Store, stored: Stored, *, since: timedelta) -> bool:
    """Whether the store received an object, by its own clock, within the time `since` we began to work with it.

    Some things are written alike by everybody who writes them, at any time: what was decided about a backup, and that one was given
    up. Such an object of before may stand there, of which nothing was asked that is asked now; it cannot be changed any more, and an
    error would come again each night. What is younger is our own, or was written beside us under the same policy.
    """
    return store.clock() - stored.last_modified < since + _ROUNDING


def confirmed(there: ObjectInfo | None, etag: str, *, name: str) -> ObjectInfo:
    """What is there, where it is what was written with that ETag. Raises ObjectCorrupt."""
    if there is None:
        raise ObjectCorrupt(f"{name} is not there, although the store said that it was written")
    if there.etag.strip('"') != etag.strip('"'):
        raise ObjectCorrupt(f"{name} is another object than the one that was written")
    return there
