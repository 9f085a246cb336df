"""The grammar of schedules that Kubernetes (robfig/cron) and cronsim read alike."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field
from pydantic.json_schema import WithJsonSchema

from resguardo.api.fields import cel, validations

_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DAYS = "sun|mon|tue|wed|thu|fri|sat"


def _field(value: str) -> str:
    item = rf"(\*(/[1-9][0-9]?)?|({value})(-({value})(/[1-9][0-9]?)?)?)"
    return rf"{item}(,{item})*"


#: Five fields of lists, ranges and steps; names of months and days in English, either case. Left out because the two
#: readers differ or one has none: `?`, `L`, `#`, `W`, `5/10`, Sunday as 7, `@every`, and time zones inside.
SCHEDULE_PATTERN = (
    r"^(?i:(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|"
    + " ".join(
        [
            _field("[0-5]?[0-9]"),
            _field("[01]?[0-9]|2[0-3]"),
            _field("0?[1-9]|[12][0-9]|3[01]"),
            _field(f"0?[1-9]|1[0-2]|{_MONTHS}"),
            _field(f"0?[0-6]|{_DAYS}"),
        ]
    )
    + "))$"
)

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def next_time(schedule: str, zone: str, after: datetime) -> datetime:
    """The schedule's first time strictly after an aware one, in UTC; ValueError when it has none within cronsim's reach.

    >>> next_time("0 2 * * *", "America/Sao_Paulo", datetime(2026, 11, 23, 5, 0, tzinfo=UTC))
    datetime.datetime(2026, 11, 24, 5, 0, tzinfo=datetime.timezone.utc)
    """
    expression = _MACROS.get(schedule.lower(), schedule)
    try:
        return next(CronSim(expression, after.astimezone(ZoneInfo(zone)))).astimezone(UTC)
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"schedule {schedule!r} names no time: {error}") from None


def _checked_schedule(schedule: str) -> str:
    if not re.match(SCHEDULE_PATTERN, schedule):
        raise ValueError(
            "is not a schedule: five fields (minute, hour, day, month, weekday) such as '0 2 * * *', or @daily and the like"
        )
    next_time(schedule, "UTC", datetime(2026, 1, 1, tzinfo=UTC))
    return schedule


def _checked_zone(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{zone!r} is not a time zone of the IANA database, such as America/Sao_Paulo") from None
    return zone


_RANGES_RISE = cel(
    "self.findAll('[0-9]+-[0-9]+').all(range, int(range.split('-')[0]) <= int(range.split('-')[1]))",
    "a range in a schedule must rise: write 1-5, not 5-1",
)

Schedule = Annotated[
    str,
    AfterValidator(_checked_schedule),
    WithJsonSchema(
        {"type": "string", "minLength": 6, "maxLength": 100, "pattern": SCHEDULE_PATTERN, **validations(_RANGES_RISE)}
    ),
]

TimeZone = Annotated[
    str,
    Field(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"),
    AfterValidator(_checked_zone),
]
