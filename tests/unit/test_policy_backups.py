"""What came of a policy's backups: which one is the last, and of which place."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.small_cluster import POLICY_KEY, World


def test_a_good_backup(world: World) -> None:
    world.accepted_policy()
    world.back_up()
    status = world.status()
    assert world.condition("BackedUp") == ("True", "BackupSucceeded")
    assert status["lastBackup"]["size"] == "1.0KiB"
    assert status["inventory"]["backups"] == 1
    assert status["lastRun"]["succeeded"] is True
    assert world.told() == ["BackupSucceeded", "CheckPassed"]


def test_a_failed_backup_keeps_the_last_good_one_in_sight(world: World) -> None:
    world.accepted_policy()
    world.back_up()
    good = world.status()["lastBackup"]
    world.pass_time(days=1)
    world.back_up(reason="DumpFailed")
    assert world.condition("BackedUp") == ("False", "DumpFailed")
    assert world.condition("Ready") == ("False", "DumpFailed")
    assert world.status()["lastBackup"] == good


def test_every_run_is_told_once_even_if_nothing_changes(world: World) -> None:
    world.accepted_policy()
    for _ in range(3):
        world.back_up()
        world.pass_time(days=1)
    assert world.told() == ["BackupSucceeded"] * 3 + ["CheckPassed"]


def test_a_deleted_failed_job_does_not_turn_the_policy_green(world: World) -> None:
    world.accepted_policy()
    world.back_up()
    world.pass_time(days=1)
    failed = world.back_up(reason="DumpFailed")
    world.cluster.delete("Job", failed)
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("False", "DumpFailed")


def test_a_run_whose_pod_is_removed_later_keeps_what_it_reported(world: World) -> None:
    world.accepted_policy()
    job = world.back_up()
    pod = next(name for name in world.cluster.names("Pod") if name.startswith(job))
    world.cluster.delete("Pod", pod)
    world.settle(POLICY_KEY)
    assert world.condition("BackedUp") == ("True", "BackupSucceeded")
    assert len([name for name in world.cluster.created if "-check-" in name]) == 1


def test_a_policy_made_anew_over_a_full_bucket_knows_its_newest_backup(world: World) -> None:
    world.policy()
    world.settle(POLICY_KEY)
    world.check_passes(backups=49, newest=world.backup_of_now(hours=7))
    assert world.condition("BackedUp") == ("True", "BackupSucceeded")
    assert world.status()["inventory"]["backups"] == 49


def test_a_bucket_found_empty_after_a_good_run_is_no_success(world: World) -> None:
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
        {"spec__store": {"volume": {"claimName": "nas"}}},
        {"spec__source__postgres__pgDump__database": "another"},
    ],
)
def test_a_policy_that_moves_tells_no_backup_of_the_former_place_not_even_when_its_check_leaves_no_report(
    world: World, change: dict[str, Any]
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


def test_a_policy_that_moves_to_another_claim_tells_no_backup_of_the_former_one(world: World) -> None:
    world.policy(spec__store={"volume": {"claimName": "nas"}})
    world.settle(POLICY_KEY)
    world.check_passes(backups=1, newest=world.backup_of_now(hours=7))
    assert "lastBackup" in world.status()
    world.cluster.edit("BackupPolicy", "portal-prod", spec__store={"volume": {"claimName": "another"}})
    world.settle(POLICY_KEY)
    assert "lastBackup" not in world.status()


def test_a_run_of_another_bucket_says_nothing_about_this_one(world: World) -> None:
    world.accepted_policy()
    world.back_up()
    world.cluster.edit("BackupPolicy", "portal-prod", spec__store__s3__bucket="another-bucket")
    world.settle(POLICY_KEY)
    world.check_passes()
    assert world.condition("BackedUp") == ("Unknown", "NeverRun")
    assert "lastBackup" not in world.status()


def test_jobs_of_a_former_policy_of_the_name_do_not_count(world: World) -> None:
    world.accepted_policy()
    world.back_up(reason="DumpFailed")
    orphan = next(job for job in world.cluster.list("Job", "default") if "-backup-" in job["metadata"]["name"])
    world.cluster.delete("BackupPolicy", "portal-prod")
    orphan["metadata"].pop("ownerReferences")
    world.cluster.put(orphan)
    world.accepted_policy()
    assert world.condition("BackedUp") == ("Unknown", "NeverRun")
