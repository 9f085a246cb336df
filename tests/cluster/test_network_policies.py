"""The NetworkPolicies that ship: the API server takes them, and they mean our pods and no others.

That they hold is the network plug-in's to do, and the rig's plain bridge does nothing of the kind: nothing here shows it.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.cluster.rendering import kustomized, only, templated
from tests.fixtures.cluster import ROOT, Cluster
from tests.unit.test_controller_objects import OBJECTS

NETWORK = ROOT / "manifests" / "network"
Labels = dict[str, str]


def policy_of(who: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((NETWORK / who / "network-policy.yaml").read_text())
    return found


def selects(selector: dict[str, Any], labels: Labels) -> bool:
    """As Kubernetes reads a selector; other operators than Exists are not used."""
    wanted = selector.get("matchLabels", {}).items()
    there = [expression["key"] for expression in selector.get("matchExpressions", [])]
    assert all(expression["operator"] == "Exists" for expression in selector.get("matchExpressions", []))
    return all(labels.get(key) == value for key, value in wanted) and all(key in labels for key in there)


def pods_of_jobs() -> dict[str, Labels]:
    found = {}
    for name, body in OBJECTS.items():
        if body["kind"] in ("Job", "CronJob"):
            spec = body["spec"]["jobTemplate"]["spec"] if body["kind"] == "CronJob" else body["spec"]
            found[name] = spec["template"]["metadata"]["labels"]
    return found


def operators(cluster: Cluster) -> list[Labels]:
    ways = (kustomized(cluster, ROOT / "manifests" / "base"), templated(cluster))
    return [only(way, "Deployment", "resguardo-operator")["spec"]["template"]["metadata"]["labels"] for way in ways]


def test_each_selects_our_pods_and_no_others(cluster: Cluster) -> None:
    jobs, operator = (policy_of(who)["spec"]["podSelector"] for who in ("jobs", "operator"))
    assert {name for name, labels in pods_of_jobs().items() if not selects(jobs, labels)} == set()
    assert len(pods_of_jobs()) >= 6
    assert all(selects(operator, labels) and not selects(jobs, labels) for labels in operators(cluster))
    assert not any(selects(operator, labels) for labels in pods_of_jobs().values())
    for stranger in (
        {},
        {"app": "db-prod"},
        {"app.kubernetes.io/managed-by": "resguardo"},
        {"app.kubernetes.io/managed-by": "Helm"},
    ):
        assert not selects(jobs, stranger)
        assert not selects(operator, stranger)


@pytest.mark.parametrize("who", ["jobs", "operator"])
def test_the_api_server_takes_it(cluster: Cluster, namespace: str, who: str) -> None:
    body = policy_of(who)
    body["metadata"]["namespace"] = namespace
    assert set(body["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    command = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
    cluster.kubectl(*command, stdin=yaml.safe_dump(body))


def test_nobody_reaches_the_pods_of_jobs_and_they_reach_names_databases_and_stores() -> None:
    spec = policy_of("jobs")["spec"]
    assert "ingress" not in spec
    assert {port["port"] for rule in spec["egress"] for port in rule["ports"]} == {53, 5432, 443}
    assert all(rule["to"] for rule in spec["egress"])
