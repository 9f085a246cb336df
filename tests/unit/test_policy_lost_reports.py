"""Runs that leave no Report: neither success nor failure, until a check has looked at the bucket."""

from __future__ import annotations

from typing import Any

from resguardo.api.report import Task
from tests.unit.small_cluster import POLICY_KEY, World


def _lose(world: World, **how: Any) -> None:
    world.accepted_policy()
    world.pass_time(hours=1)
    job = world.cluster.tick_cron_job("portal-prod-backup")
    world.cluster.start(job)
    world.pass_time(minutes=5)
    world.cluster.finish(job, None, **how)
    world.pass_time(seconds=2)
    world.settle(POLICY_KEY)


def test_a_lost_report_is_neither_success_nor_failure_and_a_check_looks_at_the_bucket(world: World) -> None:
    _lose(world, exit_status=0, keep_pod=False)
    assert world.condition("BackedUp") == ("Unknown", "ReportLost")
    assert world.condition("Ready") == ("Unknown", "ReportLost")
    assert world.condition("Accepted") == ("True", "CheckPassed")
    assert world.cron_job()["spec"]["suspend"] is False
    assert world.cluster.the_job("-check-")["metadata"]["name"].endswith("-2")


def test_the_bucket_holds_a_backup_of_that_time(world: World) -> None:
    _lose(world, exit_status=1, keep_pod=False)
    made = world.backup_of_now(minutes=3)
    world.pass_time(seconds=10)
    world.check_passes(backups=1, newest=made)
    assert world.condition("BackedUp") == ("True", "BackupSucceeded")
    assert made.id in world.message("BackedUp")


def test_another_run_made_the_newest_backup_meanwhile(world: World) -> None:
    _lose(world, exit_status=0, keep_pod=False)
    lost = world.cluster.the_job("-backup-")["metadata"]["name"]
    newest = world.backup_of_now(job="portal-prod-manual-1a2b3c4d")
    world.pass_time(seconds=10)
    world.check_passes(backups=2, newest=newest, newest_jobs=[newest.job_name or "", lost])
    assert world.condition("BackedUp") == ("True", "BackupSucceeded")


def test_only_another_run_made_a_backup(world: World) -> None:
    _lose(world, exit_status=0, keep_pod=False)
    newest = world.backup_of_now(job="portal-prod-manual-1a2b3c4d")
    world.pass_time(seconds=10)
    world.check_passes(backups=1, newest=newest, newest_jobs=[newest.job_name or ""])
    assert world.condition("BackedUp") == ("False", "ReportLost")


def test_the_bucket_holds_none(world: World) -> None:
    _lose(world, exit_status=1, keep_pod=False)
    world.pass_time(seconds=10)
    world.check_passes(backups=0)
    assert world.condition("BackedUp") == ("False", "ReportLost")


def test_memory_that_was_not_enough_is_named(world: World) -> None:
    _lose(world, exit_status=137, killed="OOMKilled")
    world.pass_time(seconds=10)
    world.check_passes(backups=0)
    assert world.condition("BackedUp") == ("False", "OOMKilled")
    assert "jobs.resources.limits.memory" in world.message("BackedUp")


def test_a_look_that_began_before_the_end_proves_nothing(world: World) -> None:
    world.accepted_policy()
    job = world.cluster.tick_cron_job("portal-prod-backup")
    world.cluster.start(job)
    world.pass_time(minutes=5)
    early = world.report(Task.CHECK, backups=0)
    world.pass_time(seconds=1)
    world.cluster.finish(job, None, exit_status=1, keep_pod=False)
    world.settle(POLICY_KEY)
    check = world.cluster.the_job("-check-")["metadata"]["name"]
    world.cluster.finish(check, early)
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("Unknown", "ReportLost")
