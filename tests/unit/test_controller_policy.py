"""The life of a policy: what is seen and when, against the objects that are wanted and the conditions that are shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from resguardo.api.report import Task
from resguardo.controller.effects import Refused
from tests.unit.small_cluster import POLICY_KEY, SETTINGS, World

#: 02:00 in São Paulo.
NIGHT = datetime(2026, 11, 24, 5, 0, tzinfo=UTC)


@pytest.fixture
def world() -> World:
    return World()


class TestAcceptance:
    def test_a_new_policy_is_checked_while_its_cron_job_stays_suspended(self, world: World) -> None:
        world.policy()
        world.settle(POLICY_KEY)
        assert world.cron_job()["spec"]["suspend"] is True
        assert len(world.cluster.names("Job")) == 1
        assert world.condition("Accepted") == ("Unknown", "Checking")
        assert world.condition("Ready") == ("Unknown", "Checking")
        assert world.condition("Reconciling") == ("True", "Checking")
        assert "nextBackupAt" not in world.status()

    def test_a_passed_check_lets_the_cron_job_go_and_the_policy_is_ready_before_its_first_backup(
        self, world: World
    ) -> None:
        world.accepted_policy()
        assert world.cron_job()["spec"]["suspend"] is False
        assert world.condition("Accepted") == ("True", "CheckPassed")
        assert world.condition("Ready") == ("True", "PromiseKept")
        assert world.condition("BackedUp") == ("Unknown", "NeverRun")
        assert world.condition("Reconciling") is None
        assert world.condition("Stalled") is None
        assert world.status()["nextBackupAt"] == "2026-11-24T05:00:00Z"
        assert world.told() == ["CheckPassed"]

    @pytest.mark.parametrize("kind", ["Retained", "SizeNormal", "Verified", "Replicated"])
    def test_what_is_not_there_yet_is_unknown_and_never_true(self, world: World, kind: str) -> None:
        world.accepted_policy()
        assert world.condition(kind) == ("Unknown", "NotEnforced")

    @pytest.mark.parametrize(
        ("reason", "kstatus"),
        [("DatabaseUnreachable", "Reconciling"), ("AuthenticationFailed", "Stalled"), ("PrefixOwned", "Stalled")],
    )
    def test_a_failed_check_shows_its_reason_and_message(self, world: World, reason: str, kstatus: str) -> None:
        world.policy()
        world.settle(POLICY_KEY)
        job = world.cluster.the_job("-check-")["metadata"]["name"]
        world.cluster.finish(job, world.report(Task.CHECK, reason=reason, message="what is wrong"))
        world.settle(POLICY_KEY)
        assert world.condition("Accepted") == ("False", reason)
        assert world.message("Ready") == "what is wrong"
        assert world.condition("Ready") == ("False", reason)
        assert world.condition(kstatus) == ("True", reason)
        assert world.cron_job()["spec"]["suspend"] is True

    def test_a_failed_check_is_tried_again_after_growing_waits_and_only_the_newest_is_kept(self, world: World) -> None:
        world.policy()
        world.settle(POLICY_KEY)
        waits = []
        for _ in range(8):
            job = world.cluster.the_job("-check-")["metadata"]["name"]
            world.cluster.finish(job, world.report(Task.CHECK, reason="AuthenticationFailed"))
            due = world.settle(POLICY_KEY)
            assert due is not None
            assert world.cluster.names("Job") == [job]
            waits.append((due - world.cluster.now).total_seconds())
            world.cluster.now = due - timedelta(seconds=1)
            world.settle(POLICY_KEY)
            assert world.cluster.names("Job") == [job]
            world.cluster.now = due
            world.settle(POLICY_KEY)
            assert len(world.cluster.names("Job")) == 1
            assert world.cluster.names("Job") != [job]
            assert world.condition("Accepted") == ("False", "AuthenticationFailed")
        first = [15, 30, 60, 120, 240, 300, 300, 300]
        assert all(low - 1 <= wait <= low * 1.2 for low, wait in zip(first, waits, strict=True))

    def test_an_invalid_document_waits_for_a_change(self, world: World) -> None:
        world.policy()
        world.settle(POLICY_KEY)
        world.cluster.finish(
            world.cluster.the_job("-check-")["metadata"]["name"], world.report(Task.CHECK, reason="DocumentInvalid")
        )
        assert world.settle(POLICY_KEY) is None
        world.pass_time(days=1)
        world.settle(POLICY_KEY)
        assert len(world.cluster.created) == 1

    def test_a_changed_policy_is_suspended_and_checked_anew(self, world: World) -> None:
        world.accepted_policy()
        old = world.cluster.names("Job")
        world.cluster.edit("BackupPolicy", "portal-prod", spec__store__s3__bucket="another-bucket")
        world.settle(POLICY_KEY)
        assert world.cron_job()["spec"]["suspend"] is True
        assert world.condition("Accepted") == ("Unknown", "Checking")
        assert len(world.cluster.names("Job")) == 1
        assert world.cluster.names("Job") != old
        world.check_passes()
        assert world.cron_job()["spec"]["suspend"] is False
        assert "another-bucket" in str(world.cron_job())
        assert world.status()["observedGeneration"] == 2

    def test_a_wish_to_take_over_is_checked_without_a_new_generation(self, world: World) -> None:
        world.policy()
        world.settle(POLICY_KEY)
        world.cluster.finish(
            world.cluster.the_job("-check-")["metadata"]["name"], world.report(Task.CHECK, reason="PrefixOwned")
        )
        world.settle(POLICY_KEY)
        world.cluster.annotate("BackupPolicy", "portal-prod", "resguardo.dev/take-over-from", "other/ns/name@3")
        world.settle(POLICY_KEY)
        assert "other/ns/name@3" in str(world.cluster.the_job("-check-"))
        world.check_passes()
        assert world.condition("Accepted") == ("True", "CheckPassed")

    def test_a_policy_that_the_models_refuse_is_told_and_leaves_the_cron_job_as_it_was(self, world: World) -> None:
        world.accepted_policy()
        before = world.cron_job()
        world.cluster.edit("BackupPolicy", "portal-prod", spec__timeZone="America/Sao_Paolo")
        world.settle(POLICY_KEY)
        assert world.condition("Accepted") == ("False", "DocumentInvalid")
        assert world.condition("Ready") == ("False", "DocumentInvalid")
        assert world.condition("Stalled") == ("True", "DocumentInvalid")
        assert "spec.timeZone" in world.message("Accepted")
        assert world.cron_job() == before

    def test_a_check_whose_pod_is_gone_has_passed_by_its_exit_status(self, world: World) -> None:
        world.policy()
        world.settle(POLICY_KEY)
        job = world.cluster.the_job("-check-")["metadata"]["name"]
        world.cluster.finish(job, None, exit_status=0, keep_pod=False)
        world.settle(POLICY_KEY)
        assert world.condition("Accepted") == ("True", "CheckPassed")

    def test_a_policy_that_is_being_deleted_is_left_alone(self, world: World) -> None:
        world.policy(metadata__deletionTimestamp="2026-11-23T12:00:00Z")
        world.settle(POLICY_KEY)
        assert world.cluster.writes == 0


PENDING = {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}


def _waits(reason: str, message: str) -> dict[str, Any]:
    return {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": reason, "message": message}}}]}


class TestWaitingPods:
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
        self, world: World, pod_status: dict[str, Any], event: tuple[str, str] | None, shown: tuple[str, str]
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

    def test_a_job_that_cannot_make_its_pod_tells_why(self, world: World) -> None:
        world.policy()
        world.settle(POLICY_KEY)
        world.cluster.warn(world.cluster.the_job("-check-"), "FailedCreate", "exceeded quota")
        world.settle(POLICY_KEY)
        assert world.condition("Accepted") == ("False", "FailedCreate")
        assert "exceeded quota" in world.message("Accepted")

    def test_a_waiting_pod_is_looked_at_within_a_minute_and_then_ever_less(self, world: World) -> None:
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

    def test_a_secret_that_appears_heals_the_policy(self, world: World) -> None:
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

    def test_what_a_check_waited_for_until_its_deadline_stays_shown(self, world: World) -> None:
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

    def test_a_backup_that_cannot_start_shows(self, world: World) -> None:
        world.accepted_policy()
        job = world.cluster.tick_cron_job("portal-prod-backup")
        pod = world.cluster.start(job, pod_status=PENDING)
        world.cluster.warn(pod, "FailedMount", 'secret "db" not found')
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == ("False", "FailedMount")
        assert world.condition("Ready") == ("False", "FailedMount")


class TestBackups:
    def test_a_good_backup(self, world: World) -> None:
        world.accepted_policy()
        world.back_up()
        status = world.status()
        assert world.condition("BackedUp") == ("True", "BackupSucceeded")
        assert status["lastBackup"]["size"] == "1.0KiB"
        assert status["inventory"]["backups"] == 1
        assert status["lastRun"]["succeeded"] is True
        assert world.told() == ["BackupSucceeded", "CheckPassed"]

    def test_a_failed_backup_keeps_the_last_good_one_in_sight(self, world: World) -> None:
        world.accepted_policy()
        world.back_up()
        good = world.status()["lastBackup"]
        world.pass_time(days=1)
        world.back_up(reason="DumpFailed")
        assert world.condition("BackedUp") == ("False", "DumpFailed")
        assert world.condition("Ready") == ("False", "DumpFailed")
        assert world.status()["lastBackup"] == good

    def test_every_run_is_told_once_even_if_nothing_changes(self, world: World) -> None:
        world.accepted_policy()
        for _ in range(3):
            world.back_up()
            world.pass_time(days=1)
        assert world.told() == ["BackupSucceeded"] * 3 + ["CheckPassed"]

    def test_a_deleted_failed_job_does_not_turn_the_policy_green(self, world: World) -> None:
        world.accepted_policy()
        world.back_up()
        world.pass_time(days=1)
        failed = world.back_up(reason="DumpFailed")
        world.cluster.delete("Job", failed)
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == ("False", "DumpFailed")

    def test_a_run_whose_pod_is_removed_later_keeps_what_it_reported(self, world: World) -> None:
        world.accepted_policy()
        job = world.back_up()
        pod = next(name for name in world.cluster.names("Pod") if name.startswith(job))
        world.cluster.delete("Pod", pod)
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == ("True", "BackupSucceeded")
        assert len([name for name in world.cluster.created if "-check-" in name]) == 1

    def test_a_policy_made_anew_over_a_full_bucket_knows_its_newest_backup(self, world: World) -> None:
        world.policy()
        world.settle(POLICY_KEY)
        world.check_passes(backups=49, newest=world.backup_of_now(hours=7))
        assert world.condition("BackedUp") == ("True", "BackupSucceeded")
        assert world.status()["inventory"]["backups"] == 49

    def test_a_bucket_found_empty_after_a_good_run_is_no_success(self, world: World) -> None:
        world.accepted_policy()
        world.back_up()
        world.pass_time(hours=1)
        world.cluster.delete("Job", world.cluster.the_job("-check-")["metadata"]["name"])
        world.settle(POLICY_KEY)
        world.check_passes(backups=0)
        assert world.condition("BackedUp") == ("False", "BackupNotFound")

    @pytest.mark.parametrize(
        "change",
        [
            {"spec__store__s3__bucket": "another-bucket"},
            {"spec__source__postgres__pgDump__database": "another"},
        ],
    )
    def test_a_policy_that_moves_tells_no_backup_of_the_former_place_not_even_when_its_check_leaves_no_report(
        self, world: World, change: dict[str, str]
    ) -> None:
        world.accepted_policy()
        world.back_up()
        assert "lastBackup" in world.status()
        world.cluster.edit("BackupPolicy", "portal-prod", **change)
        world.settle(POLICY_KEY)
        assert not {"lastBackup", "lastRun", "inventory"} & world.status().keys()
        assert world.condition("BackedUp") == ("Unknown", "NeverRun")
        world.cluster.finish(world.cluster.the_job("-check-")["metadata"]["name"], None, exit_status=0)
        world.settle(POLICY_KEY)
        assert world.condition("Accepted") == ("True", "CheckPassed")
        assert world.condition("BackedUp") == ("Unknown", "NeverRun")

    def test_a_run_of_another_bucket_says_nothing_about_this_one(self, world: World) -> None:
        world.accepted_policy()
        world.back_up()
        world.cluster.edit("BackupPolicy", "portal-prod", spec__store__s3__bucket="another-bucket")
        world.settle(POLICY_KEY)
        world.check_passes()
        assert world.condition("BackedUp") == ("Unknown", "NeverRun")
        assert "lastBackup" not in world.status()

    def test_jobs_of_a_former_policy_of_the_name_do_not_count(self, world: World) -> None:
        world.accepted_policy()
        world.back_up(reason="DumpFailed")
        orphan = next(job for job in world.cluster.list("Job", "default") if "-backup-" in job["metadata"]["name"])
        world.cluster.delete("BackupPolicy", "portal-prod")
        orphan["metadata"].pop("ownerReferences")
        world.cluster.put(orphan)
        world.accepted_policy()
        assert world.condition("BackedUp") == ("Unknown", "NeverRun")


class TestLateness:
    """Late from the schedule's next time after the last good start, plus an hour to start in, plus the timeout (6 h)."""

    @pytest.mark.parametrize(("seconds", "shown"), [(-1, ("Unknown", "NeverRun")), (0, ("False", "Late"))])
    def test_a_policy_that_never_made_a_backup(self, world: World, seconds: int, shown: tuple[str, str]) -> None:
        world.accepted_policy()
        world.cluster.now = NIGHT + timedelta(hours=7, seconds=seconds)
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == shown

    @pytest.mark.parametrize(("seconds", "shown"), [(-1, ("True", "BackupSucceeded")), (0, ("False", "Late"))])
    def test_a_policy_that_made_one(self, world: World, seconds: int, shown: tuple[str, str]) -> None:
        world.accepted_policy()
        world.cluster.now = NIGHT
        world.back_up()
        world.cluster.now = NIGHT + timedelta(days=1, hours=7, seconds=seconds)
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == shown

    def test_it_is_known_when_to_look(self, world: World) -> None:
        """Two minutes before the schedule's time, at it, and when it would be late: never in between, without news."""
        world.accepted_policy()
        looks = []
        for _ in range(3):
            due = world.settle(POLICY_KEY)
            assert due is not None
            world.cluster.now = due
            looks.append(due - NIGHT)
        assert looks == [-timedelta(minutes=2), timedelta(), timedelta(hours=7)]

    def test_a_suspended_policy_is_not_late(self, world: World) -> None:
        world.accepted_policy(spec__suspend=True)
        assert world.cron_job()["spec"]["suspend"] is True
        assert world.condition("Ready") == ("Unknown", "Suspended")
        world.cluster.now = NIGHT + timedelta(days=30)
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == ("Unknown", "NeverRun")

    def test_a_policy_that_is_not_accepted_and_never_was_is_not_late_as_well(self, world: World) -> None:
        world.policy()
        world.settle(POLICY_KEY)
        world.cluster.now = NIGHT + timedelta(days=30)
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == ("Unknown", "NeverRun")

    def test_a_reason_of_failure_says_more_than_late(self, world: World) -> None:
        world.accepted_policy()
        world.back_up(reason="DumpFailed")
        world.cluster.now = NIGHT + timedelta(days=3)
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == ("False", "DumpFailed")


