"""What makes retention wait, and what a person reads then."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from resguardo.api.inventory import BackupFacts
from resguardo.api.policy import Retention
from resguardo.rules.pauses import Pause, find_pause, too_much_at_once
from resguardo.rules.retention import plan_retention
from tests.unit.histories import DAY, at, backup, every

NOW = at("2026-11-23T12:00")
OLD = every(DAY, first=at("2026-11-10"), last=at("2026-11-15"), source="7301/agepar")
NEW = every(DAY, first=at("2026-11-16"), last=at("2026-11-18"), source="7302/agepar")


def paused(backups: list[BackupFacts], **facts: Any) -> Pause | None:
    given: dict[str, Any] = {"suspended": False, "now": NOW, "store_now": NOW, "accepted": frozenset()}
    found = find_pause(backups, **(given | facts))
    return found.pause if found else None


@pytest.mark.parametrize(
    ("backups", "pause"),
    [
        pytest.param([], None, id="nothing there"),
        pytest.param(OLD, None, id="all is well"),
        pytest.param([*OLD, backup(at("2026-11-16"), outcome="Failed")], Pause.LAST_ATTEMPT_FAILED, id="it failed"),
        pytest.param([backup(at("2026-11-01"), outcome="Failed"), *OLD], None, id="it failed, and succeeded since"),
        pytest.param([*OLD, backup(at("2026-11-16"), outcome="Running")], None, id="one is under way"),
        pytest.param(
            [*OLD, backup(at("2026-11-16"), outcome="Failed"), backup(at("2026-11-17"), outcome="Running")],
            Pause.LAST_ATTEMPT_FAILED,
            id="it failed, and the next is under way",
        ),
        pytest.param(
            [*OLD, backup(at("2026-11-16"), odd=True, source="7301/agepar")],
            Pause.NEWEST_IS_ODD,
            id="the newest is odd",
        ),
        pytest.param(
            [
                *OLD,
                backup(at("2026-11-16"), odd=True, source="7301/agepar"),
                backup(at("2026-11-17"), source="7301/agepar"),
            ],
            None,
            id="an odd one, and a normal one since",
        ),
        pytest.param([*OLD, *NEW], Pause.SOURCE_CHANGED, id="another database"),
        pytest.param([*NEW, *OLD], Pause.SOURCE_CHANGED, id="in whatever order they are listed"),
        pytest.param(
            [*OLD, backup(at("2030-01-01"), stored_at=at("2026-11-12"), outcome="Failed")],
            None,
            id="a failure of the future counts when the store heard of it",
        ),
    ],
)
def test_retention_waits(backups: list[BackupFacts], pause: Pause | None) -> None:
    assert paused(backups) is pause


def test_a_suspended_policy_removes_nothing() -> None:
    assert paused(OLD, suspended=True) is Pause.SUSPENDED


@pytest.mark.parametrize(("seconds", "pause"), [(300, None), (301, Pause.CLOCKS_DIFFER)])
@pytest.mark.parametrize("sign", [1, -1])
def test_clocks_may_differ_by_five_minutes(seconds: int, sign: int, pause: Pause | None) -> None:
    assert paused(OLD, store_now=NOW + sign * timedelta(seconds=seconds)) is pause


@pytest.mark.parametrize(
    ("accepted", "pause"),
    [
        pytest.param(NEW[-1].id, None, id="the newest"),
        pytest.param(NEW[0].id, None, id="one of the new database"),
        pytest.param(OLD[-1].id, Pause.SOURCE_CHANGED, id="one of the old database"),
    ],
)
def test_a_person_accepts_another_database_by_one_of_its_backups(accepted: str, pause: Pause | None) -> None:
    assert paused([*OLD, *NEW], accepted=frozenset({accepted})) is pause


def test_the_old_database_that_comes_back_is_another_change() -> None:
    back = backup(at("2026-11-20"), source="7301/agepar")
    assert paused([*OLD, *NEW, back], accepted=frozenset({NEW[-1].id, OLD[0].id})) is Pause.SOURCE_CHANGED


def test_the_message_says_what_to_do() -> None:
    found = find_pause([*OLD, *NEW], suspended=False, now=NOW, store_now=NOW, accepted=frozenset())
    assert found is not None
    assert found.message == (
        "since 20261116T000000Z-000000 the backups are of another database (7302/agepar, before 7301/agepar): if that is "
        "meant, `resguardo accept 20261118T000000Z-000000`"
    )


@pytest.mark.parametrize(("span", "waits"), [("5d", False), ("4d", False), ("3d", True)])
def test_a_plan_that_removes_more_than_half_waits_for_a_person(span: str, waits: bool) -> None:
    backups = every(DAY, first=at("2026-11-01"), last=at("2026-11-10"))
    plan = plan_retention(backups, Retention(daily=span, minimum=1), zone=ZoneInfo("UTC"), now=NOW)
    found = too_much_at_once(plan, accepted={None})
    assert (found is not None) is waits
    if found:
        assert f"resguardo accept-plan {plan.hash}" in found.message
        assert too_much_at_once(plan, accepted={"another", None}) is not None
        assert too_much_at_once(plan, accepted={"another", plan.hash}) is None
