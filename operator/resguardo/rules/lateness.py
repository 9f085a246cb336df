"""When a backup is late: the schedule asked for one, and the time in which it could have been made is over."""

from __future__ import annotations

from datetime import datetime, timedelta

from resguardo.api.schedule import next_time


def late_at(
    schedule: str, zone: str, *, last_good_start: datetime, starting_deadline: timedelta, timeout: timedelta
) -> datetime:
    """From this instant on, the promise of the schedule is broken unless a newer good backup is there.

    The first scheduled time after the last good start, plus how late it may start, plus how long it may take. Raises
    ValueError where the schedule names no further time.
    """
    return next_time(schedule, zone, last_good_start) + starting_deadline + timeout
