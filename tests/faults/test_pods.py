"""What happens to a pod: no memory, no image, no Secret, killed, deleted, evicted, its node lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fixtures.cluster import Document, condition, has_condition
from tests.fixtures.holding import back_up, backups, held_backup, make_ready, pod_of
from tests.fixtures.node import Node
from tests.fixtures.portal import Portal

pytestmark = pytest.mark.fault

SMALL = {"requests": {"memory": "16Mi"}, "limits": {"memory": "24Mi"}}


def _start_changed(portal: Portal, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """A backup's Job as a person would make it from the CronJob, after editing its pod."""
    text = portal.cluster.kubectl(
        "create", "job", "--from=cronjob/portal-backup", name, "-n", portal.namespace, "--dry-run=client", "-o", "json"
    )
    job = json.loads(text)
    change(job["spec"]["template"]["spec"])
    portal.cluster.kubectl("create", "-f", "-", stdin=json.dumps(job))


def test_a_backup_without_memory_is_told_as_such_and_the_next_one_with_more_works(portal: Portal) -> None:
    make_ready(portal)
    _start_changed(portal, "small", lambda pod: pod["containers"][0].update(resources=SMALL))
    failed = portal.cluster.wait_for(
        "bp", "portal", portal.namespace, has_condition("BackedUp", "False", "OOMKilled"), until="backup done"
    )
    assert "jobs.resources.limits.memory" in condition(failed, "BackedUp")["message"]
    assert condition(failed, "Ready")["reason"] == "OOMKilled"
    assert backups(portal) == set()
    back_up(portal, "again")
    assert len(backups(portal)) == 1


def test_a_policy_whose_pods_get_too_little_memory_is_not_accepted_until_it_gives_more(portal: Portal) -> None:
    portal.cluster.apply(portal.policy(jobs={"resources": SMALL}))
    refused = portal.cluster.wait_for(
        "bp", "portal", portal.namespace, has_condition("Accepted", "False", "OOMKilled"), until="condition shows"
    )
    assert "jobs.resources.limits.memory" in condition(refused, "Accepted")["message"]
    make_ready(portal)


def test_a_pod_of_which_all_processes_are_killed_is_a_lost_report_and_the_bucket_is_asked(
    portal: Portal, node: Node
) -> None:
    make_ready(portal)
    with held_backup(portal):
        node.kill_pod(pod_of(portal, "held"))
        lost = portal.cluster.wait_for(
            "bp", "portal", portal.namespace, has_condition("BackedUp", "False", "ReportLost"), until="backup done"
        )
    assert "the bucket holds no backup of that time" in condition(lost, "BackedUp")["message"]
    assert backups(portal) == set()
    back_up(portal, "again")


def test_a_pod_that_is_deleted_cleans_up_and_the_backup_failed(portal: Portal) -> None:
    make_ready(portal)
    with held_backup(portal):
        portal.cluster.kubectl("delete", "pod", str(pod_of(portal, "held")["metadata"]["name"]), "-n", portal.namespace)
        failed = portal.cluster.wait_for(
            "bp", "portal", portal.namespace, has_condition("BackedUp", "False"), until="backup done"
        )
    assert condition(failed, "BackedUp")["reason"] in ("Stopped", "ReportLost")
    assert backups(portal) == set()
    back_up(portal, "again")


def test_an_evicted_pod_is_replaced_and_the_backup_succeeds(portal: Portal) -> None:
    make_ready(portal)
    with held_backup(portal) as held:
        evicted = pod_of(portal, "held")
        name = evicted["metadata"]["name"]
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": portal.namespace},
        }
        path = f"/api/v1/namespaces/{portal.namespace}/pods/{name}/eviction"
        portal.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
        portal.cluster.kubectl(
            "wait", "--for=delete", f"pod/{name}", "-n", portal.namespace, "--timeout=120s", timeout=130
        )
        held.release()
        done = portal.cluster.wait_for(
            "bp", "portal", portal.namespace, has_condition("BackedUp", "True"), until="backup done"
        )
    assert done["status"]["lastRun"]["jobName"] == "held"
    assert backups(portal) == {done["status"]["lastBackup"]["id"]}


def test_a_job_that_is_deleted_is_as_if_it_had_never_begun(portal: Portal) -> None:
    make_ready(portal)
    with held_backup(portal):
        portal.cluster.kubectl("delete", "job", "held", "-n", portal.namespace, "--cascade=foreground", timeout=130)
    assert backups(portal) == set()
    policy = portal.cluster.get("bp", "portal", portal.namespace)
    assert policy is not None
    assert condition(policy, "BackedUp")["reason"] == "NeverRun"
    back_up(portal, "again")


def test_an_image_that_cannot_be_pulled_is_named_and_another_one_heals_the_policy(portal: Portal) -> None:
    portal.cluster.apply(portal.policy(jobs={"image": "localhost/no-such-image:1"}))
    refused = portal.cluster.wait_for(
        "bp", "portal", portal.namespace, has_condition("Accepted", "False", "ErrImagePull"), until="condition shows"
    )
    assert "localhost/no-such-image:1" in condition(refused, "Accepted")["message"]
    make_ready(portal)


