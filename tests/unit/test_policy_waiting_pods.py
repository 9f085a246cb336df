"""What a pod waits for shows as a condition, and goes with it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.small_cluster import POLICY_KEY, World

PENDING = {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}


def _waits(reason: str, message: str) -> dict[str, Any]:
    return {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": reason, "message": message}}}]}


@pytest.mark.parametrize(
    ("pod_status", "event", "shown"),
    [
        (PENDING, ("FailedMount", 'secret "db" not found'), ("False", "FailedMount")),
        (_waits("CreateContainerConfigError", "no key"), None, ("False", "CreateContainerConfigError")),
        (_waits("ErrImagePull", "not found"), None, ("False", "ErrImagePull")),
        (_waits("ImagePullBackOff", "not found"), None, ("False", "ErrImagePull")),
        (
            {
                "phase": "Pending",
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
                ],
            },
            None,
            ("Unknown", "Unschedulable"),
        ),
        (PENDING, None, ("Unknown", "Checking")),
        (
            PENDING,
            ("FailedMount", "failed to sync secret cache: timed out waiting for the condition"),
            ("Unknown", "Checking"),
        ),
    ],
)
def test_what_a_check_waits_for_is_the_condition(
    world: World, pod_status: dict[str, Any], event: tuple[str, str] | None, shown: tuple[str, str]
) -> None:
    world.policy()
    world.settle(POLICY_KEY)
    job = world.cluster.the_job("-check-")["metadata"]["name"]
    pod = world.cluster.start(job, pod_status=pod_status)
    if event:
        world.cluster.warn(pod, *event)
    world.settle(POLICY_KEY)
    assert world.condition("Accepted") == shown
    if event and shown[0] == "False":
        assert event[1] in world.message("Ready")


def test_a_job_that_cannot_make_its_pod_tells_why(world: World) -> None:
    world.policy()
    world.settle(POLICY_KEY)
    world.cluster.warn(world.cluster.the_job("-check-"), "FailedCreate", "exceeded quota")
    world.settle(POLICY_KEY)
    assert world.condition("Accepted") == ("False", "FailedCreate")
    assert "exceeded quota" in world.message("Accepted")


def test_a_waiting_pod_is_looked_at_within_a_minute_and_then_ever_less(world: World) -> None:
    world.policy()
    world.settle(POLICY_KEY)
    world.cluster.start(world.cluster.the_job("-check-")["metadata"]["name"], pod_status=PENDING)
    began, looks = world.cluster.now, []
    for _ in range(6):
        due = world.settle(POLICY_KEY)
        assert due is not None
        looks.append((due - began).total_seconds())
        world.cluster.now = due
    assert looks == [10, 20, 40, 60, 120, 300]


def test_a_secret_that_appears_heals_the_policy(world: World) -> None:
    world.policy()
    world.settle(POLICY_KEY)
    job = world.cluster.the_job("-check-")["metadata"]["name"]
    pod = world.cluster.start(job, pod_status=PENDING)
    world.cluster.warn(pod, "FailedMount", 'secret "db" not found')
    world.settle(POLICY_KEY)
    world.cluster.edit("Pod", pod["metadata"]["name"], status__containerStatuses=[{"state": {"running": {}}}])
    world.settle(POLICY_KEY)
    assert world.condition("Accepted") == ("Unknown", "Checking")
    world.check_passes()
    assert world.condition("Ready") == ("True", "PromiseKept")


def test_what_a_check_waited_for_until_its_deadline_stays_shown(world: World) -> None:
    world.policy()
    world.settle(POLICY_KEY)
    job = world.cluster.the_job("-check-")["metadata"]["name"]
    pod = world.cluster.start(job, pod_status=PENDING)
    world.cluster.warn(pod, "FailedMount", 'secret "db" not found')
    world.settle(POLICY_KEY)
    world.pass_time(minutes=10)
    world.cluster.finish(job, None, exit_status=1, job_reason="DeadlineExceeded", keep_pod=False)
    world.settle(POLICY_KEY)
    assert world.condition("Accepted") == ("False", "FailedMount")


def test_a_backup_that_cannot_start_shows(world: World) -> None:
    world.accepted_policy()
    job = world.cluster.tick_cron_job("portal-prod-backup")
    pod = world.cluster.start(job, pod_status=PENDING)
    world.cluster.warn(pod, "FailedMount", 'secret "db" not found')
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("False", "FailedMount")
    assert world.condition("Ready") == ("False", "FailedMount")


def test_a_backup_whose_job_somebody_suspended_waits_for_a_person(world: World) -> None:
    world.accepted_policy()
    job = world.cluster.tick_cron_job("portal-prod-backup")
    pod = world.cluster.start(job)
    world.cluster.edit("Job", job, spec__suspend=True)
    world.cluster.delete("Pod", pod["metadata"]["name"])
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("False", "JobSuspended")
    assert job in world.message("Ready")
    world.cluster.edit("Job", job, spec__suspend=False)
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("Unknown", "NeverRun")
