"""Where a secret could be left behind in a cluster: its objects, the logs, and the processes of pods on the rig's node."""

from __future__ import annotations

import re
from pathlib import Path

from tests.fixtures.cluster import Cluster


def pod_of(process: Path) -> str | None:
    """The uid of the pod in which a process runs, by its folder in /proc."""
    found = re.search(r"/pod([0-9a-f]{8}[-_0-9a-f]{28})", (process / "cgroup").read_text())
    return found.group(1).replace("_", "-") if found else None


def traces_in_cluster(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Text by place: the namespace's objects and logs, and the operator's log. Secrets alone are left out."""
    kinds = ("pods", "jobs", "cronjobs", "configmaps", "events", "backuppolicies", "restorerequests")
    texts = {kind: cluster.kubectl("get", kind, "-n", namespace, "-o", "yaml") for kind in kinds}
    texts["pods' logs"] = "\n".join(logs_by_pod(cluster, namespace).values())
    texts["operator's log"] = cluster.kubectl("logs", "-n", "resguardo-system", "deployment/resguardo-operator")
    (operator,) = cluster.list("pods", "resguardo-system", "app.kubernetes.io/component=operator")
    pod = f"/api/v1/namespaces/resguardo-system/pods/{operator['metadata']['name']}"
    texts["operator's HTTP"] = cluster.kubectl("get", "--raw", f"{pod}:8080/proxy/healthz")
    texts["operator's metrics"] = cluster.kubectl("get", "--raw", f"{pod}:8081/proxy/metrics")
    return texts


def logs_by_pod(cluster: Cluster, namespace: str) -> dict[str, str]:
    """The whole log of each pod."""
    logs = {}
    for name in [pod["metadata"]["name"] for pod in cluster.list("pods", namespace)]:
        try:
            logs[name] = cluster.kubectl("logs", "-n", namespace, name, "--all-containers", "--ignore-errors")
        except AssertionError as error:
            # A check that failed is made again, and the former one removed.
            if "NotFound" not in str(error):
                raise
    return logs
