"""What a policy will hold: its schedule and its retention, played."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from resguardo.api.policy import Retention
from resguardo.rules.retention import plan_retention
from resguardo.rules.simulation import simulate
from resguardo.rules.tiers import Tier
from tests.unit.histories import DAY, at, every

POLICY = Retention(daily="30d", weekly="3mo", monthly="1y")


def test_two_years_of_30d_3mo_1y_settle_at_about_fifty() -> None:
    held = list(
        simulate(
            POLICY,
            "0 2 * * *",
            zone=ZoneInfo("UTC"),
            first=at("2026-01-01"),
            last=at("2027-12-31T23:59"),
            backup_bytes=1000,
        )
    )
    assert len(held) == 730
    assert (held[0].at, held[0].backups, held[29].backups) == (at("2026-01-01T02:00"), 1, 30)
    settled = held[400:]
    assert {holding.bytes // holding.backups for holding in settled} == {1000}
    assert {min(h.backups for h in settled), max(h.backups for h in settled)} == {49, 53}
    assert {h.by_tier[Tier.DAILY] for h in settled} == {31}
    assert {h.by_tier[Tier.WEEKLY] for h in settled} <= {13, 14, 15}
    assert {h.by_tier[Tier.MONTHLY] for h in settled} == {13}


def test_it_holds_what_pruning_once_at_the_end_would_leave() -> None:
    *_, last = simulate(
        POLICY, "0 2 * * *", zone=ZoneInfo("UTC"), first=at("2026-01-01"), last=at("2026-12-31"), backup_bytes=1
    )
    history = every(DAY, first=at("2026-01-01T02:00"), last=at("2026-12-30T02:00"))
    plan = plan_retention(history, POLICY, zone=ZoneInfo("UTC"), now=last.at)
    assert last.backups == len(plan.kept)


def test_the_first_time_may_be_the_schedules_own() -> None:
    first, *_ = simulate(
        POLICY, "0 2 * * *", zone=ZoneInfo("UTC"), first=at("2026-01-01T02:00"), last=at("2026-01-03"), backup_bytes=1
    )
    assert first.at == at("2026-01-01T02:00")


def test_a_schedule_that_names_no_time_says_so() -> None:
    with pytest.raises(ValueError, match="names no time"):
        list(
            simulate(
                POLICY,
                "0 0 31 2 *",
                zone=ZoneInfo("UTC"),
                first=at("2026-01-01"),
                last=at("2026-01-01") + timedelta(days=800),
                backup_bytes=1,
            )
        )
