"""What comes next for a backup that is to go, or was to; for how long it stays marked; which failures are forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from resguardo.api.inventory import BackupFacts, Outcome
from resguardo.api.policy import Retention
from resguardo.rules.attempts import forgotten_attempts
from resguardo.rules.grace import grace_of
from resguardo.rules.removal import Decision, Step, next_steps, unmarked
from resguardo.rules.retention import Plan, Reason, Rule, Verdict

NOW = datetime(2026, 11, 23, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Mark:
    goes_at: datetime
    decision: Decision | None = None


def verdict(*reasons: Rule, keep: bool) -> Verdict:
    facts = BackupFacts(id="a", started_at=NOW, stored_at=NOW, outcome=Outcome.SUCCEEDED)
    return Verdict(facts, keep, tuple(Reason(rule) for rule in reasons))


GOES = verdict(Rule.NO_RULE, keep=False)
STAYS = verdict(Rule.NEWEST, keep=True)
PAUSED = verdict(Rule.PAUSED, keep=True)
SUSPENDED = verdict(Rule.SUSPENDED, keep=True)
STAYS_AND_PAUSED = verdict(Rule.PINNED, Rule.PAUSED, keep=True)
DUE, NOT_DUE = Mark(NOW), Mark(NOW + SECOND)


@pytest.mark.parametrize(
    ("planned", "mark", "step"),
    [
        pytest.param(GOES, None, Step.MARK, id="it goes, and is not marked"),
        pytest.param(STAYS, None, None, id="it stays"),
        pytest.param(PAUSED, None, None, id="it stays for a pause"),
        pytest.param(GOES, NOT_DUE, Step.WAIT, id="a second before its grace is over"),
        pytest.param(GOES, DUE, Step.PURGE, id="its grace is over"),
        pytest.param(STAYS, DUE, Step.TAKE_BACK, id="it stays after all"),
        pytest.param(STAYS, NOT_DUE, Step.TAKE_BACK, id="it stays after all, early"),
        pytest.param(PAUSED, DUE, Step.WAIT, id="a pause holds it"),
        pytest.param(SUSPENDED, DUE, Step.WAIT, id="a suspended policy holds it"),
        pytest.param(STAYS_AND_PAUSED, DUE, Step.TAKE_BACK, id="it stays, pause or not"),
        pytest.param(
            STAYS, Mark(NOW, Decision.PURGE), Step.PURGE, id="its removal was decided, whatever the plan says"
        ),
        pytest.param(PAUSED, Mark(NOW, Decision.PURGE), Step.PURGE, id="its removal was decided before the pause"),
        pytest.param(GOES, Mark(NOW, Decision.UNDELETE), Step.TAKE_BACK, id="it was taken back"),
        pytest.param(None, DUE, Step.PURGE, id="its manifest is gone already"),
        pytest.param(None, NOT_DUE, Step.WAIT, id="its manifest is gone, and its grace is not over"),
    ],
)
def test_the_next_step(planned: Verdict | None, mark: Mark | None, step: Step | None) -> None:
    plan = Plan((planned,) if planned else ())
    steps = next_steps(plan, {"a": mark} if mark else {}, store_now=NOW)
    assert steps.get("a") == step
    assert next_steps(plan, {"a": mark} if mark else {}, store_now=NOW, untouched={"a"}) == {}


def test_what_is_marked_is_no_part_of_the_plan_that_a_person_is_asked_about() -> None:
    assert unmarked(Plan((GOES,)), {"a"}).unclaimed == []
    assert unmarked(Plan((GOES,)), {"b"}).unclaimed == [GOES.backup]


@pytest.mark.parametrize(
    ("timeout", "grace"),
    [("0:00:10", "24:00"), ("6:00", "24:00"), ("6:01", "24:04"), ("42:00", "168:00"), ("43:00", "168:00")],
)
def test_the_grace_is_a_day_at_least_and_a_week_at_most(timeout: str, grace: str) -> None:
    def length(text: str) -> timedelta:
        hours, minutes, seconds = [*map(int, text.split(":")), 0][:3]
        return timedelta(hours=hours, minutes=minutes, seconds=seconds)

    assert grace_of(length(timeout)) == length(grace)


def test_failures_are_forgotten_when_they_are_older_than_the_longest_tier_measured_from_the_newest_good_backup() -> (
    None
):
    def entry(age: timedelta, outcome: Outcome) -> BackupFacts:
        return BackupFacts(id=f"{outcome} {age}", started_at=NOW - age, stored_at=NOW - age, outcome=outcome)

    month = timedelta(days=30)
    kept = [
        entry(month, Outcome.FAILED),
        entry(2 * month, Outcome.RUNNING),
        entry(2 * month, Outcome.UNREADABLE),
        entry(2 * month, Outcome.SUCCEEDED),
    ]
    old = entry(month + SECOND, Outcome.FAILED)
    retention = Retention(daily="7d", weekly="30d")
    good = entry(timedelta(), Outcome.SUCCEEDED)
    assert forgotten_attempts([good, old, *kept], retention) == [old]
    assert forgotten_attempts([old], retention) == [], "without a good backup there is nothing to measure from"
