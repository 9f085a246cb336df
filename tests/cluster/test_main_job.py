"""The main job: a policy is applied, a database is backed up, and a request brings it back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from tests.fixtures.cluster import condition, has_condition
from tests.fixtures.holding import kill_operator
from tests.fixtures.portal import AWKWARD_TABLE, Portal


def _content(portal: Portal, database: str | None = None) -> list[tuple[object, ...]]:
    table = AWKWARD_TABLE.replace('"', '""')
    return [
        *portal.rows("SELECT count(*), sum(valor), min(texto) FROM peticoes", database),
        *portal.rows(f'SELECT count(*), sum(length("o que?")) FROM "{table}"', database),
        *portal.rows("SELECT n FROM resumo", database),
        *portal.rows("SELECT last_value FROM peticoes_id_seq", database),
    ]


def test_a_policy_is_applied_backed_up_and_brought_back(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    before = _content(portal)

    # Given a policy that was applied and is Ready, though no backup was made yet
    cluster.apply(portal.policy())
    policy = cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True"), until="condition shows")
    assert condition(policy, "Accepted")["reason"] == "CheckPassed"
    assert condition(policy, "BackedUp")["reason"] == "NeverRun"
    assert {
        kind: condition(policy, kind)["reason"] for kind in ["Retained", "Verified", "Replicated"]
    } == dict.fromkeys(["Retained", "Verified", "Replicated"], "NotEnforced")
    cronjob = cluster.get("cronjob", "portal-backup", namespace)
    assert cronjob is not None
    assert (cronjob["spec"]["schedule"], cronjob["spec"]["timeZone"], cronjob["spec"]["suspend"]) == (
        "0 2 * * *", "America/Sao_Paulo", False,
    )  # fmt: skip

    # When a person starts a backup as Kubernetes' users do
    portal.run_backup("by-hand")
    policy = cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="backup done")

    # Then status, the bucket and kubectl's table say so
    backup = policy["status"]["lastBackup"]
    assert policy["status"]["inventory"]["backups"] == 1
    assert f"prod/portal/backups/{backup['id']}/manifest.json" in portal.object_keys()
    assert portal.uploads() == []
    assert condition(policy, "Ready")["status"] == "True"
    assert backup["size"] in cluster.kubectl("get", "backuppolicies", "-n", namespace)
    events = [
        event["reason"]
        for event in cluster.list("events", namespace)
        if event["involvedObject"]["kind"] == "BackupPolicy"
    ]
    assert "BackupSucceeded" in events

    # When the database is lost and a request is applied
    portal.drop_database()
    cluster.apply(portal.request("dr-1"))
    request = cluster.wait_for("rr", "dr-1", namespace, has_condition("Succeeded", "True"), until="restore done")

    # Then the database is what it was
    assert _content(portal) == before
    assert condition(request, "Succeeded")["reason"] == "Restored"
    assert request["status"]["backup"]["id"] == backup["id"]
    assert request["status"]["recoveryTimeSeconds"] >= 0
    assert request["status"]["recoveryPointTime"] <= request["status"]["completedAt"]
    assert {check["status"] for check in request["status"]["checks"]} <= {"Passed", "Skipped"}
    assert "Restored" in cluster.kubectl("get", "restorerequests", "-n", namespace)
    # and nothing of kopf's stays on what users own
    for document in [policy, request]:
        assert "finalizers" not in document["metadata"]
        assert not [key for key in document["metadata"].get("annotations", {}) if "kopf" in key]


def test_replace_keeps_the_old_database_until_told_to_drop_it(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    cluster.apply(portal.policy())
    cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True"), until="condition shows")
    portal.run_backup("by-hand")
    cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="backup done")
    before = _content(portal)
    portal.execute("DELETE FROM peticoes WHERE id > 10")

    # A database that holds something is refused by default
    cluster.apply(portal.request("careful"))
    refused = cluster.wait_for("rr", "careful", namespace, has_condition("Succeeded", "False"), until="restore done")
    assert condition(refused, "Succeeded")["reason"] == "TargetNotEmpty"
    assert portal.rows("SELECT count(*) FROM peticoes") == [(10,)]

    # Replace brings the old content back and keeps what was there
    not_after = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    replace = portal.request("replace", target={"onExisting": "Replace"}, notAfter=not_after)
    cluster.apply(replace)
    done = cluster.wait_for("rr", "replace", namespace, has_condition("Succeeded", "True"), until="restore done")
    kept = done["status"]["previousDatabase"]
    assert _content(portal) == before
    assert kept in portal.databases()

    # The same request applied again after its deletion restores nothing
    cluster.kubectl("delete", "rr", "replace", "-n", namespace)
    cluster.apply(replace)
    again = cluster.wait_for("rr", "replace", namespace, has_condition("Succeeded", "False"), until="restore done")
    assert condition(again, "Succeeded")["reason"] == "AlreadyRestored"

    # dropPrevious drops exactly that one
    other = portal.request("replace-2", target={"onExisting": "Replace"}, notAfter=not_after)
    cluster.apply(other)
    done = cluster.wait_for("rr", "replace-2", namespace, has_condition("Succeeded", "True"), until="restore done")
    kept_second = done["status"]["previousDatabase"]
    other["spec"]["dropPrevious"] = True
    cluster.apply(other)
    cluster.wait_for(
        "rr", "replace-2", namespace, lambda found: found["status"].get("previousDropped"), until="restore done"
    )
    assert kept_second not in portal.databases()
    assert kept in portal.databases()
    assert _content(portal) == before


def test_a_backup_is_made_for_those_who_may_not_create_jobs(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    policy = portal.policy()
    policy["metadata"]["annotations"] = {"resguardo.dev/backup-requested-at": "2026-11-23T12:00:00Z"}
    cluster.apply(policy)
    found = cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="backup done")
    assert found["status"]["lastHandledBackupRequest"] == "2026-11-23T12:00:00Z"
    assert found["status"]["inventory"]["backups"] == 1


def test_an_expired_request_is_never_carried_out(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    cluster.apply(portal.policy(), portal.request("late", notAfter="2026-11-01T00:00:00Z"))
    late = cluster.wait_for(
        "rr", "late", namespace, has_condition("Succeeded", "False", "Expired"), until="condition shows"
    )
    assert "claim" not in late["status"]
    assert cluster.list("jobs", namespace, "resguardo.dev/request=late") == []


def test_objects_edited_or_deleted_by_hand_are_put_right(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    cluster.apply(portal.policy())
    cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True"), until="condition shows")
    # Nobody edited the check: while it ran, it was looked at more than once and never written again.
    (check,) = json.loads(
        cluster.kubectl("get", "job", "-n", namespace, "-l", "resguardo.dev/task=check", "-o", "json", "--show-managed-fields")
    )["items"]  # fmt: skip
    ours = [item["operation"] for item in check["metadata"]["managedFields"] if item["manager"] == "resguardo"]
    assert ours == ["Update"]

    cluster.kubectl("patch", "cronjob", "portal-backup", "-n", namespace, "-p", '{"spec":{"schedule":"0 5 * * *"}}')
    cluster.wait_for(
        "cronjob", "portal-backup", namespace, lambda c: c["spec"]["schedule"] == "0 2 * * *", until="object made"
    )

    former = cluster.get("cronjob", "portal-backup", namespace)
    assert former is not None
    cluster.kubectl("delete", "cronjob", "portal-backup", "-n", namespace)
    made = cluster.wait_for(
        "cronjob", "portal-backup", namespace, lambda c: not c["spec"]["suspend"], until="object made"
    )
    assert made["metadata"]["uid"] != former["metadata"]["uid"]

    changed = portal.policy(schedule="30 3 * * *", suspend=True)
    cluster.apply(changed)
    cluster.wait_for(
        "cronjob", "portal-backup", namespace,
        lambda c: c["spec"]["schedule"] == "30 3 * * *" and c["spec"]["suspend"], until="object made",
    )  # fmt: skip
    suspended = cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "Unknown"), until="condition shows")
    assert condition(suspended, "Ready")["reason"] == "Suspended"

    cluster.kubectl("delete", "bp", "portal", "-n", namespace, "--timeout=30s")
    cluster.kubectl("wait", "--for=delete", "cronjob/portal-backup", "-n", namespace, "--timeout=60s", timeout=70)


def test_status_is_right_whatever_happened_to_the_operator_meanwhile(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace

    cluster.apply(portal.policy())
    cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True"), until="condition shows")

    # Killed while a backup runs, and away until after its end
    cluster.kubectl("scale", "deployment/resguardo-operator", "-n", "resguardo-system", "--replicas=0")
    portal.run_backup("by-hand")
    cluster.kubectl("wait", "--for=condition=Complete", "job/by-hand", "-n", namespace, "--timeout=120s", timeout=130)
    cluster.kubectl("scale", "deployment/resguardo-operator", "-n", "resguardo-system", "--replicas=1")
    policy = cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="backup done")
    assert policy["status"]["inventory"]["backups"] == 1

    # Killed once the restore was claimed, and again while it runs
    before = _content(portal)
    portal.drop_database()
    cluster.apply(portal.request("dr"))
    cluster.wait_for("rr", "dr", namespace, lambda found: found.get("status", {}).get("claim"), until="condition shows")
    kill_operator(portal)
    cluster.wait_for("job", "dr-restore", namespace, bool, until="object made")
    kill_operator(portal)
    cluster.wait_for("rr", "dr", namespace, has_condition("Succeeded", "True"), until="restore done")
    assert _content(portal) == before
    assert len(cluster.list("jobs", namespace, "resguardo.dev/request=dr")) == 1


def test_a_restore_job_that_somebody_deletes_is_interrupted_and_not_made_again(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    cluster.apply(portal.policy())
    cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True"), until="condition shows")
    portal.run_backup("by-hand")
    cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="backup done")
    portal.drop_database()
    # A node that does not exist keeps the pod waiting, so that the Job can be deleted before it did anything.
    cluster.apply(portal.request("dr", jobs={"nodeSelector": {"no-such": "node"}}))
    waiting = cluster.wait_for(
        "rr", "dr", namespace, has_condition("Succeeded", "Unknown", "Unschedulable"), until="condition shows"
    )
    assert "dr-restore" in condition(waiting, "Succeeded")["message"]
    cluster.wait_for(
        "rr", "dr", namespace, lambda found: found["status"]["claim"].get("jobUid"), until="condition shows"
    )
    cluster.kubectl("delete", "job", "dr-restore", "-n", namespace)
    cluster.wait_for("rr", "dr", namespace, has_condition("Succeeded", "False", "Interrupted"), until="condition shows")
    assert cluster.get("job", "dr-restore", namespace) is None
