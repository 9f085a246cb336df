"""Late: the first scheduled time after the last good start, plus how late it may start, plus how long it may take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from resguardo.rules.lateness import late_at

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("schedule", "zone", "last", "late"),
    [
        pytest.param("0 2 * * *", "America/Sao_Paulo", "2026-11-23T05:00:07", "2026-11-24T12:00:00", id="daily"),
        pytest.param("0 2 * * *", "UTC", "2026-11-23T01:59:59", "2026-11-23T09:00:00", id="a second before the time"),
        pytest.param("0 2 * * *", "UTC", "2026-11-23T02:00:00", "2026-11-24T09:00:00", id="at the time"),
        pytest.param("0 4 1 * *", "UTC", "2026-11-01T04:00:05", "2026-12-01T11:00:00", id="monthly"),
        pytest.param(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T01:30:02",
            "2026-03-29T08:00:00",
            id="the hour that spring leaves out",
        ),
    ],
)
def test_late_at(schedule: str, zone: str, last: str, late: str) -> None:
    start = datetime.fromisoformat(last).replace(tzinfo=UTC)
    found = late_at(schedule, zone, last_good_start=start, starting_deadline=HOUR, timeout=6 * HOUR)
    assert found == datetime.fromisoformat(late).replace(tzinfo=UTC)


def test_a_schedule_that_names_no_time_raises() -> None:
    with pytest.raises(ValueError, match="names no time"):
        late_at(
            "0 0 31 2 *", "UTC", last_good_start=datetime(2026, 1, 1, tzinfo=UTC), starting_deadline=HOUR, timeout=HOUR
        )
