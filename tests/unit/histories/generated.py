"""Histories and policies as hypothesis makes them: gaps, failures, jumping clocks, summer time, several backups a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from resguardo.api.inventory import BackupFacts, Outcome
from resguardo.api.manifest import Trigger
from resguardo.api.policy import Retention
from resguardo.rules.tiers import Tier


def moments(first: str, last: str) -> st.SearchStrategy[datetime]:
    """Times in UTC between two days."""
    return st.datetimes(datetime.fromisoformat(first), datetime.fromisoformat(last)).map(
        lambda moment: moment.replace(tzinfo=UTC)
    )


#: Each has a trap: midnight that is left out, half hours, quarters, a day that never was, none at all.
ZONES = st.sampled_from(
    ["UTC", "America/Sao_Paulo", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
).map(ZoneInfo)

#: Around summer time, a leap day, ISO week 53 and a new year, and the day that Apia left out.
_BEGINNINGS = st.sampled_from(
    [
        datetime(2026, 3, 28, 20, tzinfo=UTC),
        datetime(2026, 10, 24, 20, tzinfo=UTC),
        datetime(2018, 11, 3, 20, tzinfo=UTC),
        datetime(2024, 2, 27, tzinfo=UTC),
        datetime(2026, 12, 29, tzinfo=UTC),
        datetime(2011, 12, 29, tzinfo=UTC),
    ]
)
_STEPS = st.one_of(
    st.sampled_from([timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=1), timedelta(days=7)]),
    st.timedeltas(timedelta(seconds=1), timedelta(days=3)),
    st.timedeltas(timedelta(days=5), timedelta(days=200)),
)
_SPANS = {
    Tier.HOURLY: st.sampled_from(["1h", "5h", "36h", "3d"]),
    Tier.DAILY: st.sampled_from(["1d", "36h", "5d", "30d", "1mo"]),
    Tier.WEEKLY: st.sampled_from(["3d", "1w", "4w", "1mo", "3mo"]),
    Tier.MONTHLY: st.sampled_from(["10d", "1mo", "3mo", "1y"]),
    Tier.YEARLY: st.sampled_from(["1y", "3y"]),
}
SOURCES = st.sampled_from([None, "7301/agepar", "7302/agepar"])


@st.composite
def policies(draw: st.DrawFn, *, max_age: bool = True) -> Retention:
    """A policy of at least one tier, which may have spans shorter than its periods, or than those of another tier."""
    tiers = draw(st.sets(st.sampled_from(Tier), min_size=1))
    written: dict[str, Any] = {tier.value: draw(_SPANS[tier]) for tier in Tier if tier in tiers}
    written["minimum"] = draw(st.sampled_from([1, 2, 3, 7]))
    if max_age:
        written["max_age"] = draw(st.sampled_from([None, None, "2d", "20d", "1y"]))
    return Retention(**written)


@st.composite
def histories(draw: st.DrawFn, *, max_size: int = 25) -> list[BackupFacts]:
    """Everything that may lie under one prefix, in the order in which the store received it."""
    store_clock = draw(_BEGINNINGS)
    made: list[BackupFacts] = []
    for number in range(draw(st.integers(0, max_size))):
        store_clock += draw(_STEPS)
        made.append(draw(_backups(f"{number:03}", store_clock, [earlier.id for earlier in made])))
    return made


@st.composite
def _backups(draw: st.DrawFn, backup_id: str, store_clock: datetime, earlier: list[str]) -> BackupFacts:
    usual = draw(st.integers(0, 9)) < 7
    clock_is_off_by = timedelta() if usual else draw(st.sampled_from(_JUMPS))
    started_at = store_clock + clock_is_off_by - timedelta(minutes=10)
    facts: dict[str, Any] = {
        "id": backup_id,
        "started_at": started_at,
        "stored_at": store_clock,
        "outcome": "Succeeded",
    }
    if not usual:
        facts |= {
            "outcome": draw(st.sampled_from([Outcome.SUCCEEDED, *Outcome])),
            "trigger": draw(st.sampled_from(Trigger)),
            "pinned": draw(_RARELY),
            "locked": draw(_RARELY),
            "odd": draw(_RARELY),
            "damaged": draw(_RARELY),
            "proven_at": store_clock + timedelta(days=1) if draw(_RARELY) else None,
            "source": draw(SOURCES),
            "depends_on": draw(st.lists(st.sampled_from(earlier), max_size=2)) if earlier else [],
        }
    return BackupFacts(**facts)


_RARELY = st.integers(0, 9).map(lambda number: number == 0)
_JUMPS = [
    timedelta(),
    timedelta(hours=-1),
    timedelta(hours=1),
    timedelta(days=-40),
    timedelta(days=400),
    timedelta(days=30000),
    timedelta(days=-15000),
]
