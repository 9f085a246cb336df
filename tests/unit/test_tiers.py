"""Periods as a time zone cuts them: names, and the instant after each."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resguardo.rules.tiers import Tier, period_of
from tests.unit.histories import at
from tests.unit.histories.generated import moments

ZONES = ["UTC", "America/Sao_Paulo", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]


@pytest.mark.parametrize(
    ("tier", "zone", "moment", "name", "end"),
    [
        pytest.param(Tier.HOURLY, "UTC", "2026-11-23T02:59:59", "2026-11-23T02+00", "2026-11-23T03:00", id="an hour"),
        pytest.param(
            Tier.HOURLY,
            "Asia/Kathmandu",
            "2026-11-23T02:14",
            "2026-11-23T07+0545",
            "2026-11-23T02:15",
            id="by quarters",
        ),
        pytest.param(
            Tier.HOURLY, "Europe/Berlin", "2026-10-25T00:30", "2026-10-25T02+02", "2026-10-25T01:00", id="before 3 is 2"
        ),
        pytest.param(
            Tier.HOURLY, "Europe/Berlin", "2026-10-25T01:30", "2026-10-25T02+01", "2026-10-25T02:00", id="2 once more"
        ),
        pytest.param(
            Tier.DAILY, "UTC", "2026-11-23T23:59:59", "2026-11-23", "2026-11-24", id="a second before midnight"
        ),
        pytest.param(Tier.DAILY, "UTC", "2026-11-24T00:00", "2026-11-24", "2026-11-25", id="midnight"),
        pytest.param(
            Tier.DAILY,
            "America/Sao_Paulo",
            "2026-11-24T02:59",
            "2026-11-23",
            "2026-11-24T03:00",
            id="evening in the west",
        ),
        pytest.param(
            Tier.DAILY, "Europe/Berlin", "2026-03-29T12:00", "2026-03-29", "2026-03-29T22:00", id="a day of 23 hours"
        ),
        pytest.param(
            Tier.DAILY,
            "America/Sao_Paulo",
            "2018-11-04T02:59",
            "2018-11-03",
            "2018-11-04T03:00",
            id="no midnight there",
        ),
        pytest.param(Tier.WEEKLY, "UTC", "2026-11-22T23:59", "2026-W47", "2026-11-23", id="Sunday ends a week"),
        pytest.param(Tier.WEEKLY, "UTC", "2026-11-23", "2026-W48", "2026-11-30", id="Monday begins one"),
        pytest.param(Tier.WEEKLY, "UTC", "2027-01-01", "2026-W53", "2027-01-04", id="week 53"),
        pytest.param(Tier.WEEKLY, "UTC", "2024-12-31", "2025-W01", "2025-01-06", id="next year's first week"),
        pytest.param(Tier.MONTHLY, "UTC", "2024-02-29T12:00", "2024-02", "2024-03-01", id="a leap day"),
        pytest.param(Tier.MONTHLY, "UTC", "2026-12-31", "2026-12", "2027-01-01", id="December"),
        pytest.param(
            Tier.YEARLY, "America/Sao_Paulo", "2027-01-01T02:00", "2026", "2027-01-01T03:00", id="New Year's Eve"
        ),
    ],
)
def test_a_period_has_a_name_and_an_end(tier: Tier, zone: str, moment: str, name: str, end: str) -> None:
    found = period_of(tier, at(moment), ZoneInfo(zone))
    assert (found.name, found.end) == (name, at(end))


MOMENTS = moments("1971-01-01", "2100-01-01")


@given(moment=MOMENTS, other=MOMENTS, zone=st.sampled_from(ZONES).map(ZoneInfo), tier=st.sampled_from(Tier))
def test_periods_of_one_name_are_one_period(moment: datetime, other: datetime, zone: ZoneInfo, tier: Tier) -> None:
    one, two = sorted((moment, other))
    first, second = period_of(tier, one, zone), period_of(tier, two, zone)
    assert first.end > one
    assert first.end <= second.end
    assert (first == second) == (first.name == second.name)


@given(moment=MOMENTS, zone=st.sampled_from(ZONES).map(ZoneInfo), tier=st.sampled_from(Tier))
def test_a_period_ends_where_the_next_one_begins(moment: datetime, zone: ZoneInfo, tier: Tier) -> None:
    period = period_of(tier, moment, zone)
    assert period_of(tier, period.end, zone) != period
    assert period_of(tier, period.end - timedelta(microseconds=1), zone) == period
