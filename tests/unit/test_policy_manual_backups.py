"""Backups that somebody asks for: once for each time that the annotation names."""

from __future__ import annotations

import pytest

from resguardo.api.report import Task
from tests.unit.small_cluster import POLICY_KEY, World

REQUESTED = "resguardo.dev/backup-requested-at"


def test_each_new_value_starts_one_backup(world: World) -> None:
    world.accepted_policy()
    for value in ("2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z", "2026-11-23T09:30:00-03:00"):
        world.cluster.annotate("BackupPolicy", "portal-prod", REQUESTED, value)
        world.settle(POLICY_KEY)
        for name in [name for name in world.cluster.names("Job") if "-manual-" in name]:
            made = world.backup_of_now(seconds=1)
            world.cluster.finish(name, world.report(Task.BACKUP, backup=made, newest=made, backups=1))
        world.settle(POLICY_KEY)
        assert world.status()["lastHandledBackupRequest"] == value
    assert len([name for name in world.cluster.created if "-manual-" in name]) == 2


def test_it_waits_until_the_policy_is_accepted(world: World) -> None:
    world.policy()
    world.cluster.annotate("BackupPolicy", "portal-prod", REQUESTED, "2026-11-23T12:00:00Z")
    world.settle(POLICY_KEY)
    assert "lastHandledBackupRequest" not in world.status()
    assert not [name for name in world.cluster.created if "-manual-" in name]
    world.check_passes()
    assert [name for name in world.cluster.created if "-manual-" in name]


def test_it_waits_for_the_end_of_a_running_backup(world: World) -> None:
    world.accepted_policy()
    job = world.cluster.tick_cron_job("portal-prod-backup")
    world.cluster.start(job)
    world.cluster.annotate("BackupPolicy", "portal-prod", REQUESTED, "2026-11-23T12:00:00Z")
    world.settle(POLICY_KEY)
    assert not [name for name in world.cluster.created if "-manual-" in name]
    world.cluster.finish(job, world.report(Task.BACKUP, reason="DumpFailed"))
    world.settle(POLICY_KEY)
    assert [name for name in world.cluster.created if "-manual-" in name]


@pytest.mark.parametrize("value", ["now", "2026-11-23", "2026-11-23T12:00:00", "2026-11-23T12:00:00Z" + " " * 80])
def test_a_value_that_is_no_time_is_told_once(world: World, value: str) -> None:
    world.accepted_policy()
    world.cluster.annotate("BackupPolicy", "portal-prod", REQUESTED, value)
    world.settle(POLICY_KEY)
    world.restart()
    world.settle(POLICY_KEY)
    assert world.told() == ["BackupRequestInvalid", "CheckPassed"]
    assert not [name for name in world.cluster.created if "-manual-" in name]


def test_the_newest_three_are_kept(world: World) -> None:
    world.accepted_policy()
    for minute in range(5):
        world.pass_time(minutes=1)
        world.cluster.annotate("BackupPolicy", "portal-prod", REQUESTED, f"2026-11-23T12:0{minute}:00Z")
        world.settle(POLICY_KEY)
        name = world.cluster.the_job("-manual-")["metadata"]["name"]
        world.cluster.finish(name, world.report(Task.BACKUP, reason="DumpFailed"))
        world.settle(POLICY_KEY)
    assert len([name for name in world.cluster.names("Job") if "-manual-" in name]) == 3


def test_a_job_made_by_hand_from_the_cron_job_counts_like_any_other(world: World) -> None:
    world.accepted_policy()
    template = world.cron_job()["spec"]["jobTemplate"]
    owner = {
        "kind": "CronJob",
        "name": "portal-prod-backup",
        "uid": world.cron_job()["metadata"]["uid"],
        "controller": True,
    }
    metadata = {**template["metadata"], "name": "by-hand", "namespace": "default", "ownerReferences": [owner]}
    world.cluster.put({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
    world.cluster.finish("by-hand", world.report(Task.BACKUP, reason="LockTimeout"))
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("False", "LockTimeout")
