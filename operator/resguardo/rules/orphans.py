"""When what lies in a bucket and belongs to no backup is surely nobody's work any more."""

from __future__ import annotations

from datetime import datetime, timedelta

#: A run ends by its own deadline; clocks, a policy that was given a shorter timeout meanwhile, and people need some room.
TIMES = 2
MARGIN = timedelta(days=1)


def orphaned_before(now: datetime, timeout: timedelta) -> datetime:
    """What began before this time is an orphan: twice the policy's timeout and a day ago, all by the store's clock.

    >>> from datetime import UTC
    >>> print(orphaned_before(datetime(2026, 11, 25, 12, tzinfo=UTC), timedelta(hours=6)))
    2026-11-24 00:00:00+00:00
    """
    return now - TIMES * timeout - MARGIN
