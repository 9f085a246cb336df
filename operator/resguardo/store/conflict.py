"""A conditional write that was refused: lost to somebody else, or won before by this very write, whose answer was lost."""

from __future__ import annotations

from resguardo.api.errors import ResguardoError, WriteConflict
from resguardo.store.protocol import Store


def settle(store: Store, key: str, body: bytes, *, name: str) -> str:
    """The ETag of what stands at the key where it is exactly these bytes; else WriteConflict. `name` says which object, and where."""
    conflict = WriteConflict(
        f"{name} is not as it was expected: something else writes there too; nothing was overwritten"
    )
    try:
        stored = store.get(key, max_bytes=len(body))
    except ResguardoError as error:
        raise conflict from error
    if stored.body != body:
        raise conflict
    return stored.etag
