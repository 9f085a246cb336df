"""Durations as people write them: Go's form for how long something may run, calendar form for how long it is kept."""

from __future__ import annotations

import re
from datetime import timedelta

#: Hours, minutes and seconds, as `kubectl` and Go print them: 6h, 90m, 1h30m.
DURATION_PATTERN = r"^([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$"
#: Days, weeks, months or years: 30d, 12w, 3mo, 1y.
PERIOD_PATTERN = r"^[1-9][0-9]{0,3}(d|w|mo|y)$"

_DURATION = re.compile(DURATION_PATTERN)


def parse_duration(text: str) -> timedelta:
    """The length of a duration; ValueError when it is not one.

    >>> parse_duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    match = _DURATION.match(text)
    if not text or match is None:
        raise ValueError(f"{text!r} is not a duration: write it in h, m and s, such as 6h or 1h30m")
    hours, minutes, seconds = (int(group[:-1]) if group else 0 for group in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def print_duration(length: timedelta) -> str:
    """The duration in its shortest written form, whole seconds.

    >>> print_duration(timedelta(seconds=5400))
    '1h30m'
    """
    seconds = int(length.total_seconds())
    units = ((seconds // 3600, "h"), (seconds % 3600 // 60, "m"), (seconds % 60, "s"))
    return "".join(f"{count}{unit}" for count, unit in units if count) or "0s"
