"""Which backups stay and which go, rule by rule; the properties of all rules together are in test_retention_properties.py."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from resguardo.api.inventory import BackupFacts
from resguardo.api.policy import Retention
from resguardo.rules.retention import Plan, Reason, Rule, plan_retention, tiers_taken
from tests.unit.histories import DAY, HOUR, at, backup, every

UTC_ZONE = ZoneInfo("UTC")
NOW = at("2026-11-23T12:00")


def planned(
    backups: list[BackupFacts],
    *,
    now: datetime = NOW,
    zone: ZoneInfo = UTC_ZONE,
    pause: Reason | None = None,
    **tiers: Any,
) -> Plan:
    return plan_retention(backups, Retention(**tiers), zone=zone, now=now, pause=pause)


def reasons(plan: Plan) -> dict[str, list[str]]:
    """By day and hour of each start."""
    return {f"{v.backup.started_at:%m-%dT%H}": [str(reason) for reason in v.reasons] for v in plan.verdicts}


def days_of(backups: list[BackupFacts]) -> list[str]:
    return [f"{backup.started_at:%m-%d}" for backup in backups]


# Tiers


def test_the_first_good_scheduled_backup_of_a_period_stands_for_it() -> None:
    history = [
        backup(at("2026-11-21T01:00"), outcome="Failed"),
        backup(at("2026-11-21T02:00"), odd=True),
        backup(at("2026-11-21T03:00"), trigger="Manual"),
        backup(at("2026-11-21T04:00")),
        backup(at("2026-11-21T05:00")),
        backup(at("2026-11-22T02:00")),
        backup(at("2026-11-22T03:00")),
    ]
    assert reasons(planned(history, daily="7d", minimum=1)) == {
        "11-21T01": ["failed"],
        "11-21T02": ["odd"],
        "11-21T03": ["manual"],
        "11-21T04": ["daily 2026-11-21"],
        "11-21T05": ["no rule keeps it"],
        "11-22T02": ["daily 2026-11-22"],
        "11-22T03": ["newest", "minimum"],
    }


def test_of_one_period_that_stands_which_the_store_received_first_whatever_they_say_of_themselves() -> None:
    """given one that says it started before all others, when it came to the store after them, then it stands for nothing"""
    days = every(DAY, first=at("2026-11-01T05:00"), last=at("2026-11-20T05:00"))
    planted = [backup(one.started_at - HOUR, id=f"planted-{one.id}", stored_at=at("2026-11-20T12:00")) for one in days]
    plan = plan_retention([*days, *planted], Retention(daily="30d", minimum=1), zone=UTC_ZONE, now=NOW)
    assert plan.kept == days
    assert plan.removed == planted


def test_where_the_one_that_stood_for_a_period_is_gone_the_next_takes_its_place() -> None:
    history = every(6 * HOUR, first=at("2026-11-20"), last=at("2026-11-22T18:00"))
    without_first = [one for one in history if one.started_at != at("2026-11-21")]
    assert reasons(planned(without_first, daily="7d", minimum=1))["11-21T06"] == ["daily 2026-11-21"]


@pytest.mark.parametrize(
    ("span", "oldest"),
    [
        pytest.param("1d", "11-21", id="the period in which the span begins is kept whole"),
        pytest.param("2d", "11-20", id="two days"),
        pytest.param("1w", "11-15", id="a week"),
        pytest.param("1mo", "10-22", id="a month of the calendar"),
    ],
)
def test_a_period_stays_while_it_reaches_into_the_span_before_the_newest_good_backup(span: str, oldest: str) -> None:
    history = every(DAY, first=at("2026-09-01T02:00"), last=at("2026-11-22T02:00"))
    assert days_of(planned(history, daily=span, minimum=1).kept)[0] == oldest


def test_a_period_that_ends_exactly_where_the_span_begins_goes() -> None:
    history = every(DAY, first=at("2026-11-01"), last=at("2026-11-20"))
    assert days_of(planned(history, daily="5d", minimum=1).kept) == [
        "11-15",
        "11-16",
        "11-17",
        "11-18",
        "11-19",
        "11-20",
    ]


def test_days_weeks_and_months_are_cut_by_the_policys_zone() -> None:
    # 23:00 in São Paulo is 02:00 UTC of the next day.
    history = every(DAY, first=at("2026-10-30T02:00"), last=at("2026-11-03T02:00"))
    kept = planned(history, zone=ZoneInfo("America/Sao_Paulo"), monthly="1y", minimum=1)
    assert reasons(kept) == {
        "10-30T02": ["monthly 2026-10"],
        "10-31T02": ["no rule keeps it"],
        "11-01T02": ["no rule keeps it"],
        "11-02T02": ["monthly 2026-11"],
        "11-03T02": ["newest", "minimum"],
    }


def test_a_backup_tells_every_tier_for_which_it_stands() -> None:
    plan = planned(
        [backup(at("2026-11-01T02:00"))], hourly="36h", daily="30d", weekly="3mo", monthly="1y", yearly="10y"
    )
    assert reasons(plan) == {
        "11-01T02": [
            "newest",
            "hourly 2026-11-01T02+00",
            "daily 2026-11-01",
            "weekly 2026-W44",
            "monthly 2026-11",
            "yearly 2026",
            "minimum",
        ]
    }


@pytest.mark.parametrize(
    ("start", "tiers"),
    [
        pytest.param("2026-11-24T01:00", ["daily"], id="the first of its day"),
        pytest.param("2026-11-23T04:00", [], id="another one of that day"),
        pytest.param("2026-11-30T01:00", ["daily", "weekly"], id="Monday"),
        pytest.param("2026-12-01T01:00", ["daily", "weekly", "monthly"], id="the first of a month, no week before it"),
    ],
)
def test_the_tiers_for_which_a_backup_will_stand_are_known_when_it_starts(start: str, tiers: list[str]) -> None:
    there = [
        backup(at("2026-11-23T02:00")),
        backup(at("2026-11-30T00:00"), outcome="Failed"),
        backup(at("2026-11-30T00:30"), trigger="Manual"),
    ]
    policy = Retention(daily="30d", weekly="3mo", monthly="1y")
    assert tiers_taken(at(start), there, policy, zone=UTC_ZONE) == tiers


# Time


def test_time_is_measured_from_the_newest_good_backup_so_that_a_job_that_stopped_loses_nothing() -> None:
    policy = {"daily": "30d", "weekly": "3mo", "monthly": "1y"}
    history = planned(every(DAY, first=at("2024-11-23T02:00"), last=at("2026-11-23T02:00")), **policy).kept
    failing = every(DAY, first=at("2026-11-24T02:00"), last=at("2027-12-28T02:00"), outcome="Failed")
    later = planned([*history, *failing], now=at("2027-12-28T12:00"), **policy)
    assert later.removed == []


@pytest.mark.parametrize("now", [NOW, at("2030-01-01T00:00"), at("2031-01-01T00:00")])
def test_one_that_started_after_the_store_had_it_is_kept_and_moves_nothing(now: datetime) -> None:
    history = every(DAY, first=at("2026-11-01T02:00"), last=at("2026-11-20T02:00"))
    from_the_future = backup(at("2030-01-01"), stored_at=at("2026-11-21T02:10"))
    plan = planned([*history, from_the_future], now=now, daily="5d", minimum=1)
    assert days_of(plan.kept) == ["11-15", "11-16", "11-17", "11-18", "11-19", "11-20", "01-01"]
    assert [str(reason) for reason in plan.verdicts[-1].reasons] == [
        "clock-suspect started 2030-01-01T00:00:00Z, stored 2026-11-21T02:10:00Z"
    ]


@pytest.mark.parametrize(("later_by", "suspect"), [(0, False), (1, True)])
def test_a_start_is_suspect_from_one_second_after_its_storing_on(later_by: int, suspect: bool) -> None:
    start = at("2026-11-20T02:00")
    assert backup(start, stored_at=start - later_by * timedelta(seconds=1)).is_clock_suspect is suspect


# What always stays


def test_the_newest_good_ones_stay_as_many_as_minimum_says() -> None:
    history = [
        *every(HOUR, first=at("2026-11-20T00:00"), last=at("2026-11-20T09:00")),
        backup(at("2026-11-20T10:00"), outcome="Failed"),
        backup(at("2026-11-20T11:00"), damaged=True),
        backup(at("2026-11-20T12:00"), trigger="Manual"),
    ]
    kept = reasons(planned(history, monthly="1y", minimum=3))
    assert [hour for hour, why in kept.items() if "minimum" in why] == ["11-20T08", "11-20T09", "11-20T12"]


def test_the_last_one_that_a_drill_restored_stays_and_the_one_before_it_does_not() -> None:
    history = [
        backup(at("2026-01-01"), proven_at=at("2026-01-02")),
        backup(at("2026-01-02"), proven_at=at("2026-06-01")),
        backup(at("2026-01-03"), proven_at=at("2026-07-01"), damaged=True),
        backup(at("2026-01-04"), proven_at=at("2026-05-01")),
        *every(DAY, first=at("2026-11-01"), last=at("2026-11-20")),
    ]
    plan = planned(history, daily="5d", minimum=1)
    assert reasons(plan)["01-02T00"] == ["drill-proven 2026-06-01T00:00:00Z"]
    assert days_of(plan.removed)[:3] == ["01-01", "01-03", "01-04"]


def test_what_is_locked_or_pinned_stays() -> None:
    history = [
        backup(at("2025-01-01"), locked=True),
        backup(at("2025-01-02"), pinned=True, locked=True),
        *every(DAY, first=at("2026-11-18"), last=at("2026-11-20")),
    ]
    why = reasons(planned(history, daily="5d", max_age="10d"))
    assert (why["01-01T00"], why["01-02T00"]) == (["locked"], ["locked", "pinned"])


def test_a_manual_backup_stays_as_long_as_a_daily_one_and_stands_for_nothing() -> None:
    manual = every(DAY, first=at("2026-11-10T01:00"), last=at("2026-11-20T01:00"), trigger="Manual")
    newest = backup(at("2026-11-20T02:00"))
    plan = planned([*manual, newest], daily="5d", weekly="3mo", minimum=1)
    assert days_of(plan.removed) == ["11-10", "11-11", "11-12", "11-13", "11-14"]
    assert reasons(plan)["11-20T02"] == ["newest", "daily 2026-11-20", "weekly 2026-W47", "minimum"]


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [("Failed", "failed"), ("Running", "running"), ("Foreign", "foreign"), ("Unreadable", "unknown format")],
)
def test_what_is_no_backup_of_ours_neither_counts_nor_is_touched(outcome: str, reason: str) -> None:
    history = every(DAY, first=at("2026-01-01"), last=at("2026-11-20"))
    strangers = every(DAY, first=at("2026-11-18T01:00"), last=at("2026-11-22T01:00"), outcome=outcome)
    strangers = [one.model_copy(update={"id": f"stranger-{number}"}) for number, one in enumerate(strangers)]
    alone = planned(history, daily="5d", max_age="20d")
    beside = planned([*history, *strangers], daily="5d", max_age="20d")
    assert beside.removed == alone.removed
    assert {str(v.reasons[0]) for v in beside.verdicts if v.backup in strangers} == {reason}


def test_nothing_goes_without_which_another_could_not_be_restored() -> None:
    full = backup(at("2026-10-01"), id="full")
    middle = backup(at("2026-10-02"), id="middle", depends_on=["full"])
    newest = backup(at("2026-11-20"), id="newest", depends_on="middle")
    other = backup(at("2026-10-03"), id="other", depends_on=["full"])
    running = backup(at("2026-11-21"), id="running", outcome="Running", depends_on=["other"])
    why = {
        v.backup.id: [str(r) for r in v.reasons]
        for v in planned([full, middle, other, newest, running], daily="5d", minimum=1, max_age="10d").verdicts
    }
    assert why["full"] == ["depended on by middle", "depended on by other"]
    assert why["middle"] == ["depended on by newest"]
    assert why["other"] == ["depended on by running"]


def test_an_odd_backup_stays_for_the_longest_tier_so_that_a_person_can_accept_it() -> None:
    odd = every(30 * DAY, first=at("2026-01-01"), last=at("2026-10-28"), odd=True)
    history = every(DAY, first=at("2026-11-18T02:00"), last=at("2026-11-20T02:00"))
    plan = planned([*odd, *history], daily="5d", weekly="3mo")
    assert days_of(plan.removed) == ["01-01", "01-31", "03-02", "04-01", "05-01", "05-31", "06-30", "07-30"]
    assert reasons(plan)["08-29T00"] == ["odd"]


def test_without_a_single_good_backup_nothing_goes() -> None:
    history = every(DAY, first=at("2025-01-01"), last=at("2025-03-01"), damaged=True)
    plan = planned(history, daily="5d")
    assert plan.removed == []
    assert {str(reason) for v in plan.verdicts for reason in v.reasons} == {"no good backup to measure time from"}


def test_without_retention_nothing_goes() -> None:
    history = every(DAY, first=at("2020-01-01"), last=at("2020-02-01"))
    assert plan_retention(history, None, zone=UTC_ZONE, now=NOW).removed == []


# maxAge


@pytest.mark.parametrize(("age", "goes"), [("9d23:59:59", False), ("10d00:00:00", True)])
def test_max_age_is_measured_from_now_and_takes_what_every_other_rule_would_keep(age: str, goes: bool) -> None:
    days, clock = age.split("d")
    hours, minutes, seconds = map(int, clock.split(":"))
    old = backup(NOW - timedelta(days=int(days), hours=hours, minutes=minutes, seconds=seconds), proven_at=NOW)
    newest = backup(NOW - HOUR)
    plan = planned([old, newest], daily="30d", minimum=3, max_age="10d")
    assert (old in plan.removed) is goes
    if goes:
        assert reasons(plan)[f"{old.started_at:%m-%dT%H}"] == ["older than maxAge"]


def test_max_age_leaves_the_last_good_backup_of_each_history() -> None:
    former = every(DAY, first=at("2020-01-01"), last=at("2020-01-05"), source="old database")
    present = every(DAY, first=at("2021-01-01T01:00"), last=at("2021-01-05T01:00"), source="new database")
    broken = [backup(at("2021-01-06T01:00"), source="new database", damaged=True)]
    plan = planned([*former, *present, *broken], daily="5y", max_age="1y")
    assert [(one.source, f"{one.started_at:%Y-%m-%d}") for one in plan.kept] == [
        ("old database", "2020-01-05"),
        ("new database", "2021-01-05"),
    ]


def test_max_age_of_one_with_a_suspect_clock_is_measured_by_the_stores() -> None:
    suspect = backup(at("2030-01-01"), stored_at=NOW - 11 * DAY)
    plan = planned([suspect, backup(NOW - HOUR)], daily="30d", max_age="10d")
    assert plan.removed == [suspect]


def test_a_pause_keeps_all_but_what_is_older_than_max_age() -> None:
    history = every(DAY, first=at("2026-11-01"), last=at("2026-11-20"))
    plan = planned(history, daily="2d", minimum=1, max_age="15d", pause=Reason(Rule.PAUSED, "SourceChanged"))
    assert days_of(plan.removed) == ["11-01", "11-02", "11-03", "11-04", "11-05", "11-06", "11-07", "11-08"]
    assert reasons(plan)["11-09T00"] == ["paused: SourceChanged"]
    assert reasons(plan)["11-20T00"] == ["newest", "daily 2026-11-20", "minimum", "paused: SourceChanged"]
    assert plan.unclaimed == []


# Histories


def test_each_source_and_each_method_has_a_history_of_its_own() -> None:
    former = every(DAY, first=at("2026-01-01"), last=at("2026-01-20"), source="old database")
    present = every(DAY, first=at("2026-11-01T01:00"), last=at("2026-11-20T01:00"), source="new database")
    together = planned([*former, *present], daily="5d")
    assert together.removed == planned(former, daily="5d").removed + planned(present, daily="5d").removed


def test_a_plans_hash_changes_with_what_it_removes_and_with_nothing_else() -> None:
    history = every(DAY, first=at("2026-11-01"), last=at("2026-11-20"))
    plan = planned(history, daily="5d")
    assert plan.hash == planned(history[::-1], daily="5d", now=NOW + DAY).hash
    assert plan.hash != planned(history, daily="4d").hash
    assert plan.hash != planned(history[1:], daily="5d").hash


def test_two_years_of_daily_backups_under_30d_3mo_1y_leave_about_fifty() -> None:
    history = every(DAY, first=at("2024-11-24T05:00"), last=at("2026-11-23T05:00"))
    kept = planned(history, daily="30d", weekly="3mo", monthly="1y", zone=ZoneInfo("America/Sao_Paulo")).kept
    assert days_of(kept) == [
        *["11-01", "12-01", "01-01", "02-01", "03-01", "04-01", "05-01", "06-01", "07-01", "08-01"],
        *["08-17", "08-24", "08-31", "09-01", "09-07", "09-14", "09-21", "09-28", "10-01", "10-05", "10-12", "10-19"],
        *["10-24", "10-25", "10-26", "10-27", "10-28", "10-29", "10-30", "10-31"],
        *[f"11-{day:02}" for day in range(1, 24)],
    ]
