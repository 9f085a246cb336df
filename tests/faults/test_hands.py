"""What people do in the middle: edit, delete, suspend, ask twice."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.fixtures.cluster import Document, condition, has_condition
from tests.fixtures.holding import (
    LONG,
    back_up,
    backups,
    events,
    held_backup,
    held_restores,
    make_ready,
    wait_until_held,
)
from tests.fixtures.portal import Portal

pytestmark = pytest.mark.fault

REQUESTED = "resguardo.dev/backup-requested-at"


def test_a_policy_deleted_during_its_backup_leaves_nothing_and_can_be_applied_again(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    make_ready(portal)
    with held_backup(portal):
        cluster.kubectl("delete", "bp", "portal", "-n", namespace, "--timeout=60s", timeout=70)
        for kind in ("job", "cronjob", "pod"):
            cluster.kubectl(
                "wait", "--for=delete", kind, "-l", "resguardo.dev/policy=portal", "-n", namespace, "--timeout=120s", timeout=130
            )  # fmt: skip
    assert backups(portal) == set()
    make_ready(portal)
    back_up(portal, "again")


def test_a_backup_that_runs_never_sees_its_policy_change(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    make_ready(portal)
    with held_backup(portal) as held:
        cluster.apply(portal.policy(timeout=LONG, store={"prefix": "prod/other"}))
        cluster.wait_for("bp", "portal", namespace, has_condition("Accepted", "True"), until="condition shows")
        held.release()
        cluster.kubectl("wait", "--for=condition=Complete", "job/held", "-n", namespace, "--timeout=120s", timeout=130)
    # It went where it was meant to go, and says nothing about the new place
    assert len(backups(portal)) == 1
    assert not [key for key in portal.object_keys() if key.startswith("prod/other/backups/")]
    policy = cluster.get("bp", "portal", namespace)
    assert policy is not None
    assert condition(policy, "BackedUp")["reason"] == "NeverRun"
    back_up(portal, "again")
    assert [key for key in portal.object_keys() if key.startswith("prod/other/backups/")]


def test_a_running_check_that_somebody_edited_is_put_right(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    # No node has such a label, so that the check keeps running
    cluster.apply(portal.policy(jobs={"nodeSelector": {"no-such": "node"}}))
    cluster.wait_for(
        "bp", "portal", namespace, has_condition("Accepted", "Unknown", "Unschedulable"), until="condition shows"
    )
    (check,) = cluster.list("jobs", namespace, "resguardo.dev/task=check")
    name = check["metadata"]["name"]
    edit = '{"metadata":{"labels":{"resguardo.dev/task":"x"}},"spec":{"suspend":true,"activeDeadlineSeconds":99999}}'
    cluster.kubectl("patch", "job", name, "-n", namespace, "-p", edit)
    deadline = check["spec"]["activeDeadlineSeconds"]
    healed = cluster.wait_for(
        "job", name, namespace, lambda job: job["spec"]["activeDeadlineSeconds"] == deadline, until="object made"
    )
    assert not healed["spec"]["suspend"]
    assert healed["metadata"]["labels"]["resguardo.dev/task"] == "check"


def test_a_status_that_somebody_spoilt_is_made_anew(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    make_ready(portal)
    lie = [{
        "type": "Ready", "status": "False", "reason": "Spoilt", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]  # fmt: skip
    patch = json.dumps({"status": {"conditions": lie, "nextBackupAt": None, "observedGeneration": 99}})
    cluster.kubectl("patch", "bp", "portal", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    told = cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True"), until="condition shows")
    assert told["status"]["nextBackupAt"]


def test_a_policy_made_invalid_says_so_and_its_cronjob_goes_on(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    make_ready(portal)
    cluster.apply(portal.policy(timeout=LONG, timeZone="America/Curitiba", schedule="0 3 * * *"))
    cluster.wait_for(
        "bp", "portal", namespace, has_condition("Accepted", "False", "DocumentInvalid"), until="condition shows"
    )
    cronjob = cluster.get("cronjob", "portal-backup", namespace)
    assert cronjob is not None
    assert (cronjob["spec"]["suspend"], cronjob["spec"]["schedule"]) == (False, "0 2 * * *")
    make_ready(portal)


def test_a_policy_suspended_during_its_backup_lets_it_end_and_is_resumed(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    make_ready(portal)
    with held_backup(portal) as held:
        cluster.kubectl("patch", "bp", "portal", "-n", namespace, "--type=merge", "-p", '{"spec":{"suspend":true}}')
        cluster.wait_for(
            "bp", "portal", namespace, has_condition("Ready", "Unknown", "Suspended"), until="condition shows"
        )
        held.release()
        cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="backup done")
    cluster.kubectl("patch", "bp", "portal", "-n", namespace, "--type=merge", "-p", '{"spec":{"suspend":false}}')
    cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True", "PromiseKept"), until="condition shows")
    cluster.wait_for("cronjob", "portal-backup", namespace, lambda c: not c["spec"]["suspend"], until="object made")


def test_a_running_backup_whose_job_is_suspended_is_told_and_begins_again_when_it_is_resumed(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    make_ready(portal)
    with held_backup(portal) as held:
        _suspend(portal, "held")
        told = cluster.wait_for(
            "bp", "portal", namespace, has_condition("BackedUp", "False", "JobSuspended"), until="condition shows"
        )
        assert "Job held" in condition(told, "Ready")["message"]
        held.release()
    _resume(portal, "held")
    done = cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="backup done")
    assert backups(portal) == {done["status"]["lastBackup"]["id"]}


def test_the_running_job_of_a_restore_may_be_suspended_resumed_and_edited(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    make_ready(portal)
    back_up(portal, "first")
    portal.drop_database()
    with held_restores(portal) as held:
        cluster.apply(portal.request("dr"))
        wait_until_held(portal, "CREATE DATABASE")
        _suspend(portal, "dr-restore")
        cluster.wait_for(
            "rr", "dr", namespace, has_condition("Succeeded", "Unknown", "JobSuspended"), until="condition shows"
        )
        _resume(portal, "dr-restore")
        wait_until_held(portal, "CREATE DATABASE")
        job = ("job", "dr-restore", "-n", namespace)
        cluster.kubectl("label", *job, "resguardo.dev/request-", "resguardo.dev/task-", "app.kubernetes.io/managed-by-")
        cluster.kubectl("patch", *job, "-p", '{"spec":{"parallelism":2,"backoffLimit":5}}')
        held.release()
    cluster.wait_for("rr", "dr", namespace, has_condition("Succeeded", "True", "Restored"), until="restore done")
    assert len(events(portal, "Restored")) == 1
    assert [name for name in portal.databases() if name.startswith(portal.database)] == [portal.database]


def _suspend(portal: Portal, job: str) -> None:
    """Until its pod is gone."""
    portal.cluster.kubectl("patch", "job", job, "-n", portal.namespace, "-p", '{"spec":{"suspend":true}}')
    pods = ("pod", "-l", f"batch.kubernetes.io/job-name={job}")
    portal.cluster.kubectl("wait", "--for=delete", *pods, "-n", portal.namespace, "--timeout=120s", timeout=130)


def _resume(portal: Portal, job: str) -> None:
    portal.cluster.kubectl("patch", "job", job, "-n", portal.namespace, "-p", '{"spec":{"suspend":false}}')


def test_a_schedule_changed_at_its_own_minute_makes_one_backup_and_follows_the_new_one(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    make_ready(portal, schedule="* * * * *")
    cluster.wait_for(
        "cronjob",
        "portal-backup",
        namespace,
        lambda found: found["status"].get("lastScheduleTime"),
        until="next minute",
    )
    cluster.apply(portal.policy(timeout=LONG, schedule="59 23 31 12 *"))
    cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="backup done")
    cluster.wait_for(
        "cronjob", "portal-backup", namespace, lambda c: c["spec"]["schedule"] == "59 23 31 12 *", until="object made"
    )
    # 23:59 of New Year's Eve in São Paulo; told once the check of the new schedule has passed.
    cluster.wait_for(
        "bp", "portal", namespace,
        lambda policy: policy["status"].get("nextBackupAt", "").endswith("-01-01T02:59:00Z"),
        until="condition shows",
    )  # fmt: skip
    moments = [
        job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"]
        for job in cluster.list("jobs", namespace, "resguardo.dev/task=backup")
    ]
    assert len(moments) == len(set(moments)) == len(backups(portal))


def _has_handled(value: str) -> Callable[[Document], bool]:
    return lambda found: bool(found["status"].get("lastHandledBackupRequest") == value)


def test_the_annotation_that_asks_for_a_backup_may_be_repeated_removed_or_nonsense(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    make_ready(portal)
    for value in ("2026-11-23T12:00:00Z", "soon"):
        cluster.kubectl("annotate", "bp", "portal", "-n", namespace, f"{REQUESTED}={value}", "--overwrite")
        cluster.wait_for("bp", "portal", namespace, _has_handled(value), until="backup done")
    (invalid,) = events(portal, "BackupRequestInvalid")
    assert "soon" in invalid
    cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="backup done")
    cluster.kubectl("annotate", "bp", "portal", "-n", namespace, f"{REQUESTED}-")
    cluster.kubectl("annotate", "bp", "portal", "-n", namespace, f"{REQUESTED}=2026-11-23T12:00:00Z")
    cluster.wait_for("bp", "portal", namespace, _has_handled("2026-11-23T12:00:00Z"), until="condition shows")
    assert len(cluster.list("jobs", namespace, "resguardo.dev/task=backup")) == 1
    assert len(backups(portal)) == 1


def test_a_namespace_deleted_during_a_backup_leaves_nothing_and_hurts_no_operator(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    operator = ("pods", "resguardo-system", "app.kubernetes.io/component=operator")
    (before,) = cluster.list(*operator)
    make_ready(portal)
    back_up(portal, "first")
    with held_backup(portal):
        # Held until everything is gone, so that the backup cannot end before its pod is told to stop
        cluster.kubectl("delete", "namespace", namespace, "--timeout=150s", timeout=160)
    assert len(backups(portal)) == 1
    (after,) = cluster.list(*operator)
    restarts = [pod["status"]["containerStatuses"][0]["restartCount"] for pod in (before, after)]
    assert before["metadata"]["uid"] == after["metadata"]["uid"]
    assert restarts[0] == restarts[1]


def test_of_two_requests_for_one_database_the_later_one_waits_and_then_finds_it_taken(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    make_ready(portal)
    back_up(portal, "first")
    portal.drop_database()
    with held_restores(portal) as held:
        cluster.apply(portal.request("one"))
        cluster.wait_for(
            "rr", "one", namespace, lambda found: found.get("status", {}).get("claim"), until="condition shows"
        )
        cluster.apply(portal.request("two"))
        waits = cluster.wait_for(
            "rr", "two", namespace, has_condition("Succeeded", "Unknown", "Waiting"), until="condition shows"
        )
        assert "RestoreRequest one" in condition(waits, "Succeeded")["message"]
        held.release()
    cluster.wait_for("rr", "one", namespace, has_condition("Succeeded", "True", "Restored"), until="restore done")
    cluster.wait_for(
        "rr", "two", namespace, has_condition("Succeeded", "False", "TargetNotEmpty"), until="restore done"
    )


def test_a_request_applied_in_another_cluster_is_not_carried_out_again(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    make_ready(portal)
    back_up(portal, "first")
    portal.drop_database()
    cluster.apply(portal.request("dr"))
    cluster.wait_for("rr", "dr", namespace, has_condition("Succeeded", "True", "Restored"), until="restore done")
    databases = portal.databases()
    # The Job that another cluster would make: the same request, with a uid and a cluster of its own
    job = cluster.get("job", "dr-restore", namespace)
    assert job is not None
    template = job["spec"]["template"]
    request = json.loads(template["metadata"]["annotations"]["resguardo.dev/request"])
    request["metadata"] |= {
        "uid": "11111111-2222-3333-4444-555555555555",
        "annotations": {"resguardo.dev/cluster-id": "elsewhere"},
    }
    template["metadata"]["annotations"]["resguardo.dev/request"] = json.dumps(request)
    template["metadata"]["labels"] = {}
    cluster.apply(
        {
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "elsewhere", "namespace": namespace},
            "spec": {"backoffLimit": 0, "template": {"metadata": template["metadata"], "spec": template["spec"]}},
        }
    )  # fmt: skip
    cluster.kubectl("wait", "--for=condition=Failed", "job/elsewhere", "-n", namespace, "--timeout=120s", timeout=130)
    (pod,) = cluster.list("pods", namespace, "batch.kubernetes.io/job-name=elsewhere")
    report = json.loads(pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"])
    assert report["reason"] == "AlreadyRestored"
    assert portal.databases() == databases
