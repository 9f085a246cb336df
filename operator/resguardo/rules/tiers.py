"""Hours, days, weeks, months and years as the policy's time zone cuts them: for each, one backup stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


class Tier(StrEnum):
    """A kind of period, from the shortest to the longest, by its field in spec.retention."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


@dataclass(frozen=True)
class Period:
    """One hour, day, ISO week, month or year."""

    #: As people write it, and as it sorts: 2026-11-23T02-03, 2026-11-23, 2026-W48, 2026-11, 2026.
    name: str
    #: The first instant after it, in UTC; for all instants of one period the same.
    end: datetime


def period_of(tier: Tier, moment: datetime, zone: ZoneInfo) -> Period:
    """The period of that kind in which an aware moment lies.

    A week is ISO 8601's, from Monday on; an hour that the end of summer time repeats is two.

    >>> monday = datetime(2026, 11, 23, 2, tzinfo=UTC)
    >>> [period_of(tier, monday, ZoneInfo("America/Sao_Paulo")).name for tier in Tier]
    ['2026-11-22T23-03', '2026-11-22', '2026-W47', '2026-11', '2026']
    """
    return _PERIODS[tier](moment.astimezone(zone), zone)


def _hour(local: datetime, _zone: ZoneInfo) -> Period:
    start = local.replace(minute=0, second=0, microsecond=0)
    # An aware time's own arithmetic is that of the wall clock; an hour is one of UTC.
    return Period(_hour_name(start), start.astimezone(UTC) + _HOUR)


def _hour_name(start: datetime) -> str:
    offset = start.strftime("%z")
    return start.strftime("%Y-%m-%dT%H") + (offset[:3] if offset.endswith("00") else offset)


def _day(local: datetime, zone: ZoneInfo) -> Period:
    return Period(local.date().isoformat(), _midnight(local.date() + _DAY, zone))


def _week(local: datetime, zone: ZoneInfo) -> Period:
    year, week, weekday = local.isocalendar()
    return Period(f"{year:04}-W{week:02}", _midnight(local.date() + (8 - weekday) * _DAY, zone))


def _month(local: datetime, zone: ZoneInfo) -> Period:
    year, month = (local.year, local.month + 1) if local.month < 12 else (local.year + 1, 1)
    return Period(local.strftime("%Y-%m"), _midnight(date(year, month, 1), zone))


def _year(local: datetime, zone: ZoneInfo) -> Period:
    return Period(local.strftime("%Y"), _midnight(date(local.year + 1, 1, 1), zone))


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """When a day begins, in UTC; where a zone's clocks are changed at midnight, the later of the two instants."""
    return max(datetime(day.year, day.month, day.day, tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))


_PERIODS: dict[Tier, Callable[[datetime, ZoneInfo], Period]] = {
    Tier.HOURLY: _hour,
    Tier.DAILY: _day,
    Tier.WEEKLY: _week,
    Tier.MONTHLY: _month,
    Tier.YEARLY: _year,
}
