"""Pods on nodes whose clocks are off: what came before what, Kubernetes alone says."""

from __future__ import annotations

from datetime import timedelta

import pytest

from resguardo.api.report import Task
from tests.unit.small_cluster import NIGHT, POLICY_KEY, REQUEST_KEY, World

CRON_JOB = "portal-prod-backup"
OFF = pytest.mark.parametrize("off", [timedelta(hours=hours) for hours in (-1, 0, 1)], ids=["behind", "right", "ahead"])


class TestALostReport:
    def _lose(self, world: World) -> str:
        """A backup of five minutes, of whose pod nothing is left; the check that is to look for it runs."""
        world.accepted_policy()
        world.pass_time(hours=3)
        job = world.cluster.tick_cron_job(CRON_JOB)
        world.cluster.start(job)
        world.pass_time(minutes=5)
        world.cluster.finish(job, None, exit_status=1, keep_pod=False)
        world.pass_time(seconds=2)
        world.settle(POLICY_KEY)
        world.pass_time(seconds=10)
        return job

    def _a_check_looks(self, world: World, **found: object) -> None:
        check = world.cluster.the_job("-check-")["metadata"]["name"]
        world.cluster.finish(check, world.report(Task.CHECK, **found))  # type: ignore[arg-type]
        world.settle(POLICY_KEY)

    @OFF
    def test_a_check_that_began_after_the_end_tells_by_whatever_clock(self, world: World, off: timedelta) -> None:
        self._lose(world)
        checks = len(world.cluster.created)
        self._a_check_looks(world, off=off)
        assert world.condition("BackedUp") == ("False", "ReportLost")
        world.pass_time(hours=1)
        world.settle(POLICY_KEY)
        assert len(world.cluster.created) == checks

    def test_one_that_began_before_the_end_proves_nothing_though_its_clock_is_ahead(self, world: World) -> None:
        world.accepted_policy()
        world.pass_time(hours=3)
        job = world.cluster.tick_cron_job(CRON_JOB)
        world.cluster.start(job)
        world.cluster.edit("BackupPolicy", "portal-prod", spec__timeout="5h")  # so that it is checked again
        world.settle(POLICY_KEY)
        check = world.cluster.the_job("-check-")["metadata"]["name"]
        world.cluster.start(check)
        world.pass_time(minutes=5)
        world.cluster.finish(job, None, exit_status=1, keep_pod=False)
        world.pass_time(seconds=2)
        world.cluster.finish(check, world.report(Task.CHECK, off=timedelta(hours=1)))
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == ("Unknown", "ReportLost")

    @OFF
    def test_the_backup_that_its_job_made_is_known_by_its_name(self, world: World, off: timedelta) -> None:
        job = self._lose(world)
        made = world.backup_of_now(job=job, off=off, minutes=3)
        self._a_check_looks(world, backups=1, newest=made)
        assert world.condition("BackedUp") == ("True", "BackupSucceeded")
        assert made.id in world.message("BackedUp")

    def test_what_another_job_made_at_the_time_is_not_taken_for_it(self, world: World) -> None:
        self._lose(world)
        self._a_check_looks(world, backups=1, newest=world.backup_of_now(job="portal-prod-manual-1", minutes=3))
        assert world.condition("BackedUp") == ("False", "ReportLost")


class TestTheNewest:
    def _backup(self, world: World, *, off: timedelta, minutes: float = 2) -> str:
        """A run of two minutes; gives the id of what it made."""
        job = world.cluster.tick_cron_job(CRON_JOB)
        world.cluster.start(job)
        world.pass_time(minutes=minutes)
        made = world.backup_of_now(job=job, off=off, minutes=minutes)
        report = world.report(Task.BACKUP, backup=made, newest=made, backups=1, off=off)
        world.cluster.finish(job, report)
        world.settle(POLICY_KEY)
        return made.id

    @OFF
    def test_a_backup_is_newer_than_the_check_before_it(self, world: World, off: timedelta) -> None:
        world.policy()
        world.settle(POLICY_KEY)
        check = world.cluster.the_job("-check-")["metadata"]["name"]
        world.cluster.finish(check, world.report(Task.CHECK, off=off))
        world.settle(POLICY_KEY)
        world.pass_time(minutes=5)
        made = self._backup(world, off=timedelta())
        assert world.status()["lastBackup"]["id"] == made
        assert world.status()["inventory"]["backups"] == 1

    @OFF
    def test_a_check_that_finds_the_bucket_empty_is_newer_than_the_backup_before_it(
        self, world: World, off: timedelta
    ) -> None:
        world.accepted_policy()
        self._backup(world, off=off)
        world.pass_time(minutes=5)
        world.cluster.annotate("BackupPolicy", "portal-prod", "resguardo.dev/take-over-from", "other/ns/name@3")
        world.settle(POLICY_KEY)
        world.check_passes(backups=0)
        assert "lastBackup" not in world.status()
        assert world.condition("BackedUp") == ("False", "BackupNotFound")

    @OFF
    def test_one_whose_job_is_gone_stays_though_the_check_before_it_is_there(
        self, world: World, off: timedelta
    ) -> None:
        world.policy()
        world.settle(POLICY_KEY)
        check = world.cluster.the_job("-check-")["metadata"]["name"]
        world.cluster.finish(check, world.report(Task.CHECK, off=off))
        world.settle(POLICY_KEY)
        world.pass_time(minutes=5)
        made = self._backup(world, off=timedelta())
        world.cluster.delete("Job", world.cluster.the_job("-backup-")["metadata"]["name"])
        world.settle(POLICY_KEY)
        assert world.status()["lastBackup"]["id"] == made

    @pytest.mark.parametrize("off", [timedelta(seconds=seconds) for seconds in (-3600, -1, 0, 1)])
    def test_the_backup_of_a_night_was_made_that_night(self, world: World, off: timedelta) -> None:
        """By a clock that is a second behind, it would have begun before its own time, and that time's be missing."""
        world.accepted_policy()
        world.cluster.now = NIGHT
        self._backup(world, off=off)
        world.pass_time(hours=23)
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == ("True", "BackupSucceeded")
        assert world.condition("Ready") == ("True", "PromiseKept")


@OFF
def test_a_restore_took_as_long_as_kubernetes_saw(world: World, off: timedelta) -> None:
    world.policy()
    world.request()
    world.settle(REQUEST_KEY)
    world.cluster.start("dr-2026-11-23-restore")
    world.pass_time(minutes=10)
    world.cluster.finish("dr-2026-11-23-restore", world.report(Task.RESTORE, off=off))
    world.settle(REQUEST_KEY)
    status = world.status(REQUEST_KEY)
    assert (status["completedAt"], status["recoveryTimeSeconds"]) == ("2026-11-23T12:10:00Z", 600)
