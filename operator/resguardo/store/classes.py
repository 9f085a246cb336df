"""Whether a store keeps objects in the classes that a policy names."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress

from resguardo.api.errors import StorageClassRefused, StoreAccessDenied
from resguardo.store.layout import class_probe_key, probe_key
from resguardo.store.protocol import Store


def probe_classes(store: Store, classes: Iterable[str]) -> None:
    """Write a tiny object in each class, and look where it is. Raises StorageClassRefused, naming every one that is not had.

    What counts is the store's word: some take any class and keep everything in their only one. Leaves nothing; where the keys may not
    delete, one object for each class.
    """
    refused = [problem for name in sorted(set(classes)) if (problem := _probe(store, name))]
    if refused:
        raise StorageClassRefused("; ".join(refused))


def _probe(store: Store, storage_class: str) -> str | None:
    key = probe_key(secrets.token_hex(8))
    try:
        store.delete(key)
    except StoreAccessDenied:
        key = class_probe_key(storage_class)
    try:
        store.put(key, b'{"probe":"class"}', storage_class=storage_class)
        there = store.head(key)
    except StorageClassRefused as error:
        return str(error)
    finally:
        with suppress(StoreAccessDenied):
            store.delete(key)
    if there is None or there.storage_class == storage_class:
        return None
    return (
        f"{store.location} keeps an object in class {there.storage_class} that was to be in {storage_class}: name classes in "
        "storageClasses that this store has"
    )
