"""Runs that Kubernetes cannot end, and operators whose clock is wrong."""

from __future__ import annotations

from datetime import timedelta

from resguardo.api.report import Task
from tests.unit.small_cluster import POLICY_KEY, World


def test_a_job_runs_for_as_long_as_kubernetes_lets_it_whatever_our_clock_says_of_its_deadline(world: World) -> None:
    world.accepted_policy()
    job = world.cluster.tick_cron_job("portal-prod-backup")
    world.cluster.start(job)
    world.pass_time(hours=7)
    world.settle(POLICY_KEY)
    assert "lastRun" not in world.status()
    world.cluster.tell_to_end(job)
    world.pass_time(minutes=2)
    world.settle(POLICY_KEY)
    world.pass_time(seconds=10)
    world.check_passes(backups=0)
    assert world.condition("BackedUp") == ("False", "NodeLost")
    assert "node-1" in world.message("BackedUp")


def test_an_operator_whose_clock_is_an_hour_ahead_lets_a_check_run(world: World) -> None:
    world.policy()
    world.settle(POLICY_KEY)
    (check,) = world.cluster.names("Job")
    world.pass_time(hours=1)
    world.settle(POLICY_KEY)
    assert world.cluster.names("Job") == [check]
    assert world.condition("Accepted") == ("Unknown", "Checking")


def test_a_job_that_cannot_become_failed_is_told_by_its_failure_target(world: World) -> None:
    world.accepted_policy()
    job = world.cluster.tick_cron_job("portal-prod-backup")
    world.cluster.start(job)
    world.cluster.tell_to_end(job)
    due = world.settle(POLICY_KEY)
    assert due == world.cluster.now + timedelta(minutes=2)
    assert "lastRun" not in world.status()
    world.cluster.now = due
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("Unknown", "ReportLost")


def test_a_job_that_hangs_on_a_lost_node_is_removed_once_status_tells_so_that_forbid_lets_the_next_night_run(
    world: World,
) -> None:
    world.accepted_policy()
    job = world.cluster.tick_cron_job("portal-prod-backup")
    world.cluster.start(job)
    world.cluster.tell_to_end(job)
    due = world.settle(POLICY_KEY)
    assert due is not None
    world.cluster.now = due
    world.settle(POLICY_KEY)
    assert job in world.cluster.names("Job")
    world.pass_time(seconds=10)
    world.check_passes(backups=0)
    assert world.condition("BackedUp") == ("False", "NodeLost")
    assert job not in world.cluster.names("Job")
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("False", "NodeLost")


def test_an_operator_whose_clock_is_an_hour_ahead_tells_and_removes_no_job_that_kubernetes_lets_run(
    world: World,
) -> None:
    world.accepted_policy(spec__timeout="10m")
    job = world.cluster.tick_cron_job("portal-prod-backup")
    world.cluster.start(job)
    world.pass_time(hours=1)
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("Unknown", "NeverRun")
    assert job in world.cluster.names("Job")
    # and what the pod says at last counts
    made = world.backup_of_now(minutes=5)
    world.cluster.finish(job, world.report(Task.BACKUP, backup=made, newest=made, backups=1))
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("True", "BackupSucceeded")


def test_an_operator_whose_clock_is_an_hour_behind_tells_the_same_as_one_that_is_right(world: World) -> None:
    world.accepted_policy()
    job = world.cluster.tick_cron_job("portal-prod-backup")
    world.cluster.start(job)
    made = world.backup_of_now(minutes=5)
    world.cluster.finish(job, world.report(Task.BACKUP, backup=made, newest=made, backups=1))
    world.pass_time(hours=-1)
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("True", "BackupSucceeded")
    assert world.condition("Ready") == ("True", "PromiseKept")


def test_a_run_of_retention_that_hangs_on_a_lost_node_is_told_and_removed_so_that_the_next_one_runs(
    world: World,
) -> None:
    world.accepted_policy(spec__retention={"daily": "30d"})
    job = world.cluster.tick_cron_job("portal-prod-retention")
    world.cluster.start(job)
    world.cluster.tell_to_end(job)
    due = world.settle(POLICY_KEY)
    assert due == world.cluster.now + timedelta(minutes=2)
    assert job in world.cluster.names("Job")
    world.cluster.now = due
    world.settle(POLICY_KEY)
    assert job not in world.cluster.names("Job")
    assert world.condition("Retained") == ("False", "NodeLost")
    assert world.condition("BackedUp") == ("Unknown", "NeverRun")
