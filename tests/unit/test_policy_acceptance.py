"""When a policy is accepted: what its check tells, when it is tried again, and what waits for it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from resguardo.api.report import Task
from tests.unit.small_cluster import POLICY_KEY, World


def test_a_new_policy_is_checked_while_its_cron_job_stays_suspended(world: World) -> None:
    world.policy()
    world.settle(POLICY_KEY)
    assert world.cron_job()["spec"]["suspend"] is True
    assert len(world.cluster.names("Job")) == 1
    assert world.condition("Accepted") == ("Unknown", "Checking")
    assert world.condition("Ready") == ("Unknown", "Checking")
    assert world.condition("Reconciling") == ("True", "Checking")
    assert "nextBackupAt" not in world.status()


def test_a_passed_check_lets_the_cron_job_go_and_the_policy_is_ready_before_its_first_backup(world: World) -> None:
    world.accepted_policy()
    assert world.cron_job()["spec"]["suspend"] is False
    assert world.condition("Accepted") == ("True", "CheckPassed")
    assert world.condition("Ready") == ("True", "PromiseKept")
    assert world.condition("BackedUp") == ("Unknown", "NeverRun")
    assert world.condition("Reconciling") is None
    assert world.condition("Stalled") is None
    assert world.status()["nextBackupAt"] == "2026-11-24T05:00:00Z"
    assert world.told() == ["CheckPassed"]


@pytest.mark.parametrize("kind", ["Retained", "Verified", "Replicated"])
def test_what_is_not_there_yet_is_unknown_and_never_true(world: World, kind: str) -> None:
    world.accepted_policy()
    assert world.condition(kind) == ("Unknown", "NotEnforced")


@pytest.mark.parametrize(
    ("reason", "kstatus"),
    [("DatabaseUnreachable", "Reconciling"), ("AuthenticationFailed", "Stalled"), ("PrefixOwned", "Stalled")],
)
def test_a_failed_check_shows_its_reason_and_message(world: World, reason: str, kstatus: str) -> None:
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


def test_a_failed_check_is_tried_again_after_growing_waits_and_only_the_newest_is_kept(world: World) -> None:
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


def test_an_invalid_document_waits_for_a_change(world: World) -> None:
    world.policy()
    world.settle(POLICY_KEY)
    world.cluster.finish(
        world.cluster.the_job("-check-")["metadata"]["name"], world.report(Task.CHECK, reason="DocumentInvalid")
    )
    assert world.settle(POLICY_KEY) is None
    world.pass_time(days=1)
    world.settle(POLICY_KEY)
    assert len(world.cluster.created) == 1


def test_a_changed_policy_is_suspended_and_checked_anew(world: World) -> None:
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


def test_a_wish_to_take_over_is_checked_without_a_new_generation(world: World) -> None:
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


def test_a_policy_that_the_models_refuse_is_told_and_leaves_the_cron_job_as_it_was(world: World) -> None:
    world.accepted_policy()
    before = world.cron_job()
    world.cluster.edit("BackupPolicy", "portal-prod", spec__timeZone="America/Sao_Paolo")
    world.settle(POLICY_KEY)
    assert world.condition("Accepted") == ("False", "DocumentInvalid")
    assert world.condition("Ready") == ("False", "DocumentInvalid")
    assert world.condition("Stalled") == ("True", "DocumentInvalid")
    assert "spec.timeZone" in world.message("Accepted")
    assert world.cron_job() == before


def test_a_check_whose_pod_is_gone_has_passed_by_its_exit_status(world: World) -> None:
    world.policy()
    world.settle(POLICY_KEY)
    job = world.cluster.the_job("-check-")["metadata"]["name"]
    world.cluster.finish(job, None, exit_status=0, keep_pod=False)
    world.settle(POLICY_KEY)
    assert world.condition("Accepted") == ("True", "CheckPassed")


def test_a_policy_that_is_being_deleted_is_left_alone(world: World) -> None:
    world.policy(metadata__deletionTimestamp="2026-11-23T12:00:00Z")
    world.settle(POLICY_KEY)
    assert world.cluster.writes == 0


@pytest.mark.parametrize("annotation", ["take-over-from", "accept", "accept-plan"])
def test_what_a_person_says_by_annotation_is_told_to_a_new_check(world: World, annotation: str) -> None:
    world.accepted_policy()
    world.cluster.annotate("BackupPolicy", "portal-prod", f"resguardo.dev/{annotation}", "what is said")
    world.settle(POLICY_KEY)
    template = world.cluster.the_job("-check-")["spec"]["template"]
    assert "what is said" in template["metadata"]["annotations"]["resguardo.dev/policy"]
    assert len([name for name in world.cluster.created if "-check-" in name]) == 2
