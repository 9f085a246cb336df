"""A policy's status and its Events: made anew from what is so, and told once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from resguardo.api.report import Task
from tests.unit.small_cluster import NIGHT, POLICY_KEY, World


def test_one_backup_is_told_once_however_it_comes_to_light(world: World) -> None:
    world.accepted_policy()
    job = world.cluster.tick_cron_job("portal-prod-backup")
    world.cluster.start(job)
    world.pass_time(minutes=1)
    made = world.backup_of_now(seconds=50)
    # The inventory of a check that another hand started tells of it first,
    world.cluster.annotate("BackupPolicy", "portal-prod", "resguardo.dev/take-over-from", "nobody@1")
    world.settle(POLICY_KEY)
    world.check_passes(backups=1, newest=made)
    assert world.condition("BackedUp") == ("True", "BackupSucceeded")
    # then the run's own Report.
    world.cluster.finish(job, world.report(Task.BACKUP, backup=made, newest=made, backups=1))
    world.settle(POLICY_KEY)
    assert world.told().count("BackupSucceeded") == 1


def test_a_backup_is_no_news_again_when_what_hid_it_is_gone(world: World) -> None:
    world.accepted_policy()
    world.back_up()
    world.pass_time(minutes=1)
    job = world.cluster.tick_cron_job("portal-prod-backup")
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]}
    world.cluster.start(job, pod_status={"phase": "Pending", **waiting})
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("False", "ErrImagePull")
    world.cluster.delete("Job", job)
    world.pass_time(minutes=1)
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("True", "BackupSucceeded")
    assert world.told().count("BackupSucceeded") == 1


def test_a_failed_run_is_no_news_again_when_what_hid_it_is_gone_nor_when_status_is_lost(world: World) -> None:
    world.accepted_policy()
    world.back_up(reason="DumpFailed")
    world.pass_time(minutes=1)
    job = world.cluster.tick_cron_job("portal-prod-backup")
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]}
    world.cluster.start(job, pod_status={"phase": "Pending", **waiting})
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("False", "ErrImagePull")
    world.cluster.delete("Job", job)
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("False", "DumpFailed")
    world.cluster.edit("BackupPolicy", "portal-prod", status={})
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("False", "DumpFailed")
    assert world.told().count("DumpFailed") == 1


def test_a_condition_keeps_its_time_until_its_status_changes(world: World) -> None:
    world.accepted_policy()
    world.back_up(reason="DumpFailed")
    since = {item["type"]: item["lastTransitionTime"] for item in world.status()["conditions"]}
    world.pass_time(days=1)
    world.back_up(reason="LockTimeout")
    assert {item["type"]: item["lastTransitionTime"] for item in world.status()["conditions"]} == since


def test_what_happens_again_is_told_again(world: World) -> None:
    world.accepted_policy()
    for day in (1, 3):
        world.cluster.now = NIGHT + timedelta(days=day, hours=7)
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == ("False", "Late")
        world.back_up()
    assert world.told().count("Late") == 2


def test_a_policy_that_changes_while_it_is_looked_at_is_looked_at_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.policy()
    apply = world.cluster.apply

    def apply_while_somebody_edits(body: Any) -> None:
        apply(body)
        world.cluster.edit("BackupPolicy", "portal-prod", spec__suspend=True)

    monkeypatch.setattr(world.cluster, "apply", apply_while_somebody_edits)
    following = world.controller.reconcile(POLICY_KEY)
    assert following.look_again_at is not None
    assert following.look_again_at - world.cluster.now < timedelta(seconds=1)
    assert world.status() == {}
    monkeypatch.undo()
    world.settle(POLICY_KEY)
    assert world.status()["observedGeneration"] == 2


def test_a_status_that_somebody_spoilt_is_made_anew(world: World) -> None:
    world.accepted_policy()
    right = world.status()
    world.cluster.edit("BackupPolicy", "portal-prod", status={"conditions": "none", "lastRun": 7})
    world.settle(POLICY_KEY)
    assert {item["type"]: item["status"] for item in world.status()["conditions"]} == {
        item["type"]: item["status"] for item in right["conditions"]
    }
