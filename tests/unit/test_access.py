"""What rights mean for a role, and how a check's warning reaches status and goes again."""

from __future__ import annotations

import itertools

import pytest

from resguardo.api.policy import PolicyWarning
from resguardo.api.report import Report, Task
from resguardo.api.roles import Role
from resguardo.rules.access import WRITER_MAY_REMOVE, Finding, Right, Standing, Tried, judge
from tests.unit.small_cluster import POLICY_KEY, World

WRITER, PRUNER, READER = Role.WRITER, Role.PRUNER, Role.READER


def judged(
    role: Role, right: Right, *, has: bool | None, locks: bool = False, shares: tuple[Role, ...] = ()
) -> Finding:
    (finding,) = judge(role, [Tried(right, has)], locks=locks, shares=shares)
    return finding


#: The rights that a role must have, and those that it must not.
NEEDED = {
    WRITER: {Right.LIST, Right.READ_FACTS, Right.ADD, Right.GIVE_UP, Right.RECORD},
    PRUNER: {
        Right.LIST, Right.READ_FACTS, Right.MARK, Right.REMOVE, Right.FORBID, Right.SEE_VERSIONS, Right.REMOVE_VERSIONS,
        Right.SEE_LOCKS,
    },
    READER: {Right.LIST, Right.READ_FACTS, Right.READ_DATA},
}  # fmt: skip
FORBIDDEN = {
    WRITER: {Right.READ_DATA, Right.OVERWRITE, Right.REMOVE, Right.REMOVE_VERSIONS, Right.MARK, Right.LOCK},
    PRUNER: {Right.READ_DATA, Right.ADD, Right.LOCK},
    READER: {
        Right.ADD, Right.OVERWRITE, Right.FORBID, Right.RECORD, Right.MARK, Right.REMOVE, Right.REMOVE_VERSIONS,
        Right.LOCK,
    },
}  # fmt: skip


@pytest.mark.parametrize(("role", "right"), list(itertools.product(Role, Right)))
def test_each_right_is_missing_or_too_much_exactly_where_it_should(role: Role, right: Right) -> None:
    lacking, having, unknown = (judged(role, right, has=has) for has in (False, True, None))
    assert lacking.is_missing == (right in NEEDED[role])
    assert having.is_too_much == (right in FORBIDDEN[role])
    assert not any([having.is_missing, lacking.is_too_much, unknown.is_missing, unknown.is_too_much])
    # What is as it should be needs no words; what is not says what follows.
    assert bool(lacking.consequence) == lacking.is_missing
    assert bool(having.consequence) == having.is_too_much


def test_what_one_needs_of_those_that_share_the_keys_is_not_too_much() -> None:
    assert judged(WRITER, Right.REMOVE, has=True).standing is Standing.TOO_MUCH
    assert judged(WRITER, Right.REMOVE, has=True, shares=(READER,)).standing is Standing.TOO_MUCH
    assert judged(WRITER, Right.REMOVE, has=True, shares=(PRUNER,)).standing is Standing.NOT_NEEDED
    assert judged(WRITER, Right.READ_DATA, has=True, shares=(PRUNER,)).standing is Standing.TOO_MUCH
    assert judged(WRITER, Right.READ_DATA, has=True, shares=(PRUNER, READER)).standing is Standing.NOT_NEEDED


@pytest.mark.parametrize(
    ("role", "shares", "is_needed"),
    [(WRITER, (), True), (PRUNER, (), True), (READER, (), False), (READER, (WRITER,), None)],
)
def test_where_backups_are_to_be_locked_who_writes_and_who_prunes_must_be_able_to(
    role: Role, shares: tuple[Role, ...], is_needed: bool | None
) -> None:
    """given a policy with objectLock, then writer and pruner need the right, and a reader with keys of its own must not have it"""
    lacking, having = (judged(role, Right.LOCK, has=has, locks=True, shares=shares) for has in (False, True))
    assert lacking.is_missing == (is_needed is True)
    assert having.is_too_much == (is_needed is False)


def warned(world: World, *reasons: str) -> Report:
    report = world.report(Task.CHECK)
    warnings = [PolicyWarning(reason=reason, message="the writer may remove backups") for reason in reasons]
    return report.model_copy(update={"warnings": warnings})


def reasons(world: World) -> list[str]:
    return [warning["reason"] for warning in world.status().get("warnings", [])]


def test_what_a_check_warns_of_stands_in_status_and_is_told_once(world: World) -> None:
    """given a check that found the writer's keys too strong, when it passes, then the policy is Ready, and warned"""
    world.policy()
    world.settle(POLICY_KEY)
    job = world.cluster.the_job("-check-")["metadata"]["name"]
    world.cluster.finish(job, warned(world, WRITER_MAY_REMOVE))
    world.settle(POLICY_KEY)
    assert world.condition("Ready") == ("True", "PromiseKept")
    assert reasons(world) == [WRITER_MAY_REMOVE]
    world.settle(POLICY_KEY)
    world.restart()
    world.settle(POLICY_KEY)
    assert world.told().count(WRITER_MAY_REMOVE) == 1

    world.cluster.delete("Job", job)
    world.settle(POLICY_KEY)
    assert reasons(world) == [WRITER_MAY_REMOVE], "until another check has ended"
    again = world.cluster.the_job("-check-")["metadata"]["name"]
    world.cluster.finish(again, warned(world))
    world.settle(POLICY_KEY)
    assert reasons(world) == []


def test_a_reports_warnings_never_make_it_too_long(world: World) -> None:
    report = world.report(Task.CHECK).model_copy(
        update={
            "message": "é" * 4000,
            "warnings": [PolicyWarning(reason="X", message="é" * 512) for _ in range(16)],
        }
    )
    read = Report.from_json(report.to_message())
    assert read is not None
    assert read.succeeded
