"""Each backup names the one before it: what was made elsewhere, and put here, does not fit in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

#: By so much the clocks of pods and of the store may differ.
CLOCKS_DIFFER = timedelta(minutes=15)


@dataclass(frozen=True)
class Link:
    """A backup whose signature is good. Ids sort by the time of start."""

    id: str
    previous_id: str | None
    started_at: datetime
    #: When the store received its manifest, by its own clock.
    stored_at: datetime


def broken_links(links: Sequence[Link]) -> dict[str, str]:
    """The backups that cannot have been made among the others, by id, each with its reason.

    A backup names the newest committed one that was there when it started. So one which the store had received well before
    (its clock is nobody's who can write there) is that one, or older. What is gone is no break: retention removes backups. Two
    that ran at the same time, and copies, which the store received later, break nothing.
    """
    ordered = sorted(links, key=lambda link: link.stored_at)
    times = [link.stored_at for link in ordered]
    newest = list(accumulate((link.id for link in ordered), max))
    found = {}
    for link in links:
        there = bisect_right(times, link.started_at - CLOCKS_DIFFER)
        before = newest[there - 1] if there else None
        if before is not None and before >= link.id:  # clocks that differ by more, which proves nothing
            before = max((other.id for other in ordered[:there] if other.id < link.id), default=None)
        if reason := _find_break(link, before):
            found[link.id] = reason
    return found


def _find_break(link: Link, before: str | None) -> str | None:
    """`before` is the newest of those that were surely there when it started."""
    if link.previous_id is not None and link.previous_id >= link.id:
        return f"it names {link.previous_id} as the backup before it, which is not before it"
    if before is not None and (link.previous_id is None or link.previous_id < before):
        named = link.previous_id or "none"
        return f"it names {named} as the backup before it, and {before} was here when it started: it was made elsewhere"
    return None
