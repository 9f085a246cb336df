"""Retained, and the CronJob that keeps it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from resguardo.api.base import print_time
from resguardo.api.policy import RetentionSummary
from resguardo.api.report import Report, Task
from tests.unit.small_cluster import POLICY_KEY, World

CRON_JOB = "portal-prod-retention"
TIERS = {"daily": "30d", "weekly": "3mo"}


def cron_job_names(world: World) -> list[str]:
    return sorted(world.cluster.names("CronJob"))


def retain(world: World, *, reason: str = "RetentionEnforced", succeeded: bool = True) -> str:
    """One run of the CronJob, and what it reported."""
    job = world.cluster.tick_cron_job(CRON_JOB)
    world.cluster.start(job)
    world.pass_time(minutes=1)
    report: Report = world.report(Task.RETENTION, reason=None if succeeded else reason)
    told = {"reason": reason, "message": f"what {reason} means", "retention": RetentionSummary()}
    world.cluster.finish(job, report.model_copy(update=told))
    world.settle(POLICY_KEY)
    return job


def test_a_policy_with_retention_has_a_cron_job_for_it_that_runs_once_a_day_in_its_zone(world: World) -> None:
    world.accepted_policy(spec__retention=TIERS)
    assert cron_job_names(world) == ["portal-prod-backup", CRON_JOB]
    spec = world.cron_job(CRON_JOB)["spec"]
    minute, hour, *rest = spec["schedule"].split()
    assert (0 <= int(minute) < 60, 0 <= int(hour) < 24, rest) == (True, True, ["*", "*", "*"])
    assert (spec["timeZone"], spec["concurrencyPolicy"], spec["suspend"]) == ("America/Sao_Paulo", "Forbid", False)


def test_its_pods_are_given_nothing_of_the_database(world: World) -> None:
    world.accepted_policy(spec__retention=TIERS)
    pod = world.cron_job(CRON_JOB)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"][0] == "retention"
    assert "database/" not in str(pod)
    assert "database/" in str(world.cron_job()["spec"]["jobTemplate"])


def test_it_stays_suspended_until_the_policy_is_accepted(world: World) -> None:
    world.policy(spec__retention=TIERS)
    world.settle(POLICY_KEY)
    assert world.cron_job(CRON_JOB)["spec"]["suspend"] is True


def test_a_policy_without_retention_has_none_and_says_that_nothing_is_removed(world: World) -> None:
    world.policy()
    world.settle(POLICY_KEY)
    assert cron_job_names(world) == ["portal-prod-backup"]
    assert world.condition("Retained") == ("Unknown", "NotEnforced")


def test_retention_that_is_taken_out_of_a_policy_stops(world: World) -> None:
    world.accepted_policy(spec__retention=TIERS)
    world.cluster.edit("BackupPolicy", "portal-prod", spec__retention=None)
    world.settle(POLICY_KEY)
    world.check_passes()
    assert world.cron_job(CRON_JOB)["spec"]["suspend"] is True


def test_before_its_first_run_it_is_open_and_the_policy_ready(world: World) -> None:
    world.accepted_policy(spec__retention=TIERS)
    assert world.condition("Retained") == ("Unknown", "NeverRun")
    assert world.condition("Ready") == ("True", "PromiseKept")


def test_a_run_that_did_all_it_should(world: World) -> None:
    world.accepted_policy(spec__retention=TIERS)
    retain(world)
    assert world.condition("Retained") == ("True", "RetentionEnforced")
    assert world.condition("Ready") == ("True", "PromiseKept")
    assert "RetentionEnforced" not in world.told()


@pytest.mark.parametrize(
    ("reason", "succeeded"),
    [
        pytest.param("SourceChanged", True, id="a pause"),
        pytest.param("TooMuchAtOnce", True, id="another pause"),
        pytest.param("StoreAccessDenied", False, id="a failure"),
    ],
)
def test_a_run_that_did_not(world: World, reason: str, succeeded: bool) -> None:
    world.accepted_policy(spec__retention=TIERS)
    retain(world, reason=reason, succeeded=succeeded)
    assert world.condition("Retained") == ("False", reason)
    assert world.condition("Ready") == ("False", reason)
    assert world.message("Retained") == f"what {reason} means"
    assert world.told().count(reason) == 1


def test_the_next_run_heals_it(world: World) -> None:
    world.accepted_policy(spec__retention=TIERS)
    retain(world, reason="LastAttemptFailed")
    world.pass_time(days=1)
    retain(world)
    assert world.condition("Retained") == ("True", "RetentionEnforced")


def test_what_a_run_came_to_outlives_its_job(world: World) -> None:
    world.accepted_policy(spec__retention=TIERS)
    job = retain(world, reason="SourceChanged")
    world.cluster.delete("Job", job)
    world.settle(POLICY_KEY)
    assert world.condition("Retained") == ("False", "SourceChanged")


def test_a_run_without_a_report_is_no_word_on_what_the_bucket_holds(world: World) -> None:
    world.accepted_policy(spec__retention=TIERS)
    job = world.cluster.tick_cron_job(CRON_JOB)
    world.cluster.start(job)
    world.pass_time(minutes=1)
    world.cluster.finish(job, None)
    world.settle(POLICY_KEY)
    assert world.condition("Retained") == ("Unknown", "ReportLost")


def test_a_suspended_policy_removes_nothing(world: World) -> None:
    world.accepted_policy(spec__retention=TIERS)
    world.cluster.edit("BackupPolicy", "portal-prod", spec__suspend=True)
    world.settle(POLICY_KEY)
    assert world.cron_job(CRON_JOB)["spec"]["suspend"] is True
    assert world.condition("Retained") == ("Unknown", "Suspended")


def test_a_strangers_cron_job_of_that_name_is_left_alone_and_told(world: World) -> None:
    world.cluster.put(
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": CRON_JOB, "namespace": "default", "uid": "a-stranger"},
            "spec": {},
        }
    )
    world.accepted_policy(spec__retention=TIERS)
    # Backups go on all the same.
    assert world.condition("Accepted") == ("True", "CheckPassed")
    assert world.cron_job()["spec"]["suspend"] is False
    assert world.condition("Retained") == ("False", "NameTaken")
    assert world.condition("Ready") == ("False", "NameTaken")
    assert world.told().count("NameTaken") == 1
    assert world.cron_job(CRON_JOB)["spec"] == {}
    # Who wants no retention has nothing against it.
    world.cluster.edit("BackupPolicy", "portal-prod", spec__retention=None)
    world.settle(POLICY_KEY)
    assert world.condition("Retained") == ("Unknown", "NotEnforced")
    world.cluster.edit("BackupPolicy", "portal-prod", spec__retention=TIERS)
    world.cluster.delete("CronJob", CRON_JOB)
    world.settle(POLICY_KEY)
    assert world.condition("Retained") == ("Unknown", "NeverRun")
    assert world.cron_job(CRON_JOB)["spec"]["schedule"]


def test_status_tells_what_is_held_by_tier_and_when_the_first_may_go(world: World) -> None:
    world.accepted_policy(spec__retention=TIERS)
    job = world.cluster.tick_cron_job(CRON_JOB)
    world.cluster.start(job)
    world.pass_time(minutes=1)
    goes_at = world.cluster.now + timedelta(days=1)
    found = RetentionSummary(
        by_tier={"daily": 31, "weekly": 14},
        bytes_by_tier={"daily": 31_000, "weekly": 14_000},
        marked=2,
        removed=1,
        next_removal_at=goes_at,
    )
    report = world.report(Task.RETENTION).model_copy(update={"reason": "RetentionEnforced", "retention": found})
    world.cluster.finish(job, report)
    world.settle(POLICY_KEY)
    told = {
        "byTier": {"daily": 31, "weekly": 14},
        "bytesByTier": {"daily": 31_000, "weekly": 14_000},
        "marked": 2,
        "removed": 1,
        "nextRemovalAt": print_time(goes_at),
        "enforcedAt": print_time(world.cluster.now),
    }
    assert world.status()["retention"] == told
    world.cluster.delete("Job", job)
    world.settle(POLICY_KEY)
    assert world.status()["retention"] == told


def test_when_retention_was_last_enforced_outlives_pauses_failures_and_jobs(world: World) -> None:
    world.accepted_policy(spec__retention=TIERS)
    retain(world, reason="LastAttemptFailed")
    assert "enforcedAt" not in world.status()["retention"]
    job = retain(world)
    enforced = world.status()["retention"]["enforcedAt"]
    assert enforced == print_time(world.cluster.now)
    world.cluster.delete("Job", job)
    for reason, succeeded in (("SourceChanged", True), ("StoreAccessDenied", False)):
        world.pass_time(days=1)
        retain(world, reason=reason, succeeded=succeeded)
        assert world.status()["retention"]["enforcedAt"] == enforced


def test_what_a_run_waited_for_is_forgotten_with_it(world: World) -> None:
    world.accepted_policy(spec__retention=TIERS)
    job = world.cluster.tick_cron_job(CRON_JOB)
    world.cluster.edit("Job", job, spec__suspend=True)
    world.settle(POLICY_KEY)
    assert world.condition("Retained") == ("False", "JobSuspended")
    world.cluster.delete("Job", job)
    world.settle(POLICY_KEY)
    assert world.condition("Retained") == ("Unknown", "NeverRun")


def test_nothing_is_removed_where_a_stranger_has_the_name_of_the_backups_cron_job(world: World) -> None:
    world.accepted_policy(spec__retention=TIERS)
    world.cluster.delete("CronJob", "portal-prod-backup")
    metadata = {"name": "portal-prod-backup", "namespace": "default", "uid": "a-stranger"}
    world.cluster.put({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": {}})
    world.settle(POLICY_KEY)
    assert world.condition("Accepted") == ("False", "NameTaken")
    assert world.cron_job(CRON_JOB)["spec"]["suspend"] is True
