"""NetworkPolicies hold: behind manifests/network/jobs our own program reaches its database and its store, and nobody else.

The rig's bridge enforces nothing; kube-router, started for this module alone, does. The stranger is a pod that listens where
the store does, on the same port, as whoever holds the operator's token would have our program send a Secret to. Without the
policy it does: so what this module shows can fail.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from resguardo.api.names import FROZEN_POLICY_ANNOTATION
from tests.cluster.rendering import kustomized, only
from tests.fixtures.cluster import ROOT, Cluster, Document, has_condition
from tests.fixtures.portal import Portal

pytestmark = pytest.mark.skipif(
    os.environ.get("CLUSTER") == "current", reason="a cluster of yours has a network plug-in of its own"
)

SCRIPT = ROOT / "tests" / "rig" / "network-policies.sh"

#: A new pod's first packets pass before kube-router has heard of its address, as with other plug-ins.
WAITS_FOR_THE_WALL = """
import socket, sys, time
for _ in range(60):
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2).close()
    except OSError:
        sys.exit()
    time.sleep(0.5)
sys.exit("after half a minute it still connects")
"""


@pytest.fixture(scope="module")
def walls(operator: Cluster) -> Iterator[Cluster]:
    """The rig, where NetworkPolicies are enforced."""
    subprocess.run([SCRIPT, "up"], check=True, timeout=300)
    yield operator
    subprocess.run([SCRIPT, "down"], check=True, timeout=60)


def store_of(cluster: Cluster) -> tuple[str, int]:
    found = urlsplit(cluster["RIG_POD_S3_ENDPOINT"])
    assert found.hostname is not None
    assert found.port is not None
    return found.hostname, found.port


@pytest.fixture
def stranger(walls: Cluster, namespace: str) -> str:
    """The address of a pod that takes HTTP on the store's port, and logs who asks."""
    _, port = store_of(walls)
    walls.kubectl("wait", "--for=create", "serviceaccount/default", "-n", namespace, "--timeout=30s")
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "stranger",
        "image": walls["RIG_IMAGE"],
        "command": ["python3", "-u", "-m", "http.server", str(port)],
        "securityContext": security,
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
    }
    walls.apply({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stranger", "namespace": namespace},
        "spec": {
            "containers": [container],
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        },
    })  # fmt: skip
    walls.kubectl("wait", "--for=condition=Ready", "pod/stranger", "-n", namespace, "--timeout=60s", timeout=70)
    found = walls.get("pod", "stranger", namespace)
    assert found is not None
    address: str = found["status"]["podIP"]
    return address


def heard(cluster: Cluster, namespace: str) -> list[str]:
    """The requests that reached the stranger; a connection alone is none."""
    log = cluster.kubectl("logs", "stranger", "-n", namespace)
    return [line for line in log.splitlines() if '"' in line]


def build_wall(cluster: Cluster, namespace: str, folder: Path) -> None:
    """manifests/network/jobs with the rig's own places, by such patches as docs/security.md shows."""
    host, port = store_of(cluster)
    databases = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "rig"}}}
    changes = [
        # CoreDNS runs on the node, not in a pod.
        {"op": "replace", "path": "/spec/egress/0/to", "value": [{"ipBlock": {"cidr": f"{host}/32"}}]},
        {"op": "replace", "path": "/spec/egress/1/to", "value": [databases]},
        {"op": "replace", "path": "/spec/egress/2/to", "value": [{"ipBlock": {"cidr": f"{host}/32"}}]},
        {"op": "replace", "path": "/spec/egress/2/ports/0/port", "value": port},
    ]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [os.path.relpath(ROOT / "manifests" / "network" / "jobs", folder.resolve())],
        "patches": [{"target": {"kind": "NetworkPolicy", "name": "resguardo-jobs"}, "patch": yaml.safe_dump(changes)}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    cluster.apply(only(kustomized(cluster, folder), "NetworkPolicy", "resguardo-jobs"))


def like(
    check: Document, name: str, *, endpoint: str | None = None, behind_wall_of: tuple[str, int] | None = None
) -> Document:
    """The operator's check Job once more, its document naming another store; begun when the wall stands before that address."""
    template = copy.deepcopy(check["spec"]["template"])
    for label in [key for key in template["metadata"]["labels"] if "controller-uid" in key or "job-name" in key]:
        del template["metadata"]["labels"][label]
    if endpoint is not None:
        annotations = template["metadata"]["annotations"]
        document = json.loads(annotations[FROZEN_POLICY_ANNOTATION])
        document["spec"]["store"]["s3"]["endpoint"] = endpoint
        annotations[FROZEN_POLICY_ANNOTATION] = json.dumps(document)
    if behind_wall_of is not None:
        (container,) = template["spec"]["containers"]
        waiting = {key: container[key] for key in ("image", "securityContext")}
        command = ["python3", "-c", WAITS_FOR_THE_WALL, *map(str, behind_wall_of)]
        template["spec"]["initContainers"] = [{**waiting, "name": "wait", "command": command}]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        # A label, or it takes the pod's, and the operator removes what it takes for its own and did not make.
        "metadata": {"name": name, "namespace": check["metadata"]["namespace"], "labels": {"test": name}},
        "spec": {"backoffLimit": 0, "template": template},
    }


def reason_of(cluster: Cluster, job: Document) -> str:
    """Wait for the end of the Job's pod, and read the Report's reason."""
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    ended = cluster.wait_for(
        "job",
        name,
        namespace,
        lambda found: {"succeeded", "failed"} & found.get("status", {}).keys(),
        until="backup done",
    )
    (pod,) = cluster.list("pods", namespace, f"batch.kubernetes.io/job-name={name}")
    (status,) = pod["status"]["containerStatuses"]
    assert "terminated" in status["state"], cluster.explain(ended, namespace)
    reason: str = json.loads(status["state"]["terminated"]["message"])["reason"]
    return reason


def test_behind_the_policy_a_check_reaches_its_own_places_and_not_a_stranger(
    walls: Cluster, portal: Portal, stranger: str, tmp_path: Path
) -> None:
    place = (stranger, store_of(walls)[1])
    endpoint = f"http://{stranger}:{place[1]}"
    walls.apply(portal.policy())
    walls.wait_for(
        "backuppolicy", portal.policy_name, portal.namespace, has_condition("Accepted", "True"), until="condition shows"
    )
    (check,) = walls.list("jobs", portal.namespace, "resguardo.dev/task=check")

    unwalled = like(check, "thief-without-a-wall", endpoint=endpoint)
    walls.apply(unwalled)
    reason_of(walls, unwalled)
    reached = heard(walls, portal.namespace)
    assert any(portal.bucket in line for line in reached)

    build_wall(walls, portal.namespace, tmp_path)
    honest = like(check, "honest-behind-the-wall", behind_wall_of=place)
    thief = like(check, "thief-behind-the-wall", endpoint=endpoint, behind_wall_of=place)
    walls.apply(honest, thief)
    assert reason_of(walls, honest) == "CheckPassed"
    assert reason_of(walls, thief) == "StoreUnreachable"
    assert heard(walls, portal.namespace) == reached
