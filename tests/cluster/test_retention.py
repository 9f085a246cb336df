"""Retention as the operator lets it run: what a policy does not keep is marked in the bucket, and status says so."""

from __future__ import annotations

import json

from tests.fixtures.cluster import condition, has_condition
from tests.fixtures.portal import Portal

OLD = "20200101T050000Z-0ddba1"


def _copy_as_old(portal: Portal, backup_id: str) -> None:
    """The backup once more, as one of years ago."""
    folder = f"prod/portal/backups/{backup_id}/"
    for key in [key for key in portal.object_keys() if key.startswith(folder)]:
        body = portal.s3.get_object(Bucket=portal.bucket, Key=key)["Body"].read()
        if key.endswith("/manifest.json"):
            manifest = json.loads(body) | {"id": OLD, "startedAt": "2020-01-01T05:00:00Z"}
            body = json.dumps(manifest).encode()
        portal.s3.put_object(Bucket=portal.bucket, Key=key.replace(backup_id, OLD), Body=body)


def test_a_backup_that_no_rule_keeps_is_marked_and_the_policy_says_what_retention_did(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    cluster.apply(portal.policy(retention={"daily": "1d", "minimum": 1}))
    cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True"), until="condition shows")
    portal.run_backup("by-hand")
    policy = cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="backup done")
    assert condition(policy, "Retained")["reason"] == "NeverRun"
    backup_id = policy["status"]["lastBackup"]["id"]
    _copy_as_old(portal, backup_id)

    cluster.kubectl("create", "job", "--from=cronjob/portal-retention", "now", "-n", namespace)

    policy = cluster.wait_for("bp", "portal", namespace, has_condition("Retained", "True"), until="backup done")
    assert condition(policy, "Retained")["reason"] == "RetentionEnforced"
    assert condition(policy, "Ready")["status"] == "True"
    marks = [key for key in portal.object_keys() if "/trash/" in key]
    assert marks == [f"prod/portal/trash/{OLD}.json"]
    assert f"prod/portal/backups/{OLD}/manifest.json" in portal.object_keys()


def test_a_pause_is_told_with_its_reason(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    cluster.apply(portal.policy(retention={"daily": "1d", "minimum": 1}))
    cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True"), until="condition shows")
    portal.run_backup("by-hand")
    policy = cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="backup done")
    attempt = {
        "id": "20990101T050000Z-0ddba1",
        "trigger": "Scheduled",
        "startedAt": "2099-01-01T05:00:00Z",
        "endedAt": "2099-01-01T05:10:00Z",
        "reason": "DumpFailed",
    }
    key = f"prod/portal/attempts/{attempt['id']}.json"
    portal.s3.put_object(Bucket=portal.bucket, Key=key, Body=json.dumps(attempt).encode())

    cluster.kubectl("create", "job", "--from=cronjob/portal-retention", "now", "-n", namespace)

    policy = cluster.wait_for("bp", "portal", namespace, has_condition("Retained", "False"), until="backup done")
    assert condition(policy, "Retained")["reason"] == "LastAttemptFailed"
    assert condition(policy, "Ready")["reason"] == "LastAttemptFailed"
