"""What holds for the retention of every history, however odd. `HYPOTHESIS_EXAMPLES` is how many of each are tried."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from resguardo.api.durations import parse_span
from resguardo.api.inventory import BackupFacts, Outcome
from resguardo.api.manifest import Trigger
from resguardo.api.policy import Retention
from resguardo.rules.retention import Plan, Reason, Rule, plan_retention
from resguardo.rules.tiers import Tier
from tests.unit.histories.generated import ZONES, histories, moments, policies

many = settings(max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "25")), deadline=None)

PAUSE = st.sampled_from([None, None, Reason(Rule.PAUSED, "SourceChanged")])
LONG_AGO = datetime(1990, 1, 1, tzinfo=UTC)
NOWS = moments("1990-01-01", "2200-01-01")


@dataclass(frozen=True)
class World:
    """A history, a policy and a zone."""

    history: list[BackupFacts]
    policy: Retention
    zone: ZoneInfo

    def plan(
        self, history: list[BackupFacts] | None = None, *, now: datetime = LONG_AGO, pause: Reason | None = None
    ) -> Plan:
        given_history = self.history if history is None else history
        return plan_retention(given_history, self.policy, zone=self.zone, now=now, pause=pause)


def worlds(*, max_age: bool = True) -> st.SearchStrategy[World]:
    return st.builds(World, histories(), policies(max_age=max_age), ZONES)


def ids(backups: list[BackupFacts]) -> set[str]:
    return {backup.id for backup in backups}


@many
@given(world=worlds(), now=NOWS, pause=PAUSE)
def test_every_backup_gets_exactly_one_verdict_and_at_least_one_reason(
    world: World, now: datetime, pause: Reason | None
) -> None:
    plan = world.plan(now=now, pause=pause)
    assert sorted(verdict.backup.id for verdict in plan.verdicts) == sorted(backup.id for backup in world.history)
    assert all(verdict.reasons for verdict in plan.verdicts)


@many
@given(world=worlds(), now=NOWS)
def test_the_newest_good_one_of_every_source_stays(world: World, now: datetime) -> None:
    kept = ids(world.plan(now=now).kept)
    for source in {backup.source for backup in world.history}:
        good = [backup for backup in world.history if backup.is_good and backup.source == source]
        assert not good or max(good, key=lambda backup: backup.by_age).id in kept


@many
@given(world=worlds(max_age=False))
def test_the_minimum_stays(world: World) -> None:
    kept = world.plan().kept
    for source in {backup.source for backup in world.history}:
        good = [backup for backup in world.history if backup.is_good and backup.source == source]
        good_kept = [backup for backup in kept if backup.is_good and backup.source == source]
        assert len(good_kept) >= min(world.policy.minimum, len(good))


@many
@given(world=worlds(), now=NOWS)
def test_pinned_locked_and_what_is_not_ours_stays(world: World, now: datetime) -> None:
    for backup in world.plan(now=now).removed:
        assert backup.is_committed
        assert not backup.pinned
        assert not backup.locked


@many
@given(world=worlds(), now=NOWS)
def test_whatever_stays_can_be_restored(world: World, now: datetime) -> None:
    plan = world.plan(now=now)
    needed = {one for backup in plan.kept if backup.is_committed for one in backup.depends_on}
    assert not needed & ids(plan.removed)


@many
@given(world=worlds(), now=NOWS, order=st.randoms())
def test_the_order_in_which_backups_are_listed_changes_nothing(world: World, now: datetime, order: Random) -> None:
    shuffled = list(world.history)
    order.shuffle(shuffled)
    assert world.plan(shuffled, now=now) == world.plan(now=now)


@many
@given(world=worlds(), now=NOWS)
def test_what_a_plan_left_the_same_plan_leaves_again(world: World, now: datetime) -> None:
    assert world.plan(world.plan(now=now).kept, now=now).removed == []


@many
@given(world=worlds(), older_by=st.timedeltas(timedelta(0), timedelta(days=2)))
def test_what_the_store_receives_later_never_takes_the_place_of_what_stands(world: World, older_by: timedelta) -> None:
    """given beside each backup one that came after all of them, and says that it is older, then none stands for less than before"""
    received = max((backup.stored_at for backup in world.history if backup.stored_at), default=LONG_AGO)
    planted = [
        good.model_copy(
            update={
                "id": f"planted-{good.id}",
                "started_at": good.started_at - older_by,
                "stored_at": received + timedelta(seconds=1),
                "trigger": Trigger.SCHEDULED,
            }
        )
        for good in world.history
        if good.is_good
    ]

    def standing(history: list[BackupFacts]) -> set[tuple[str, Tier]]:
        return {(verdict.backup.id, tier) for verdict in world.plan(history).verdicts for tier in verdict.tiers}

    assert standing(world.history) <= standing(world.history + planted)


@many
@given(world=worlds(), now=NOWS)
def test_what_goes_no_rule_keeps(world: World, now: datetime) -> None:
    for verdict in world.plan(now=now).verdicts:
        ends = [reason.rule for reason in verdict.reasons if reason.rule in (Rule.NO_RULE, Rule.MAX_AGE)]
        assert ends == ([] if verdict.keep else [verdict.reasons[0].rule])


@many
@given(world=worlds(max_age=False), nows=st.lists(NOWS, min_size=2, max_size=4))
def test_the_passing_of_time_alone_removes_nothing(world: World, nows: list[datetime]) -> None:
    assert len({world.plan(now=now) for now in nows}) == 1


@many
@given(world=worlds(), now=NOWS, later=NOWS)
def test_max_age_only_ever_takes_more_as_time_passes(world: World, now: datetime, later: datetime) -> None:
    first, second = sorted((now, later))
    assert ids(world.plan(now=first).removed) <= ids(world.plan(now=second).removed)


@many
@given(world=worlds(max_age=False))
def test_pruning_every_day_comes_to_the_same_as_pruning_once_at_the_end(world: World) -> None:
    assume(all(backup.outcome is not Outcome.RUNNING for backup in world.history))  # their outcome is still to come
    made: list[BackupFacts] = []
    left: list[BackupFacts] = []
    for backup in world.history:
        # What a new backup depends on was there when it was made.
        present = tuple(needed for needed in backup.depends_on if needed in ids(left))
        made.append(backup.model_copy(update={"depends_on": present}))
        left = world.plan([*left, made[-1]]).kept
    assert left == world.plan(made).kept


@many
@given(world=worlds(), wider=policies(), now=NOWS)
def test_a_longer_policy_never_removes_more(world: World, wider: Retention, now: datetime) -> None:
    longer = _longer(world.policy, wider, now)
    removed = plan_retention(world.history, longer, zone=world.zone, now=now).removed
    assert ids(removed) <= ids(world.plan(now=now).removed)


def _longer(one: Retention, other: Retention, now: datetime) -> Retention:
    """A policy that keeps at least as long as each of the two, in every tier."""

    def longest(*spans: str | None) -> str | None:
        named = [span for span in spans if span is not None]
        return min(named, key=lambda span: parse_span(span).before(now), default=None)

    tiers = {tier.value: longest(getattr(one, tier.value), getattr(other, tier.value)) for tier in Tier}
    max_age = None if one.max_age is None or other.max_age is None else longest(one.max_age, other.max_age)
    return Retention(**tiers, minimum=max(one.minimum, other.minimum), max_age=max_age)
