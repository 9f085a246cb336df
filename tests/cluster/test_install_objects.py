"""What only a real API server can say of the objects that the controller makes: that it takes them, and what it makes of them."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from kubernetes import client, config

from resguardo.api.names import FIELD_MANAGER
from resguardo.controller.cluster import Cluster as Door
from resguardo.controller.cluster import ClusterError
from resguardo.controller.ownership import is_changed, is_edited, of_live
from tests.fixtures.cluster import Cluster
from tests.fixtures.specs import POLICY
from tests.unit.test_controller_objects import OBJECTS

EVERY = pytest.mark.parametrize("name", OBJECTS)


@pytest.fixture(scope="module")
def door(operator: Cluster) -> Iterator[Door]:
    """The operator's way to the API server, which knows our resources."""
    with config.new_client_from_config(operator["KUBECONFIG"]) as api:  # type: ignore[no-untyped-call]
        assert isinstance(api, client.ApiClient)
        yield Door(api)


@pytest.fixture
def owner(cluster: Cluster, namespace: str) -> str:
    """The uid of something real: the garbage collector removes what belongs to nobody."""
    text = cluster.kubectl("create", "configmap", "owner", "-n", namespace, "-o", "jsonpath={.metadata.uid}")
    return text.strip()


def _placed(name: str, namespace: str, owner: str) -> dict[str, Any]:
    """The object in the test's namespace and owned by what is there, for an image that nobody pulls."""
    body: dict[str, Any] = copy.deepcopy(OBJECTS[name])
    body["metadata"]["namespace"] = namespace
    body["metadata"]["ownerReferences"][0] |= {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner}
    spec = body["spec"]["jobTemplate"]["spec"] if body["kind"] == "CronJob" else body["spec"]
    spec["suspend"] = True
    for field in ("priorityClassName", "serviceAccountName"):
        spec["template"]["spec"].pop(field, None)
    return body


def _ours(live: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the API server keeps of our writes, their time included. (The Job controller writes at the same time.)"""
    return [entry for entry in live["metadata"]["managedFields"] if entry["manager"] == FIELD_MANAGER]


@EVERY
def test_it_is_taken_whole_and_read_back_it_is_no_edit(door: Door, namespace: str, owner: str, name: str) -> None:
    """Otherwise every reconcile would apply it again, for ever."""
    body = _placed(name, namespace, owner)
    door.apply(body)
    live = door.get(body["kind"], namespace, body["metadata"]["name"])
    assert live is not None
    assert not is_changed(live, body)
    assert not is_edited(live, body)
    door.apply(body)
    again = door.get(body["kind"], namespace, body["metadata"]["name"])
    assert again is not None
    assert _ours(again) == _ours(live)


def test_server_side_apply_takes_back_what_somebody_edited(
    cluster: Cluster, door: Door, namespace: str, owner: str
) -> None:
    body = _placed("cron-job", namespace, owner)
    door.apply(body)
    patch = (
        '{"spec": {"schedule": "1 1 1 1 *", "concurrencyPolicy": "Allow"}, "metadata": {"labels": {"team": "infra"}}}'
    )
    cluster.kubectl("patch", "cronjob", "portal-prod-backup", "-n", namespace, "--type=merge", "-p", patch)
    edited = door.get("CronJob", namespace, "portal-prod-backup")
    assert edited is not None
    assert is_edited(edited, body)
    door.apply(of_live(body, edited))
    right = door.get("CronJob", namespace, "portal-prod-backup")
    assert right is not None
    assert not is_edited(right, body)
    assert right["metadata"]["labels"]["team"] == "infra"


def test_server_side_apply_leaves_a_strangers_object_as_it_is(
    cluster: Cluster, door: Door, namespace: str, owner: str
) -> None:
    body = _placed("cron-job", namespace, owner)
    door.apply(body)
    ours = door.get("CronJob", namespace, "portal-prod-backup")
    cluster.kubectl("delete", "cronjob", "portal-prod-backup", "-n", namespace)
    cluster.kubectl("create", "cronjob", "portal-prod-backup", "-n", namespace, "--image=x", "--schedule=7 7 * * *")
    strangers = door.get("CronJob", namespace, "portal-prod-backup")
    for wanted in (body, of_live(body, ours)):
        with pytest.raises(ClusterError) as refused:
            door.apply(wanted)
        assert refused.value.is_conflict
    assert door.get("CronJob", namespace, "portal-prod-backup") == strangers


def test_pod_security_restricted_lets_the_pods_in(cluster: Cluster, door: Door, namespace: str, owner: str) -> None:
    """The namespace enforces it: a pod that did not fit would never be made."""
    names = ["check-job", "restore-job", "drop-job"]
    for name in names:
        body = _placed(name, namespace, owner)
        body["spec"]["suspend"] = False
        door.create(body)
    deadline = time.monotonic() + 30
    while len(cluster.list("pods", namespace)) < len(names) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert len(cluster.list("pods", namespace)) == len(names), cluster.kubectl("get", "events", "-n", namespace)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param({"spec": {"template": {"spec": {"restartPolicy": "Always"}}}}, 422, id="an invalid object"),
        pytest.param({"spec": {"noSuchField": 1}}, 400, id="an unknown field"),
    ],
)
def test_what_the_api_server_refuses_is_a_refusal(
    door: Door, namespace: str, owner: str, change: dict[str, Any], status: int
) -> None:
    body = _placed("check-job", namespace, owner)
    for key, value in change["spec"].items():
        if isinstance(value, dict):
            body["spec"][key]["spec"] |= value["spec"]
        else:
            body["spec"][key] = value
    with pytest.raises(ClusterError) as raised:
        door.create(body)
    assert raised.value.status == status
    assert raised.value.is_refusal


def test_a_status_is_written_only_over_what_was_read(cluster: Cluster, door: Door, namespace: str) -> None:
    policy = copy.deepcopy(_policy(namespace))
    cluster.apply(policy)
    read = door.get("BackupPolicy", namespace, "portal-prod")
    assert read is not None
    door.put_status(read, {"observedGeneration": 1})
    with pytest.raises(ClusterError) as raised:
        door.put_status(read, {"observedGeneration": 2})
    assert raised.value.is_conflict
    now = door.get("BackupPolicy", namespace, "portal-prod")
    assert now is not None
    assert now["status"] == {"observedGeneration": 1}
    assert now["spec"] == read["spec"]


def test_deleting_a_job_spares_another_of_its_name(door: Door, namespace: str, owner: str) -> None:
    body = _placed("check-job", namespace, owner)
    door.create(body)
    name = body["metadata"]["name"]
    door.delete_job(namespace, name, "another-uid")
    live = door.get("Job", namespace, name)
    assert live is not None
    assert "deletionTimestamp" not in live["metadata"]
    door.delete_job(namespace, name, live["metadata"]["uid"])
    assert door.get("Job", namespace, name) is None
    door.delete_job(namespace, name, live["metadata"]["uid"])


def _policy(namespace: str) -> dict[str, Any]:
    return {**POLICY, "metadata": {"name": "portal-prod", "namespace": namespace}}
