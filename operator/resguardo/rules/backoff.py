"""How long to wait before trying again: doubling, bounded, and spread so that many do not come back at once."""

from __future__ import annotations

import hashlib
from datetime import timedelta


def delay(attempt: int, *, first: timedelta, most: timedelta, seed: str) -> timedelta:
    """The wait after the `attempt`-th failure (from 1): `first` doubled each time up to `most`, and up to a fifth more.

    The share on top comes from the seed, so that one decision made twice gives one answer.

    >>> first, most = timedelta(seconds=15), timedelta(minutes=5)
    >>> waits = [delay(attempt, first=first, most=most, seed="uid") for attempt in (1, 2, 3, 9)]
    >>> [wait // first for wait in waits[:3]], waits[3] >= most
    ([1, 2, 4], True)
    """
    doubled = min(first * 2.0 ** min(max(attempt, 1) - 1, 30), most)
    digest = hashlib.sha256(f"{seed}/{attempt}".encode()).digest()
    return doubled * (1 + digest[0] / 255 / 5)
