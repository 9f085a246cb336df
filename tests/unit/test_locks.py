"""How long backups are locked: never for longer than what is known of them, and in the end as long as they are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resguardo.api.inventory import BackupFacts, Outcome
from resguardo.api.manifest import Trigger
from resguardo.api.policy import Retention
from resguardo.api.store_fields import ObjectLock
from resguardo.rules.locks import Lock, lock_of, lock_while_made, locks_of, longest_lock
from resguardo.rules.retention import plan_retention
from resguardo.rules.tiers import Tier

UTC_ZONE = ZoneInfo("UTC")
MONDAY = datetime(2026, 11, 23, 2, tzinfo=UTC)
DAY = timedelta(days=1)
RETENTION = Retention(daily="30d", weekly="3mo", monthly="1y")
D, W, M = Tier.DAILY, Tier.WEEKLY, Tier.MONTHLY


def asked(**by_tier: str) -> ObjectLock:
    return ObjectLock.model_validate({"mode": "Compliance", "byTier": by_tier})


ALL = asked(daily="30d", weekly="3mo", monthly="1y")


def test_while_it_is_made_a_backup_is_locked_for_its_timeout_and_a_day() -> None:
    lock = lock_while_made(ALL, started_at=MONDAY, timeout=timedelta(hours=6))
    assert lock == Lock("Compliance", MONDAY + timedelta(hours=30))


@pytest.mark.parametrize(
    ("lock", "tiers", "trigger", "until"),
    [
        (ALL, [D], Trigger.SCHEDULED, datetime(2026, 12, 23, 2, tzinfo=UTC)),
        (ALL, [D, W], Trigger.SCHEDULED, datetime(2027, 2, 23, 2, tzinfo=UTC)),
        (ALL, [D, W, M], Trigger.SCHEDULED, datetime(2027, 11, 23, 2, tzinfo=UTC)),
        (asked(daily="30d"), [D, W, M], Trigger.SCHEDULED, datetime(2026, 12, 23, 2, tzinfo=UTC)),
        (asked(daily="1y", weekly="12w"), [D, W], Trigger.SCHEDULED, datetime(2027, 11, 23, 2, tzinfo=UTC)),
        (ALL, [], Trigger.MANUAL, datetime(2026, 12, 23, 2, tzinfo=UTC)),
        # the second of a day stands for nothing, and a tier without a lock is none
        (ALL, [], Trigger.SCHEDULED, None),
        (asked(weekly="12w"), [D], Trigger.SCHEDULED, None),
        (asked(weekly="12w"), [], Trigger.MANUAL, None),
    ],
)
def test_a_good_backup_is_locked_as_the_tiers_say_for_which_it_stands(
    lock: ObjectLock, tiers: list[Tier], trigger: Trigger, until: datetime | None
) -> None:
    found = lock_of(lock, tiers, trigger, RETENTION, made_at=MONDAY)
    assert (found.until if found else None) == until


def test_the_longest_lock_of_a_policy_is_by_length_and_not_by_tier() -> None:
    found = longest_lock(asked(daily="13mo", weekly="1y"))
    assert found is not None
    assert (found[0], str(found[1])) == (D, "13mo")
    assert longest_lock(None) is None


def backup(start: datetime, **changes: object) -> BackupFacts:
    facts = {
        "id": f"{start:%Y%m%dT%H%M%SZ}-abcdef",
        "startedAt": start,
        "storedAt": start,
        "outcome": Outcome.SUCCEEDED,
    }
    return BackupFacts.model_validate(facts | {"source": "1/a", "method": "pgDump"} | changes)


def wanted(*backups: BackupFacts, lock: ObjectLock = ALL, now: datetime) -> dict[str, Lock]:
    plan = plan_retention(backups, RETENTION, zone=UTC_ZONE, now=now)
    return locks_of(plan, lock, RETENTION, now=now)


def test_one_that_comes_to_stand_for_the_week_is_to_be_locked_for_that() -> None:
    monday, tuesday = backup(MONDAY), backup(MONDAY + DAY)
    now = MONDAY + 2 * DAY
    assert wanted(monday, tuesday, now=now)[tuesday.id].until == datetime(2026, 12, 24, 2, tzinfo=UTC)
    # Monday's is found damaged: Tuesday's stands for the week, and for the month
    damaged = monday.model_copy(update={"damaged": True})
    assert wanted(damaged, tuesday, now=now) == {tuesday.id: Lock("Compliance", datetime(2027, 11, 24, 2, tzinfo=UTC))}


@pytest.mark.parametrize("doubt", [{"odd": True}, {"damaged": True}, {"outcome": Outcome.FAILED}])
def test_what_is_not_good_is_locked_for_no_longer(doubt: dict[str, object]) -> None:
    assert wanted(backup(MONDAY, **doubt), backup(MONDAY + DAY), now=MONDAY + 2 * DAY).keys() == {
        backup(MONDAY + DAY).id
    }


def test_an_odd_one_that_was_accepted_is_locked_from_then_on() -> None:
    assert backup(MONDAY).id in wanted(backup(MONDAY), now=MONDAY + DAY)


def test_what_would_be_over_already_is_not_asked_for() -> None:
    old = [backup(MONDAY + number * DAY) for number in range(40)]
    found = wanted(*old, lock=asked(daily="7d"), now=MONDAY + 40 * DAY)
    assert set(found) == {one.id for one in old if one.started_at + 7 * DAY > MONDAY + 40 * DAY}


def test_a_clock_that_runs_ahead_locks_nothing_for_longer() -> None:
    ahead = backup(MONDAY + 300 * DAY, storedAt=MONDAY)
    assert wanted(ahead, now=MONDAY + DAY) == {}


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=30, unique=True),
    st.sets(st.integers(0, 400), max_size=5),
    st.integers(0, 500),
)
def test_nothing_is_locked_for_longer_than_its_longest_tier_and_only_what_stays_is(
    days: list[int], odd: set[int], today: int
) -> None:
    now = MONDAY + today * DAY
    backups = [backup(MONDAY + day * DAY, odd=day in odd) for day in days]
    plan = plan_retention(backups, RETENTION, zone=UTC_ZONE, now=now)
    kept = {one.id: one for one in plan.kept}
    for backup_id, lock in locks_of(plan, ALL, RETENTION, now=now).items():
        one = kept[backup_id]
        assert one.is_good
        assert now < lock.until <= one.started_at.replace(year=one.started_at.year + 1) + DAY