class TestLostReports:
    def _lose(self, world: World, **how: Any) -> None:
        world.accepted_policy()
        world.pass_time(hours=1)
        job = world.cluster.tick_cron_job("portal-prod-backup")
        world.cluster.start(job)
        world.pass_time(minutes=5)
        world.cluster.finish(job, None, **how)
        world.pass_time(seconds=2)
        world.settle(POLICY_KEY)

    def test_a_lost_report_is_neither_success_nor_failure_and_a_check_looks_at_the_bucket(self, world: World) -> None:
        self._lose(world, exit_status=0, keep_pod=False)
        assert world.condition("BackedUp") == ("Unknown", "ReportLost")
        assert world.condition("Ready") == ("Unknown", "ReportLost")
        assert world.condition("Accepted") == ("True", "CheckPassed")
        assert world.cron_job()["spec"]["suspend"] is False
        assert world.cluster.the_job("-check-")["metadata"]["name"].endswith("-2")

    def test_the_bucket_holds_a_backup_of_that_time(self, world: World) -> None:
        self._lose(world, exit_status=1, keep_pod=False)
        made = world.backup_of_now(minutes=3)
        world.pass_time(seconds=10)
        world.check_passes(backups=1, newest=made)
        assert world.condition("BackedUp") == ("True", "BackupSucceeded")
        assert made.id in world.message("BackedUp")

    def test_the_bucket_holds_none(self, world: World) -> None:
        self._lose(world, exit_status=1, keep_pod=False)
        world.pass_time(seconds=10)
        world.check_passes(backups=0)
        assert world.condition("BackedUp") == ("False", "ReportLost")

    def test_memory_that_was_not_enough_is_named(self, world: World) -> None:
        self._lose(world, exit_status=137, killed="OOMKilled")
        world.pass_time(seconds=10)
        world.check_passes(backups=0)
        assert world.condition("BackedUp") == ("False", "OOMKilled")
        assert "jobs.resources.limits.memory" in world.message("BackedUp")

    def test_a_look_that_began_before_the_end_proves_nothing(self, world: World) -> None:
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

    def test_a_job_on_a_lost_node_ends_for_us_when_its_deadline_is_long_over(self, world: World) -> None:
        world.accepted_policy()
        job = world.cluster.tick_cron_job("portal-prod-backup")
        world.cluster.start(job)
        due = world.cluster.now + timedelta(hours=6, minutes=8)
        world.cluster.now = due - timedelta(seconds=1)
        assert world.settle(POLICY_KEY) == due
        assert world.condition("BackedUp") == ("Unknown", "NeverRun")
        world.cluster.now = due
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == ("Unknown", "ReportLost")
        world.pass_time(seconds=10)
        world.check_passes(backups=0)
        assert world.condition("BackedUp") == ("False", "NodeLost")
        assert "node-1" in world.message("BackedUp")

    def test_a_job_that_cannot_become_failed_is_told_by_its_failure_target(self, world: World) -> None:
        world.accepted_policy()
        job = world.cluster.tick_cron_job("portal-prod-backup")
        world.cluster.start(job)
        target = {
            "type": "FailureTarget",
            "status": "True",
            "reason": "DeadlineExceeded",
            "lastTransitionTime": "2026-11-23T12:00:00Z",
        }
        world.cluster.edit("Job", job, status__conditions=[target])
        due = world.settle(POLICY_KEY)
        assert due == world.cluster.now + timedelta(minutes=2)
        assert "lastRun" not in world.status()
        world.cluster.now = due
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == ("Unknown", "ReportLost")

    def test_a_job_that_hangs_on_a_lost_node_is_removed_once_status_tells_so_that_forbid_lets_the_next_night_run(
        self, world: World
    ) -> None:
        world.accepted_policy()
        job = world.cluster.tick_cron_job("portal-prod-backup")
        world.cluster.start(job)
        world.cluster.edit("Job", job, status__conditions=[_told_to_end(world)])
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

    def test_an_operator_whose_clock_is_an_hour_ahead_removes_no_job_that_kubernetes_lets_run(
        self, world: World
    ) -> None:
        world.accepted_policy(spec__timeout="10m")
        job = world.cluster.tick_cron_job("portal-prod-backup")
        world.cluster.start(job)
        world.pass_time(hours=1)
        world.settle(POLICY_KEY)
        world.check_passes(backups=0)
        assert job in world.cluster.names("Job")
        # and what the pod says at last counts
        made = world.backup_of_now(minutes=5)
        world.cluster.finish(job, world.report(Task.BACKUP, backup=made, newest=made, backups=1))
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == ("True", "BackupSucceeded")

    def test_an_operator_whose_clock_is_an_hour_behind_tells_the_same_as_one_that_is_right(self, world: World) -> None:
        world.accepted_policy()
        job = world.cluster.tick_cron_job("portal-prod-backup")
        world.cluster.start(job)
        made = world.backup_of_now(minutes=5)
        world.cluster.finish(job, world.report(Task.BACKUP, backup=made, newest=made, backups=1))
        world.pass_time(hours=-1)
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == ("True", "BackupSucceeded")
        assert world.condition("Ready") == ("True", "PromiseKept")

    def test_one_backup_is_told_once_however_it_comes_to_light(self, world: World) -> None:
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

    def test_a_backup_is_no_news_again_when_what_hid_it_is_gone(self, world: World) -> None:
        world.accepted_policy()
        world.back_up()
        world.pass_time(minutes=1)
        job = world.cluster.tick_cron_job("portal-prod-backup")
        waiting = {
            "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]
        }
        world.cluster.start(job, pod_status={"phase": "Pending", **waiting})
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == ("False", "ErrImagePull")
        world.cluster.delete("Job", job)
        world.pass_time(minutes=1)
        world.settle(POLICY_KEY)
        assert world.condition("BackedUp") == ("True", "BackupSucceeded")
        assert world.told().count("BackupSucceeded") == 1

    def test_a_document_that_became_invalid_is_late_as_the_former_one_promised(self, world: World) -> None:
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


