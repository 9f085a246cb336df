"""Durations as people write them: Go's form for how long something may run, calendar form for how long it is kept."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

#: Hours, minutes and seconds, as `kubectl` and Go print them: 6h, 90m, 1h30m.
DURATION_PATTERN = r"^([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$"
#: Hours, days, weeks, months or years: 36h, 30d, 12w, 3mo, 1y.
SPAN_PATTERN = r"^([1-9][0-9]{0,3})(h|d|w|mo|y)$"

_DURATION = re.compile(DURATION_PATTERN)
_SPAN = re.compile(SPAN_PATTERN)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


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


def print_age(age: timedelta) -> str:
    """How old something is, as `kubectl get` prints it (k8s.io/apimachinery, duration.HumanDuration).

    >>> [print_age(timedelta(**age)) for age in ({"seconds": 90}, {"minutes": 5}, {"hours": 7, "minutes": 30}, {"days": 3})]
    ['90s', '5m', '7h30m', '3d']
    """
    seconds = max(0, int(age.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    for below, whole, unit, rest, small in (
        (minutes < 10, minutes, "m", seconds % 60, "s"),
        (hours < 3, minutes, "m", 0, ""),
        (hours < 8, hours, "h", minutes % 60, "m"),
        (hours < 48, hours, "h", 0, ""),
        (days < 8, days, "d", hours % 24, "h"),
        (days < 730, days, "d", 0, ""),
        (days < 2920, days // 365, "y", days % 365, "d"),
    ):
        if below:
            return f"{whole}{unit}{rest}{small}" if rest else f"{whole}{unit}"
    return f"{days // 365}y"


@dataclass(frozen=True)
class Span:
    """How long something is kept: hours, days and weeks of a fixed length, months and years of the calendar."""

    count: int
    unit: str

    def before(self, moment: datetime) -> datetime:
        """The instant that long before an aware one, in UTC; a month that is too short gives its last day.

        The calendar is UTC's, so that a later moment never gives an earlier result, whatever the clocks of a zone do.
        What lies beyond the years that a datetime knows is the first or last of them.

        >>> print(parse_span("1mo").before(datetime(2026, 3, 31, 5, tzinfo=UTC)))
        2026-02-28 05:00:00+00:00
        """
        return self._away(moment, -1)

    def after(self, moment: datetime) -> datetime:
        """The instant that long after an aware one, by the same rules."""
        return self._away(moment, 1)

    def _away(self, moment: datetime, direction: int) -> datetime:
        start, count = moment.astimezone(UTC), direction * self.count
        try:
            if self.unit in _UNITS:
                return start + count * _UNITS[self.unit]
            months = start.year * 12 + start.month - 1 + count * (12 if self.unit == "y" else 1)
            year, month = divmod(months, 12)
            return start.replace(
                year=year, month=month + 1, day=min(start.day, calendar.monthrange(year, month + 1)[1])
            )
        except (OverflowError, ValueError):
            return _FIRST if direction < 0 else _LAST

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"


def parse_span(text: str) -> Span:
    """How long that is; ValueError when it is no such length.

    >>> parse_span("3mo")
    Span(count=3, unit='mo')
    """
    match = _SPAN.match(text)
    if match is None or text.endswith("\n"):
        raise ValueError(
            f"{text!r} is not a length such as 36h, 30d, 8w, 3mo or 1y: a number from 1 to 9999, and h, d, w, mo or y"
        )
    return Span(int(match[1]), match[2])
