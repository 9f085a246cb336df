"""How long a backup may count and wait, from the time that the policy allows for all of it."""

from __future__ import annotations

from datetime import timedelta

#: Counting is a help to the restore; the dump is the backup. So most of the time is the dump's.
CENSUS_SHARE = 10
CENSUS_MIN = timedelta(seconds=10)

LOCK_SHARE = 10
LOCK_MIN = timedelta(seconds=10)
#: While a backup waits it holds back DDL on the tables that it has locked already.
LOCK_MAX = timedelta(minutes=5)

#: The second half of the time is for the dump.
LOCK_PATIENCE_SHARE = 2


def census_budget(timeout: timedelta) -> timedelta:
    """For how long tables are counted: a tenth of the policy's timeout, at least ten seconds.

    >>> print(census_budget(timedelta(hours=6)))
    0:36:00
    """
    return max(timeout / CENSUS_SHARE, CENSUS_MIN)


def lock_timeout(timeout: timedelta) -> timedelta:
    """For how long one lock is waited for: a tenth of the policy's timeout, at least ten seconds, at most five minutes.

    >>> print(lock_timeout(timedelta(hours=6)))
    0:05:00
    """
    return min(max(timeout / LOCK_SHARE, LOCK_MIN), LOCK_MAX)


def lock_patience(timeout: timedelta) -> timedelta:
    """For how long a backup whose locks were not to be had begins again: half of the policy's timeout.

    >>> print(lock_patience(timedelta(hours=6)))
    3:00:00
    """
    return timeout / LOCK_PATIENCE_SHARE
