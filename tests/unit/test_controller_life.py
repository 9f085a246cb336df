"""Lives that hypothesis makes up: whatever happens and whoever is killed when, the resources end up telling the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from resguardo.api.policy import BackupPolicyStatus
from resguardo.api.report import Task
from resguardo.controller.outcome import Key
from tests.unit.small_cluster import POLICY_KEY, Killed, World

#: What may happen next in the life of a policy.
STEPS = [
    "backup",
    "failure",
    "lost report",
    "check ends",
    "edit",
    "edit back",
    "suspend",
    "resume",
    "vandal",
    "night",
    "manual",
]


def _running(world: World, task: str) -> list[str]:
    jobs = world.cluster.list("Job", "default", labels={"resguardo.dev/task": task})
    return [job["metadata"]["name"] for job in jobs if not job.get("status", {}).get("conditions")]


def _step(world: World, step: str) -> None:
    """Something happens in the cluster; nothing where it cannot happen now."""
    cluster = world.cluster
    is_scheduled = "CronJob" in {kind for kind, _ in cluster._objects} and not world.cron_job()["spec"]["suspend"]
    if step in ("backup", "failure", "lost report") and is_scheduled:
        job = cluster.tick_cron_job("portal-prod-backup")
        cluster.start(job)
        world.pass_time(minutes=2)
        made = world.backup_of_now(seconds=100) if step == "backup" else None
        report = world.report(Task.BACKUP, reason=None if made else "DumpFailed", backup=made, newest=made, backups=1)
        cluster.finish(job, None if step == "lost report" else report, exit_status=None if step != "lost report" else 1)
    elif step == "check ends":
        for name in _running(world, "check"):
            cluster.finish(name, world.report(Task.CHECK))
    elif step == "manual":
        world.cluster.annotate(
            "BackupPolicy", "portal-prod", "resguardo.dev/backup-requested-at", world.cluster.now.isoformat()
        )
        for name in _running(world, "backup"):
            cluster.finish(name, world.report(Task.BACKUP, reason="LockTimeout"))
    elif step in ("edit", "edit back"):
        cluster.edit("BackupPolicy", "portal-prod", spec__store__s3__prefix="other" if step == "edit" else "")
    elif step in ("suspend", "resume"):
        cluster.edit("BackupPolicy", "portal-prod", spec__suspend=step == "suspend")
    elif step == "vandal":
        for kind in ("CronJob", "Job"):
            for name in cluster.names(kind)[:1]:
                cluster.delete(kind, name)
    elif step == "night":
        world.pass_time(hours=26)
    world.pass_time(seconds=30)


def _told(world: World) -> dict[str, Any]:
    return {item["type"]: (item["status"], item["reason"]) for item in world.status().get("conditions", [])}


@settings(max_examples=12, deadline=None)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=8))
def test_an_operator_that_is_new_at_every_step_tells_what_one_that_lives_on_tells(steps: list[str]) -> None:
    steady, restarted, doubled = World(), World(), World()
    for world in (steady, restarted, doubled):
        world.policy()
    for step in ["check ends", *steps]:
        steady.settle(POLICY_KEY)
        restarted.restart()
        restarted.settle(POLICY_KEY)
        other = doubled.new_controller()
        for _ in range(6):
            doubled.controller.reconcile(POLICY_KEY)
            other.reconcile(POLICY_KEY)
        for world in (steady, restarted, doubled):
            _step(world, step)
    for world in (steady, restarted, doubled):
        world.settle(POLICY_KEY)
    assert restarted.status() == steady.status()
    assert _told(doubled) == _told(steady)
    assert restarted.cluster.created == steady.cluster.created
    assert doubled.cluster.created == steady.cluster.created
    assert doubled.told() == steady.told()


@settings(max_examples=20, deadline=None)
@given(
    steps=st.lists(st.sampled_from(STEPS), max_size=8), dies_after=st.lists(st.integers(0, 4), min_size=1, max_size=8)
)
def test_whatever_write_it_is_killed_at_it_comes_to_rest_and_status_stays_one(
    steps: list[str], dies_after: list[int]
) -> None:
    world = World()
    world.policy()
    for number, step in enumerate(["check ends", *steps]):
        world.cluster.dies_after = dies_after[number % len(dies_after)]
        try:
            world.settle(POLICY_KEY)
        except Killed:
            world.restart()
        world.cluster.dies_after = None
        _step(world, step)
    world.settle(POLICY_KEY)
    status = BackupPolicyStatus.model_validate(world.status())
    assert status.observed_generation == world.cluster.get(*POLICY_KEY)["metadata"]["generation"]  # type: ignore[index]
    assert len({condition.type for condition in status.conditions}) == len(status.conditions)


@settings(max_examples=20, deadline=None)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=10))
def test_ready_is_true_exactly_while_nothing_is_false_and_nothing_needed_is_open(steps: list[str]) -> None:
    world = World()
    world.policy()
    for step in ["check ends", *steps]:
        world.settle(Key(*POLICY_KEY))
        told = _told(world)
        needed = [told["Accepted"], told["BackedUp"]]
        is_false = any(status == "False" for status, _ in needed)
        assert (told["Ready"][0] == "False") is is_false
        if told["Ready"][0] == "True":
            assert told["Accepted"][0] == "True"
            assert told["BackedUp"][0] == "True" or told["BackedUp"] == ("Unknown", "NeverRun")
            assert "Stalled" not in told
            assert "Reconciling" not in told
            assert world.cron_job()["spec"]["suspend"] is False
        _step(world, step)