def test_a_secret_that_vanished_is_named_and_the_waiting_backup_goes_on_when_it_is_back(portal: Portal) -> None:
    make_ready(portal)
    portal.cluster.kubectl("delete", "secret", "db-backup", "-n", portal.namespace)
    portal.run_backup("early")
    waiting = portal.cluster.wait_for(
        "bp", "portal", portal.namespace, has_condition("BackedUp", "False", "FailedMount"), until="condition shows"
    )
    assert "db-backup" in condition(waiting, "BackedUp")["message"]
    portal.cluster.apply(portal.backup_secret())
    portal.cluster.wait_for("bp", "portal", portal.namespace, has_condition("BackedUp", "True"), until="node given up")
    assert len(backups(portal)) == 1


#: The label by which pods are told which node to go to.
PLACE = "resguardo-test/place"


@pytest.fixture
def lost_node(portal: Portal) -> Iterator[str]:
    """A Node object that no machine stands behind: pods that are bound to it never begin and never end."""
    name = f"lost-{portal.namespace}"
    portal.cluster.apply(
        {
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {"taints": [{"key": "resguardo-test/lost", "effect": "NoSchedule"}]},
        }
    )  # fmt: skip
    room = {"cpu": "4", "memory": "8Gi", "pods": "20"}
    status = {"status": {"capacity": room, "allocatable": room, "conditions": [{"type": "Ready", "status": "True"}]}}
    portal.cluster.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))
    yield name
    portal.cluster.kubectl("label", "nodes", "--all", f"{PLACE}-")
    portal.cluster.kubectl("delete", "node", name)


def test_a_backup_a_restore_and_retention_on_a_lost_node_are_given_up_and_later_ones_run(
    portal: Portal, lost_node: str
) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    real, *_ = [name for name in cluster.kubectl("get", "nodes", "-o", "name").split() if name != f"node/{lost_node}"]

    def send_pods(to: str, away_from: str) -> None:
        cluster.kubectl("label", away_from, f"{PLACE}-")
        cluster.kubectl("label", to, f"{PLACE}={namespace}")

    def bound(task: str) -> Document | None:
        pods = cluster.list("pods", namespace, f"resguardo.dev/task={task}")
        return next((pod for pod in pods if pod["spec"].get("nodeName") == lost_node), None)

    # Given a policy whose pods go where a label says, first to the real node
    cluster.kubectl("label", real, f"{PLACE}={namespace}")
    anywhere = {"tolerations": [{"operator": "Exists"}]}
    spec = {"jobs": {"nodeSelector": {PLACE: namespace}, **anywhere}, "retention": {"daily": "30d"}}
    make_ready(portal, **spec)
    back_up(portal, "first")
    databases = portal.databases()
    make_ready(portal, **spec, schedule="* * * * *")

    # When the schedule's next backup, a restore and retention come to the node that is lost, and reach their deadlines there
    send_pods(f"node/{lost_node}", away_from=real)
    there = {"nodeSelector": {"kubernetes.io/hostname": lost_node}, **anywhere}
    cluster.apply(portal.request("dr", target={"database": f"{portal.database} b"}, jobs=there))
    cluster.kubectl("create", "job", "--from=cronjob/portal-retention", "retention", "-n", namespace)
    cluster.wait_for(
        "bp", "portal", namespace,
        lambda _: all(bound(task) for task in ("backup", "restore", "retention")),
        until="next minute",
    )  # fmt: skip
    send_pods(real, away_from=f"node/{lost_node}")
    hanging = bound("backup")
    assert hanging is not None
    job = hanging["metadata"]["labels"]["batch.kubernetes.io/job-name"]
    for name in (job, "dr-restore", "retention"):
        cluster.kubectl("patch", "job", name, "-n", namespace, "-p", '{"spec":{"activeDeadlineSeconds":5}}')

    # Then it is told of each, the Jobs that later ones wait for are removed, and those do their work
    cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "False", "NodeLost"), until="node given up")
    ended = cluster.wait_for(
        "rr", "dr", namespace, has_condition("Succeeded", "False", "Interrupted"), until="node given up"
    )
    assert f"node {lost_node} may be lost" in condition(ended, "Succeeded")["message"]
    for name in (job, "retention"):
        cluster.kubectl("wait", "--for=delete", f"job/{name}", "-n", namespace, "--timeout=60s", timeout=70)
    policy = cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="next minute")
    assert condition(policy, "Retained")["reason"] == "NodeLost"
    cluster.kubectl("create", "job", "--from=cronjob/portal-retention", "again", "-n", namespace)
    cluster.wait_for("bp", "portal", namespace, has_condition("Retained", "True"), until="backup done")
    assert portal.databases() == databases
