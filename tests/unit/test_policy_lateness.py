"""Late from the schedule's next time after the last good start, plus an hour to start in, plus the timeout (6 h)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from resguardo.api.base import print_time
from tests.unit.small_cluster import NIGHT, POLICY_KEY, World


@pytest.mark.parametrize(("seconds", "shown"), [(-1, ("Unknown", "NeverRun")), (0, ("False", "Late"))])
def test_a_policy_that_never_made_a_backup(world: World, seconds: int, shown: tuple[str, str]) -> None:
    world.accepted_policy()
    world.cluster.now = NIGHT + timedelta(hours=7, seconds=seconds)
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == shown


@pytest.mark.parametrize(("seconds", "shown"), [(-1, ("True", "BackupSucceeded")), (0, ("False", "Late"))])
def test_a_policy_that_made_one(world: World, seconds: int, shown: tuple[str, str]) -> None:
    world.accepted_policy()
    world.cluster.now = NIGHT
    world.back_up()
    world.cluster.now = NIGHT + timedelta(days=1, hours=7, seconds=seconds)
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == shown


def test_it_is_known_when_to_look(world: World) -> None:
    """Two minutes before the schedule's time, at it, and when it would be late: never in between, without news."""
    world.accepted_policy()
    looks = []
    for _ in range(3):
        due = world.settle(POLICY_KEY)
        assert due is not None
        world.cluster.now = due
        looks.append(due - NIGHT)
    assert looks == [-timedelta(minutes=2), timedelta(), timedelta(hours=7)]


def test_status_tells_from_when_on_it_is_late(world: World) -> None:
    """Before it is so, for whoever watches while no operator runs."""
    world.policy()
    world.settle(POLICY_KEY)
    assert "lateAt" not in world.status()
    world.check_passes()
    assert world.status()["lateAt"] == print_time(NIGHT + timedelta(hours=7))
    world.cluster.now = NIGHT
    world.back_up()
    world.back_up(reason="DumpFailed")
    assert world.status()["lateAt"] == print_time(NIGHT + timedelta(days=1, hours=7))
    world.cluster.edit("BackupPolicy", "portal-prod", spec__timeZone="America/Curitiba")
    world.settle(POLICY_KEY)
    assert world.status()["lateAt"] == print_time(NIGHT + timedelta(days=1, hours=7))
    world.cluster.edit("BackupPolicy", "portal-prod", spec__timeZone="America/Sao_Paulo", spec__suspend=True)
    world.settle(POLICY_KEY)
    assert "lateAt" not in world.status()


def test_a_suspended_policy_is_not_late(world: World) -> None:
    world.accepted_policy(spec__suspend=True)
    assert world.cron_job()["spec"]["suspend"] is True
    assert world.condition("Ready") == ("Unknown", "Suspended")
    world.cluster.now = NIGHT + timedelta(days=30)
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("Unknown", "NeverRun")


def test_a_policy_that_is_not_accepted_and_never_was_is_not_late_as_well(world: World) -> None:
    world.policy()
    world.settle(POLICY_KEY)
    world.cluster.now = NIGHT + timedelta(days=30)
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("Unknown", "NeverRun")


def test_a_reason_of_failure_says_more_than_late(world: World) -> None:
    world.accepted_policy()
    world.back_up(reason="DumpFailed")
    world.cluster.now = NIGHT + timedelta(days=3)
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("False", "DumpFailed")


def test_a_document_that_became_invalid_is_late_as_the_former_one_promised(world: World) -> None:
    world.accepted_policy()
    world.back_up()
    world.cluster.edit("BackupPolicy", "portal-prod", spec__timeZone="America/Curitiba")
    due = world.settle(POLICY_KEY)
    assert world.condition("Accepted") == ("False", "DocumentInvalid")
    assert world.condition("BackedUp") == ("True", "BackupSucceeded")
    assert due == NIGHT + timedelta(hours=7)
    world.cluster.now = due
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("False", "Late")
