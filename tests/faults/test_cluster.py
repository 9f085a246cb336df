"""What happens around the pods: the kubelet, the API server, the operator and a second operator."""

from __future__ import annotations

import time

import pytest

from tests.fixtures.cluster import PATIENCE, condition, has_condition
from tests.fixtures.holding import (
    LONG,
    back_up,
    backups,
    events,
    held_backup,
    held_restores,
    kill_operator,
    make_ready,
    pod_of,
    wait_until_held,
)
from tests.fixtures.node import Node
from tests.fixtures.portal import Portal

pytestmark = pytest.mark.fault

OPERATOR = ("deployment/resguardo-operator", "-n", "resguardo-system")
MINUTE = 60


def test_a_kubelet_that_restarts_during_a_backup_changes_nothing(portal: Portal, node: Node) -> None:
    make_ready(portal)
    with held_backup(portal) as held:
        before = pod_of(portal, "held")
        node.restart("kubelet")
        held.release()
        done = portal.cluster.wait_for(
            "bp", "portal", portal.namespace, has_condition("BackedUp", "True"), until="backup done"
        )
    pods = portal.cluster.list("pods", portal.namespace, "batch.kubernetes.io/job-name=held")
    assert [pod["metadata"]["uid"] for pod in pods] == [before["metadata"]["uid"]]
    assert backups(portal) == {done["status"]["lastBackup"]["id"]}


def test_a_minute_without_api_server_stops_neither_a_backup_nor_a_restore(portal: Portal, node: Node) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    make_ready(portal)
    back_up(portal, "first")
    copy = f"{portal.database} b"
    with held_restores(portal) as restore, held_backup(portal) as backup:
        cluster.apply(portal.request("copy", target={"database": copy}))
        wait_until_held(portal, "CREATE DATABASE")
        with node.frozen("apiserver"):
            until = time.monotonic() + MINUTE
            restore.release()
            backup.release()
            while time.monotonic() < until or len(backups(portal)) < 2 or copy not in portal.databases():
                assert time.monotonic() < until + 120 * PATIENCE, "backup or restore did not end without API server"
                time.sleep(1)
        cluster.kubectl("wait", "--for=condition=Complete", "job/held", "-n", namespace, "--timeout=120s", timeout=130)
        cluster.wait_for("rr", "copy", namespace, has_condition("Succeeded", "True", "Restored"), until="restore done")
        policy = cluster.wait_for(
            "bp",
            "portal",
            namespace,
            lambda found: found["status"]["lastRun"]["jobName"] == "held",
            until="backup done",
        )
    assert condition(policy, "Ready")["status"] == "True"
    assert policy["status"]["inventory"]["backups"] == 2


def test_objects_that_the_api_server_refuses_are_told_and_made_once_it_lets_them_in(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": namespace}}
    cluster.apply(quota | {"spec": {"hard": {"count/cronjobs.batch": "0"}}})
    cluster.apply(portal.policy())
    refused = cluster.wait_for(
        "bp", "portal", namespace, has_condition("Accepted", "False", "ObjectsRefused"), until="condition shows"
    )
    assert "quota" in condition(refused, "Ready")["message"]
    cluster.kubectl("delete", "resourcequota", "none", "-n", namespace)
    cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True"), until="condition shows")


def test_an_operator_that_is_killed_at_every_step_ends_with_the_same(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    policy = portal.policy(timeout=LONG)
    cluster.apply(policy)
    kill_operator(portal)  # before, or while, it makes the objects
    cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True"), until="operator up")
    with held_backup(portal, job=None) as held:
        policy["metadata"]["annotations"] = {"resguardo.dev/backup-requested-at": "2026-11-23T12:00:00Z"}
        cluster.apply(policy)
        kill_operator(portal)  # before, or while, it makes the manual Job
        wait_until_held(portal, "LOCK TABLE")
        kill_operator(portal)  # while the Job runs
        held.release()
        kill_operator(portal)  # while the Job ends
    cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="backup done")
    portal.drop_database()
    with held_restores(portal) as held:
        cluster.apply(portal.request("dr"))
        kill_operator(portal)  # before, or while, it claims
        wait_until_held(portal, "CREATE DATABASE")
        kill_operator(portal)  # while the Job runs
        held.release()
        kill_operator(portal)  # while the Job ends
    cluster.wait_for("rr", "dr", namespace, has_condition("Succeeded", "True", "Restored"), until="restore done")
    assert len(backups(portal)) == 1
    assert len(cluster.list("jobs", namespace, "resguardo.dev/task=backup")) == 1
    assert len(cluster.list("jobs", namespace, "resguardo.dev/task=restore")) == 1
    assert len(events(portal, "BackupSucceeded")) == 1
    assert len(events(portal, "Restored")) == 1


def test_two_operators_at_once_do_everything_once(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    cluster.kubectl("scale", *OPERATOR, "--replicas=2")
    try:
        cluster.kubectl("rollout", "status", *OPERATOR, "--timeout=120s", timeout=130)
        policy = portal.policy(retention={"daily": "30d"})
        policy["metadata"]["annotations"] = {"resguardo.dev/backup-requested-at": "2026-11-23T12:00:00Z"}
        cluster.apply(policy)
        cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="backup done")
        cluster.kubectl("create", "job", "--from=cronjob/portal-retention", "retention", "-n", namespace)
        cluster.wait_for("bp", "portal", namespace, has_condition("Retained", "True"), until="backup done")
        portal.drop_database()
        cluster.apply(portal.request("dr"))
        cluster.wait_for("rr", "dr", namespace, has_condition("Succeeded", "True", "Restored"), until="restore done")
    finally:
        cluster.kubectl("scale", *OPERATOR, "--replicas=1")
    for task in ("check", "backup", "restore", "retention"):
        assert len(cluster.list("jobs", namespace, f"resguardo.dev/task={task}")) == 1
    for reason in ("CheckPassed", "BackupRequested", "BackupSucceeded", "Restored"):
        assert len(events(portal, reason)) == 1
    assert len(backups(portal)) == 1


def test_what_a_newer_operator_wrote_an_older_one_leaves_alone(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    make_ready(portal)
    newer = '{"metadata":{"annotations":{"resguardo.dev/writer-version":"99.0.0"}},"spec":{"schedule":"0 5 * * *"}}'
    cluster.kubectl("patch", "cronjob", "portal-backup", "-n", namespace, "-p", newer)
    told = cluster.wait_for(
        "bp", "portal", namespace, has_condition("Accepted", "False", "NewerOperator"), until="condition shows"
    )
    assert "newer" in condition(told, "Ready")["message"]
    kill_operator(portal)  # and one that starts anew does so too
    cluster.apply(portal.policy(timeout=LONG, schedule="0 3 * * *"))
    cluster.wait_for(
        "bp", "portal", namespace, has_condition("Accepted", "False", "NewerOperator"), until="operator up"
    )
    cronjob = cluster.get("cronjob", "portal-backup", namespace)
    assert cronjob is not None
    assert cronjob["spec"]["schedule"] == "0 5 * * *"
    # Going back to the older one for good: what the newer one wrote is removed by a person
    cluster.kubectl("delete", "cronjob", "portal-backup", "-n", namespace)
    cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True"), until="condition shows")
