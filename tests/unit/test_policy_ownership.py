"""What a policy's objects are, whoever edits, removes, orphans, refuses or takes them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from resguardo.controller.effects import Refused
from tests.unit.small_cluster import POLICY_KEY, SETTINGS, World


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec__suspend", True),
        ("spec__schedule", "1 1 1 1 *"),
        ("spec__concurrencyPolicy", "Allow"),
        ("metadata__labels", {}),
    ],
)
def test_an_edited_cron_job_is_put_right(world: World, path: str, value: Any) -> None:
    world.accepted_policy()
    right = world.cron_job()
    world.cluster.edit("CronJob", "portal-prod-backup", **{path: value})
    world.settle(POLICY_KEY)
    assert world.cron_job()["spec"] == right["spec"]
    assert world.cron_job()["metadata"]["labels"] == right["metadata"]["labels"]


def test_fields_that_others_add_are_theirs(world: World) -> None:
    world.accepted_policy()
    world.cluster.edit("CronJob", "portal-prod-backup", metadata__labels__team="infra", status__lastScheduleTime="…")
    before = world.cluster.writes
    world.settle(POLICY_KEY)
    assert world.cluster.writes == before


def test_a_deleted_cron_job_is_made_again(world: World) -> None:
    world.accepted_policy()
    world.cluster.delete("CronJob", "portal-prod-backup")
    world.settle(POLICY_KEY)
    assert world.cron_job()["spec"]["suspend"] is False


def test_a_deleted_check_is_made_again_while_the_policy_stays_accepted(world: World) -> None:
    world.accepted_policy()
    world.cluster.delete("Job", world.cluster.names("Job")[0])
    world.settle(POLICY_KEY)
    assert len(world.cluster.names("Job")) == 1
    assert world.condition("Accepted") == ("True", "CheckPassed")
    assert world.cron_job()["spec"]["suspend"] is False


def test_a_running_check_that_somebody_edited_is_put_right(world: World) -> None:
    world.policy()
    world.settle(POLICY_KEY)
    (job,) = world.cluster.names("Job")
    world.cluster.start(job)
    world.cluster.edit("Job", job, spec__activeDeadlineSeconds=5, spec__suspend=True)
    world.cluster.the_job(job)["metadata"]["labels"]["resguardo.dev/task"] = "x"
    world.settle(POLICY_KEY)
    healed = world.cluster.the_job(job)
    assert (healed["spec"]["activeDeadlineSeconds"], healed["spec"]["suspend"]) == (600, False)
    assert healed["metadata"]["labels"]["resguardo.dev/task"] == "check"


def test_a_running_check_that_an_older_operator_made_is_left_to_end(world: World) -> None:
    world.policy()
    world.settle(POLICY_KEY)
    before = world.cluster.the_job("-check-")
    world.controller = world.new_controller(replace(SETTINGS, version="0.10.0", image="newer"))
    world.settle(POLICY_KEY)
    assert world.cluster.the_job("-check-") == before


def test_a_strangers_cron_job_is_not_overwritten(world: World) -> None:
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
    world: World, monkeypatch: pytest.MonkeyPatch, was_there: bool
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


def test_a_strangers_job_under_a_checks_name_is_told(world: World) -> None:
    world.policy()
    world.settle(POLICY_KEY)
    (name,) = world.cluster.names("Job")
    world.cluster.delete("Job", name)
    world.cluster.put({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"}})
    with pytest.raises(Refused, match=name):
        world.controller.reconcile(POLICY_KEY)
    assert world.condition("Accepted") == ("False", "NameTaken")


def test_an_orphaned_cron_job_of_ours_is_taken_up_again(world: World) -> None:
    world.accepted_policy()
    world.cluster.edit("CronJob", "portal-prod-backup", metadata__ownerReferences=[])
    world.settle(POLICY_KEY)
    assert world.cron_job()["metadata"]["ownerReferences"][0]["kind"] == "BackupPolicy"


def test_what_a_former_policy_left_is_waited_for(world: World) -> None:
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


def test_an_older_operator_leaves_alone_what_a_newer_one_wrote(world: World) -> None:
    world.controller = world.new_controller(replace(SETTINGS, version="0.10.0", image="newer"))
    world.accepted_policy()
    before = world.cron_job()
    world.controller = world.new_controller(replace(SETTINGS, version="0.9.5"))
    world.settle(POLICY_KEY)
    assert world.cron_job() == before
    assert world.condition("Accepted") == ("False", "NewerOperator")


def test_nor_does_it_remove_the_checks_that_a_newer_one_made(world: World) -> None:
    newer, older = (world.new_controller(replace(SETTINGS, version=version)) for version in ("0.10.0", "0.9.5"))
    world.controller = newer
    world.policy()
    world.settle(POLICY_KEY)
    world.cluster.annotate("BackupPolicy", "portal-prod", "resguardo.dev/take-over-from", "other/ns/name@3")
    older.reconcile(POLICY_KEY)
    assert len(world.cluster.names("Job")) == 2
    newer.reconcile(POLICY_KEY)
    assert len(world.cluster.names("Job")) == 1


def test_a_newer_operator_writes_anew_what_an_older_one_wrote(world: World) -> None:
    world.accepted_policy()
    checks = world.cluster.names("Job")
    world.controller = world.new_controller(replace(SETTINGS, version="0.10.0", image="newer"))
    world.settle(POLICY_KEY)
    assert "newer" in str(world.cron_job())
    assert world.cluster.names("Job") == checks


def test_what_the_api_server_refuses_is_the_condition_until_it_is_let_in(world: World) -> None:
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
