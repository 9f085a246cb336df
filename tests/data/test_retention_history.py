"""Two years of backups, replayed on a real bucket, and large ones: what is left is exactly what was written down before."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from resguardo.api.manifest import Trigger
from tests.fixtures.history import DAY, History
from tests.fixtures.s3 import S3Server

FIRST, LAST = date(2024, 11, 24), date(2026, 11, 23)
#: Between two runs of retention; the last two nights have one each.
EVERY_DAYS = 30
#: Nights on which the backup failed.
FAILED = {date(2024, 12, 25), date(2025, 7, 1), date(2026, 3, 1), date(2026, 9, 7), date(2026, 11, 2)}
#: Days on which somebody made one more at three in the afternoon.
MANUAL = {date(2025, 5, 5), date(2026, 2, 1), date(2026, 10, 1), date(2026, 11, 10)}


def day_range(first: str, last: str) -> list[str]:
    day, end = date.fromisoformat(first), date.fromisoformat(last)
    return [str(day + timedelta(days=number)) for number in range((end - day).days + 1)]


#: Daily for 30 days, weekly for three months, monthly for a year, as they stand after the night of 2026-11-23, a Monday.
#: Written out by a calendar: a period stays as long as its end is not longer ago than that.
EXPECTED = {
    # the first of each month, from that in which the year before ended; of March the second night
    *("2025-11-01", "2025-12-01", "2026-01-01", "2026-02-01", "2026-03-02", "2026-04-01", "2026-05-01", "2026-06-01"),
    *("2026-07-01", "2026-08-01", "2026-09-01", "2026-10-01"),
    # Mondays, from the week that ended after 08-23 on; in the week of 09-07 the Tuesday
    *("2026-08-17", "2026-08-24", "2026-08-31", "2026-09-08", "2026-09-14", "2026-09-21", "2026-09-28"),
    *("2026-10-05", "2026-10-12", "2026-10-19"),
    # every night from 10-24 on but the one that failed, and the afternoon that somebody asked for
    *(set(day_range("2026-10-24", "2026-11-23")) - {"2026-11-02"}),
    "2026-11-10 by hand",
}


def test_two_years_end_in_exactly_the_expected_set(history: History) -> None:
    history.spec = {
        "timeZone": "America/Sao_Paulo",
        "timeout": "1h",
        "retention": {"daily": "30d", "weekly": "3mo", "monthly": "1y"},
    }
    names: dict[str, str] = {}
    day = FIRST
    while day <= LAST:
        at_two = datetime(day.year, day.month, day.day, 5, tzinfo=UTC)  # 02:00 in São Paulo
        if day in FAILED:
            history.add_attempt(at_two, ended=day.day != 1)
        else:
            names[history.add(at_two)] = str(day)
        if day in MANUAL:
            names[history.add(at_two + timedelta(hours=13), trigger=Trigger.MANUAL)] = f"{day} by hand"
        if (day - FIRST).days % EVERY_DAYS == 0 or LAST - day <= timedelta(days=1):
            assert history.enforce().succeeded
            history.age_markers(decisions=True)
        day += timedelta(days=1)
    report = history.enforce()
    assert {names[name] for name in history.backups} == EXPECTED
    assert history.marked == []
    assert report.inventory is not None
    assert (report.inventory.backups, report.inventory.newest) == (len(EXPECTED), datetime(2026, 11, 23, 5, tzinfo=UTC))
    assert report.retention is not None
    assert report.retention.by_tier == {"daily": 30, "weekly": 15, "monthly": 13}
    left = {key.removeprefix("attempts/")[:8] for key in history.under("attempts/")}
    assert left == {"20260301", "20260907", "20261102"}, "failures of more than a year ago are forgotten"
    assert {key.split("/")[0] for key in history.under()} == {"attempts", "backups", "resguardo.json", "trash"}
    assert len(history.under("trash/")) < 30, "what was decided in the years before is cleared away"


def test_five_thousand_backups_are_planned_and_what_goes_is_marked(history: History) -> None:
    history.spec["retention"] = {"daily": "4990d"}
    last = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    ids = [history.add(last - number * DAY) for number in reversed(range(5000))]
    began = time.monotonic()
    report = history.enforce()
    print(f"{time.monotonic() - began:.1f} s for 5,000 backups")
    assert report.reason == "RetentionEnforced"
    assert history.marked == ids[:9]
    assert report.inventory is not None
    assert report.inventory.backups == 5000


def test_in_a_bucket_that_keeps_versions_what_is_removed_is_gone_with_its_bytes(
    s3_versioning_server: S3Server, s3_versioned_bucket: str, tmp_path: Path
) -> None:
    history = History(s3_versioning_server, s3_versioned_bucket, tmp_path)
    history.claim()
    ids = history.add_days(10)
    for name in ids:
        history.put(f"attempts/{name}.json", f'{{"id":"{name}","number":1}}'.encode())
        history.put(f"attempts/{name}.json", f'{{"id":"{name}","number":2}}'.encode())
    history.enforce()
    history.age_markers()
    history.enforce()
    assert history.backups == ids[2:]
    answer = s3_versioning_server.root.list_object_versions(Bucket=s3_versioned_bucket)
    there = [version["Key"] for version in [*answer["Versions"], *answer.get("DeleteMarkers", [])]]
    about = [key for key in there if any(name in key for name in ids[:2])]
    assert len(about) == 2, "what was decided about each of the two, for now"
    assert all(key.startswith("prod/trash/") for key in about)
