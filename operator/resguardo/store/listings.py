"""What a server lists, believed only where it can be so: within what was asked for, and getting on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from resguardo.api.errors import StoreError

T = TypeVar("T")


def within(full: str, found: str, asked: object) -> str:
    """A key that a listing gave, which has to begin with what was asked for. Raises StoreError where it does not.

    A server, or a proxy before it, that passes over the parameter would have somebody else's objects removed.
    """
    if not found.startswith(full):
        raise StoreError(f"{asked}: the answer names {found[:200]!r}, which was not asked for: it is not believed")
    return found


def each_once(pages: Iterable[Iterable[T]], name_of: Callable[[T], str], asked: object) -> Iterator[T]:
    """What stands on the pages. Raises StoreError where one begins as another did: the listing would never end."""
    begun: set[str] = set()
    for page in pages:
        there = list(page)
        if there:
            first = name_of(there[0])
            if first in begun:
                raise StoreError(f"{asked}: the listing begins again at {first[:200]!r}: it would never end")
            begun.add(first)
        yield from there
