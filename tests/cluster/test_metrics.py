"""/metrics of the operator that is installed, as Prometheus gets it through its Service."""

from __future__ import annotations

import copy
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fixtures.cluster import Cluster, eventually
from tests.fixtures.specs import POLICY, REQUEST

PATH = "/api/v1/namespaces/resguardo-system/services/resguardo-operator:metrics/proxy/metrics"

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _scrape(cluster: Cluster) -> str:
    return cluster.kubectl("get", "--raw", PATH)


def _of(cluster: Cluster, namespace: str) -> Series:
    """The samples that speak of one namespace, by name and the other labels."""
    return {
        (sample.name, frozenset(sample.labels.items() - {("namespace", namespace)})): sample.value
        for family in text_string_to_metric_families(_scrape(cluster))
        for sample in family.samples
        if sample.labels.get("namespace") == namespace
    }


def test_what_watches_told_is_scraped_and_gone_when_it_is_deleted(operator: Cluster, namespace: str) -> None:
    policy, request = copy.deepcopy(POLICY), copy.deepcopy(REQUEST)
    for body in (policy, request):
        body["metadata"]["namespace"] = namespace
    policy["spec"]["suspend"] = True
    operator.apply(policy, request)
    name = policy["metadata"]["name"]
    about = frozenset({("policy", name)})

    def is_told() -> None:
        found = _of(operator, namespace)
        assert found["resguardo_policy_suspended", about] == 1
        ready = frozenset({("policy", name), ("type", "Ready"), ("status", "Unknown"), ("reason", "Suspended")})
        assert ("resguardo_policy_condition", ready) in found or any(
            name == "resguardo_policy_condition" and {("type", "Ready"), ("status", "False")} <= labels
            for name, labels in found
        )
        assert sum(value for (name, _), value in found.items() if name == "resguardo_restore_requests") == 1

    eventually(is_told, "condition shows")
    operator.kubectl("delete", "backuppolicy,restorerequest", "--all", "-n", namespace)

    def is_gone() -> None:
        assert _of(operator, namespace) == {}

    eventually(is_gone, "condition shows")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here: Debian's package prometheus has it")
def test_prometheus_finds_nothing_to_complain_about_in_names_and_texts(operator: Cluster, namespace: str) -> None:
    policy = copy.deepcopy(POLICY)
    policy["metadata"]["namespace"] = namespace
    operator.apply(policy)
    eventually(lambda: _assert_tells(operator, namespace), "condition shows")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=_scrape(operator), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def _assert_tells(cluster: Cluster, namespace: str) -> None:
    assert _of(cluster, namespace)
