"""Backups in a volume: a claim on a folder of the node, which stands for a NAS' export."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from resguardo.controller.pod import USER_ID
from tests.fixtures.cluster import condition, has_condition
from tests.fixtures.portal import Portal


@pytest.fixture
def export(portal: Portal) -> Iterator[Path]:
    """A folder of this machine, which is the node, and a claim `nas` that is bound to it. Nobody but root may write there yet."""
    if os.environ.get("CLUSTER") == "current":
        pytest.skip("a folder of the node is at hand only where the node is this machine")
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="resguardo-nas-") as folder:
        name = f"nas-{portal.namespace}"
        size = {"storage": "1Gi"}
        portal.cluster.apply(
            {
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
                "spec": {
                    "capacity": size, "accessModes": ["ReadWriteMany"], "storageClassName": "", "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": {"path": folder, "type": "Directory"},
                    "claimRef": {"namespace": portal.namespace, "name": "nas"},
                },
            },
            {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "nas", "namespace": portal.namespace},
                "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": name, "resources": {"requests": size}},
            },
        )  # fmt: skip
        yield Path(folder)
        portal.cluster.kubectl("delete", "pv", name, "--wait=false")


def test_a_policy_with_a_volume_is_checked_backed_up_retained_and_restored(portal: Portal, export: Path) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    before = portal.rows("SELECT count(*), sum(valor), min(texto) FROM peticoes")
    document = portal.policy(retention={"daily": "7d"})
    document["spec"]["store"] = {"volume": {"claimName": "nas", "path": "portal/prod"}}

    # Given a folder that is not the pods' to write to, the policy says what is to be done
    cluster.apply(document)
    refused = cluster.wait_for("bp", "portal", namespace, has_condition("Accepted", "False"), until="condition shows")
    assert condition(refused, "Accepted")["reason"] == "StoreAccessDenied"
    assert f"user {USER_ID} " in condition(refused, "Accepted")["message"]

    # When it is, the policy is Ready, and a backup stands in the volume
    os.chown(export, USER_ID, USER_ID)
    document["spec"]["timeout"] = "9m"
    cluster.apply(document)
    cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True"), until="condition shows")
    portal.run_backup("by-hand")
    cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="backup done")
    (manifest,) = (export / "portal" / "prod" / "backups").glob("*/manifest.json")
    assert manifest.stat().st_uid == USER_ID
    assert manifest.stat().st_mode & 0o007 == 0
    assert portal.object_keys() == []

    # And retention, and a restore whose pod may only read, find it there
    cluster.kubectl("create", "job", "--from=cronjob/portal-retention", "retain", "-n", namespace)
    cluster.wait_for("bp", "portal", namespace, has_condition("Retained", "True"), until="backup done")
    portal.drop_database()
    cluster.apply(portal.request("dr"))
    done = cluster.wait_for("rr", "dr", namespace, has_condition("Succeeded", "True"), until="restore done")
    assert condition(done, "Succeeded")["reason"] == "Restored"
    assert portal.rows("SELECT count(*), sum(valor), min(texto) FROM peticoes") == before


def test_a_claim_that_is_not_there_is_told(portal: Portal) -> None:
    document = portal.policy()
    document["spec"]["store"] = {"volume": {"claimName": "nothing"}}
    portal.cluster.apply(document)
    waiting = portal.cluster.wait_for(
        "bp", "portal", portal.namespace, has_condition("Accepted", "Unknown", "Unschedulable"), until="condition shows"
    )
    assert 'persistentvolumeclaim "nothing" not found' in condition(waiting, "Accepted")["message"]