def _told_to_end(world: World) -> dict[str, str]:
    moment = world.cluster.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded", "lastTransitionTime": moment}


class TestObjectsOfOthers:
    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("spec__suspend", True),
            ("spec__schedule", "1 1 1 1 *"),
            ("spec__concurrencyPolicy", "Allow"),
            ("metadata__labels", {}),
        ],
    )
    def test_an_edited_cron_job_is_put_right(self, world: World, path: str, value: Any) -> None:
        world.accepted_policy()
        right = world.cron_job()
        world.cluster.edit("CronJob", "portal-prod-backup", **{path: value})
        world.settle(POLICY_KEY)
        assert world.cron_job()["spec"] == right["spec"]
        assert world.cron_job()["metadata"]["labels"] == right["metadata"]["labels"]

    def test_fields_that_others_add_are_theirs(self, world: World) -> None:
        world.accepted_policy()
        world.cluster.edit(
            "CronJob", "portal-prod-backup", metadata__labels__team="infra", status__lastScheduleTime="…"
        )
        before = world.cluster.writes
        world.settle(POLICY_KEY)
        assert world.cluster.writes == before

    def test_a_deleted_cron_job_is_made_again(self, world: World) -> None:
        world.accepted_policy()
        world.cluster.delete("CronJob", "portal-prod-backup")
        world.settle(POLICY_KEY)
        assert world.cron_job()["spec"]["suspend"] is False

    def test_a_deleted_check_is_made_again_while_the_policy_stays_accepted(self, world: World) -> None:
        world.accepted_policy()
        world.cluster.delete("Job", world.cluster.names("Job")[0])
        world.settle(POLICY_KEY)
        assert len(world.cluster.names("Job")) == 1
        assert world.condition("Accepted") == ("True", "CheckPassed")
        assert world.cron_job()["spec"]["suspend"] is False

    def test_a_running_check_that_somebody_edited_is_put_right(self, world: World) -> None:
        world.policy()
        world.settle(POLICY_KEY)
        (job,) = world.cluster.names("Job")
        world.cluster.start(job)
        world.cluster.edit("Job", job, spec__activeDeadlineSeconds=5)
        world.settle(POLICY_KEY)
        assert world.cluster.the_job(job)["spec"]["activeDeadlineSeconds"] == 600

    def test_a_running_check_that_an_older_operator_made_is_left_to_end(self, world: World) -> None:
        world.policy()
        world.settle(POLICY_KEY)
        before = world.cluster.the_job("-check-")
        world.controller = world.new_controller(replace(SETTINGS, version="0.10.0", image="newer"))
        world.settle(POLICY_KEY)
        assert world.cluster.the_job("-check-") == before

    def test_a_strangers_cron_job_is_not_overwritten(self, world: World) -> None:
        stranger = {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "portal-prod-backup", "namespace": "default"},
            "spec": {},
        }
        world.cluster.put(stranger)
        world.policy()
        world.settle(POLICY_KEY)
        assert world.cron_job()["spec"] == {}
        assert world.condition("Accepted") == ("False", "NameTaken")
        world.check_passes()
        assert world.condition("Ready") == ("False", "NameTaken")

    @pytest.mark.parametrize("was_there", [False, True], ids=["none was there", "ours was there"])
    def test_nor_is_one_that_was_made_between_look_and_write(
        self, world: World, monkeypatch: pytest.MonkeyPatch, was_there: bool
    ) -> None:
        stranger = {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "portal-prod-backup", "namespace": "default"},
            "spec": {"schedule": "7 7 * * *"},
        }
        world.policy()
        if was_there:
            world.settle(POLICY_KEY)
            world.cluster.edit("CronJob", "portal-prod-backup", spec__schedule="6 6 * * *")
        apply = world.cluster.apply

        def apply_after_a_stranger(body: Any) -> None:
            if was_there:
                world.cluster.delete("CronJob", "portal-prod-backup")
            world.cluster.put(stranger)
            apply(body)

        monkeypatch.setattr(world.cluster, "apply", apply_after_a_stranger)
        world.controller.reconcile(POLICY_KEY)
        monkeypatch.undo()
        world.settle(POLICY_KEY)
        assert world.cron_job()["spec"] == {"schedule": "7 7 * * *"}
        assert world.condition("Accepted") == ("False", "NameTaken")

    def test_a_strangers_job_under_a_checks_name_is_told(self, world: World) -> None:
        world.policy()
        world.settle(POLICY_KEY)
        (name,) = world.cluster.names("Job")
        world.cluster.delete("Job", name)
        world.cluster.put({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"}})
        with pytest.raises(Refused, match=name):
            world.controller.reconcile(POLICY_KEY)
        assert world.condition("Accepted") == ("False", "NameTaken")

    def test_an_orphaned_cron_job_of_ours_is_taken_up_again(self, world: World) -> None:
        world.accepted_policy()
        world.cluster.edit("CronJob", "portal-prod-backup", metadata__ownerReferences=[])
        world.settle(POLICY_KEY)
        assert world.cron_job()["metadata"]["ownerReferences"][0]["kind"] == "BackupPolicy"

    def test_what_a_former_policy_left_is_waited_for(self, world: World) -> None:
        world.accepted_policy()
        left = world.cron_job()
        world.cluster.delete("BackupPolicy", "portal-prod")
        left = world.cluster.put(left)
        world.policy()
        assert world.settle(POLICY_KEY) == world.cluster.now + timedelta(seconds=5)
        assert world.cron_job() == left
        world.cluster.delete("CronJob", "portal-prod-backup")
        world.settle(POLICY_KEY)
        assert world.cron_job()["metadata"]["ownerReferences"] != left["metadata"]["ownerReferences"]

    def test_an_older_operator_leaves_alone_what_a_newer_one_wrote(self, world: World) -> None:
        world.controller = world.new_controller(replace(SETTINGS, version="0.10.0", image="newer"))
        world.accepted_policy()
        before = world.cron_job()
        world.controller = world.new_controller(replace(SETTINGS, version="0.9.5"))
        world.settle(POLICY_KEY)
        assert world.cron_job() == before
        assert world.condition("Accepted") == ("False", "NewerOperator")

    def test_a_newer_operator_writes_anew_what_an_older_one_wrote(self, world: World) -> None:
        world.accepted_policy()
        checks = world.cluster.names("Job")
        world.controller = world.new_controller(replace(SETTINGS, version="0.10.0", image="newer"))
        world.settle(POLICY_KEY)
        assert "newer" in str(world.cron_job())
        assert world.cluster.names("Job") == checks

    def test_what_the_api_server_refuses_is_the_condition_until_it_is_let_in(self, world: World) -> None:
        world.cluster.refuses["portal-prod-backup"] = "denied by a policy of the cluster"
        world.policy()
        for _ in range(3):
            with pytest.raises(Refused, match="denied by a policy"):
                world.controller.reconcile(POLICY_KEY)
        assert world.condition("Accepted") == ("False", "ObjectsRefused")
        assert "denied by a policy of the cluster" in world.message("Accepted")
        world.cluster.refuses.clear()
        world.settle(POLICY_KEY)
        world.check_passes()
        assert world.condition("Ready") == ("True", "PromiseKept")


REQUESTED = "resguardo.dev/backup-requested-at"


class TestManualBackups:
    def test_each_new_value_starts_one_backup(self, world: World) -> None:
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

    def test_it_waits_until_the_policy_is_accepted(self, world: World) -> None:
        world.policy()
        world.cluster.annotate("BackupPolicy", "portal-prod", REQUESTED, "2026-11-23T12:00:00Z")
        world.settle(POLICY_KEY)
        assert "lastHandledBackupRequest" not in world.status()
        assert not [name for name in world.cluster.created if "-manual-" in name]
        world.check_passes()
        assert [name for name in world.cluster.created if "-manual-" in name]

    def test_it_waits_for_the_end_of_a_running_backup(self, world: World) -> None:
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
    def test_a_value_that_is_no_time_is_told_once(self, world: World, value: str) -> None:
        world.accepted_policy()
        world.cluster.annotate("BackupPolicy", "portal-prod", REQUESTED, value)
        world.settle(POLICY_KEY)
        world.restart()
        world.settle(POLICY_KEY)
        assert world.told() == ["BackupRequestInvalid", "CheckPassed"]
        assert not [name for name in world.cluster.created if "-manual-" in name]

    def test_the_newest_three_are_kept(self, world: World) -> None:
        world.accepted_policy()
        for minute in range(5):
            world.pass_time(minutes=1)
            world.cluster.annotate("BackupPolicy", "portal-prod", REQUESTED, f"2026-11-23T12:0{minute}:00Z")
            world.settle(POLICY_KEY)
            name = world.cluster.the_job("-manual-")["metadata"]["name"]
            world.cluster.finish(name, world.report(Task.BACKUP, reason="DumpFailed"))
            world.settle(POLICY_KEY)
        assert len([name for name in world.cluster.names("Job") if "-manual-" in name]) == 3

    def test_a_job_made_by_hand_from_the_cron_job_counts_like_any_other(self, world: World) -> None:
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
