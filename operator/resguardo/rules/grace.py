"""How long a backup that is to go stays marked, so that a person can take it back and no restore loses it half way."""

from __future__ import annotations

from datetime import timedelta

GRACE_MIN = timedelta(days=1)
#: The longest timeout that a RestoreRequest may have.
GRACE_MAX = timedelta(days=7)
#: A restore takes longer than its backup did: indexes are made again, and tables counted.
TIMES = 4


def grace_of(timeout: timedelta) -> timedelta:
    """From a marker to the removal, for a policy whose backups may take `timeout`.

    >>> [str(grace_of(timedelta(hours=hours))) for hours in (1, 12, 168)]
    ['1 day, 0:00:00', '2 days, 0:00:00', '7 days, 0:00:00']
    """
    return min(max(GRACE_MIN, TIMES * timeout), GRACE_MAX)
