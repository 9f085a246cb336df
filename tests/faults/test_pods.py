"""What happens to a pod: no memory, no image, no Secret, killed, deleted, evicted, its node lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fixtures.cluster import condition, has_condition
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


@pytest.fixture
def lost_node(portal: Portal) -> Iterator[str]:
    """A Node object that no machine stands behind: pods that are bound to it never begin and never end."""
    name = f"lost-{portal.namespace}"
    portal.cluster.apply(
        {
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"resguardo-test/place": ""}},
            "spec": {"taints": [{"key": "resguardo-test/lost", "effect": "NoSchedule"}]},
        }
    )  # fmt: skip
    room = {"cpu": "4", "memory": "8Gi", "pods": "20"}
    status = {"status": {"capacity": room, "allocatable": room, "conditions": [{"type": "Ready", "status": "True"}]}}
    portal.cluster.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))
    yield name
    portal.cluster.kubectl("delete", "node", name, "--ignore-not-found")


def test_a_backup_on_a_lost_node_is_given_up_and_forbid_lets_the_next_ones_run(portal: Portal, lost_node: str) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    (real,) = [item["metadata"]["name"] for item in _nodes(portal) if item["metadata"]["name"] != lost_node]

    def place(on: str, off: str) -> None:
        cluster.kubectl("label", "node", on, f"resguardo-test/place={namespace}", "--overwrite")
        cluster.kubectl("label", "node", off, "resguardo-test/place-")

    # Given a policy whose pods go where a label says, first to the real node
    place(real, lost_node)
    try:
        jobs = {"nodeSelector": {"resguardo-test/place": namespace}, "tolerations": [{"operator": "Exists"}]}
        make_ready(portal, jobs=jobs, schedule="* * * * *")

        # When the schedule's next backup comes to the node that is lost, and reaches its deadline there
        place(lost_node, real)
        cluster.wait_for(
            "bp", "portal", namespace,
            lambda _: any(_is_bound_to(pod, lost_node) for pod in cluster.list("pods", namespace)), until="next minute",
        )  # fmt: skip
        place(real, lost_node)
        hanging = next(pod for pod in cluster.list("pods", namespace) if _is_bound_to(pod, lost_node))
        job = hanging["metadata"]["labels"]["batch.kubernetes.io/job-name"]
        cluster.kubectl("patch", "job", job, "-n", namespace, "-p", '{"spec":{"activeDeadlineSeconds":5}}')

        # Then it is told, its Job is removed, and a later one makes a backup
        cluster.wait_for(
            "bp", "portal", namespace, has_condition("BackedUp", "False", "NodeLost"), until="node given up"
        )
        cluster.kubectl("wait", "--for=delete", f"job/{job}", "-n", namespace, "--timeout=60s", timeout=70)
        cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="node given up")
    finally:
        cluster.kubectl("label", "node", real, "resguardo-test/place-")


def _is_bound_to(pod: dict[str, Any], node: str) -> bool:
    return bool(pod["spec"].get("nodeName") == node)


def _nodes(portal: Portal) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = json.loads(portal.cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    return [item for item in nodes if not item["metadata"]["name"].startswith("lost-")] + [
        item for item in nodes if item["metadata"]["name"].startswith("lost-")
    ]
