"""The NetworkPolicies that ship: the API server takes them, they mean our pods and no others, both ways to install give one.

That they hold is the network plug-in's to do: test_network_wall.py.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
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


ENABLED = "jobs.networkPolicy.enabled=true"
DATABASE = "jobs.networkPolicy.databases.to[0].podSelector.matchLabels.app=db-prod"
STORE = "jobs.networkPolicy.store.to[0].ipBlock.cidr=203.0.113.7/32"
#: An address that is nobody's (RFC 5737): what it allows is reached by no packet.
NOBODY = [{"ipBlock": {"cidr": "192.0.2.1/32"}}]


def policies_of_jobs(bodies: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The NetworkPolicies for Jobs' pods, by namespace and name."""
    found = [body for body in bodies if body["kind"] == "NetworkPolicy" and "Egress" in body["spec"]["policyTypes"]]
    return {f"{body['metadata']['namespace']}/{body['metadata']['name']}": body for body in found}


def test_nobody_reaches_the_pods_of_jobs_and_as_shipped_they_reach_names_alone() -> None:
    spec = policy_of("jobs")["spec"]
    assert "ingress" not in spec
    names, databases, store = spec["egress"]
    (dns,) = names["to"]
    assert dns["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}
    assert databases == {"ports": [{"port": 5432, "protocol": "TCP"}], "to": NOBODY}
    assert store == {"ports": [{"port": 443, "protocol": "TCP"}], "to": NOBODY}


def test_the_charts_differs_from_the_manifest_in_what_was_told_alone(cluster: Cluster) -> None:
    found = policies_of_jobs(templated(cluster, ENABLED, DATABASE, STORE, "namespaces={agepar,homolog}"))
    assert set(found) == {"agepar/resguardo-jobs", "homolog/resguardo-jobs"}
    wanted = policy_of("jobs")["spec"]
    wanted["egress"][1]["to"] = [{"podSelector": {"matchLabels": {"app": "db-prod"}}}]
    wanted["egress"][2]["to"] = [{"ipBlock": {"cidr": "203.0.113.7/32"}}]
    assert all(body["spec"] == wanted for body in found.values())


def test_the_two_examples_in_the_documentation_make_the_same(cluster: Cluster, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    (values,) = re.findall(r"^```\n(jobs:\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (kustomization,) = re.findall(r"^```yaml\n(apiVersion: kustomize.*?)^```$", text, re.MULTILINE | re.DOTALL)
    project = os.path.relpath(ROOT, tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(kustomization.replace("<path of this project>", project))
    patched = policies_of_jobs(kustomized(cluster, tmp_path))["agepar/resguardo-jobs"]

    chart = ("helm", "template", "resguardo", str(ROOT / "charts/resguardo"), "--set", "namespaces={agepar}", "-f", "-")
    told = policies_of_jobs([body for body in yaml.safe_load_all(cluster.run(*chart, stdin=values)) if body])
    assert told["agepar/resguardo-jobs"]["spec"] == patched["spec"]
    assert NOBODY[0] not in [peer for rule in patched["spec"]["egress"] for peer in rule["to"]]


def test_the_chart_takes_other_ports_names_servers_and_rules(cluster: Cluster, namespace: str) -> None:
    values = (
        "jobs.networkPolicy.dns.to[0].ipBlock.cidr=169.254.20.10/32",
        "jobs.networkPolicy.dns.ports={53,5353}",
        "jobs.networkPolicy.databases.ports={5432,6432}",
        "jobs.networkPolicy.more[0].to[0].ipBlock.cidr=169.254.170.23/32",
        "jobs.networkPolicy.more[0].ports[0].port=80",
    )
    bodies = templated(cluster, ENABLED, DATABASE, STORE, *values, f"namespaces={{{namespace}}}", release="second")
    ((name, body),) = policies_of_jobs(bodies).items()
    assert name == f"{namespace}/resguardo-jobs-second"
    names, databases, _, login = body["spec"]["egress"]
    assert names["to"] == [{"ipBlock": {"cidr": "169.254.20.10/32"}}]
    assert {(port["port"], port["protocol"]) for port in names["ports"]} == {
        (port, protocol) for port in (53, 5353) for protocol in ("UDP", "TCP")
    }
    assert [port["port"] for port in databases["ports"]] == [5432, 6432]
    assert login == {"ports": [{"port": 80}], "to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}]}
    command = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
    cluster.kubectl(*command, stdin=yaml.safe_dump(body))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param([STORE], "databases.to is empty, which a NetworkPolicy reads as every host", id="no databases"),
        pytest.param([DATABASE], "store.to is empty, which a NetworkPolicy reads as every host", id="no store"),
        pytest.param(
            [DATABASE, STORE, "jobs.networkPolicy.dns.to=null"], "dns.to is empty, which a NetworkPolicy", id="no names"
        ),
        pytest.param([DATABASE, STORE, "allNamespaces=true"], "name those where it should stand", id="no namespaces"),
        pytest.param(
            [DATABASE, STORE, "jobs.networkPolicy.more[0].ports[0].port=443"], "to", id="a rule for every host"
        ),
        pytest.param([DATABASE, STORE, "jobs.networkPolicy.store.cidr=1.2.3.4/32"], "cidr", id="no such value"),
    ],
)
def test_the_chart_refuses_what_would_let_everything_through(cluster: Cluster, values: list[str], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        templated(cluster, ENABLED, *values)


def test_the_chart_brings_none_unasked(cluster: Cluster) -> None:
    assert policies_of_jobs(templated(cluster)) == {}
