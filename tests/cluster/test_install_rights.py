"""What is installed, and what it may: kustomize's way and Helm's give the operator the same few rights."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.rendering import kustomized, only, templated
from tests.fixtures.cluster import ROOT, Cluster
from tests.fixtures.references import names_of_objects

MANIFESTS = ROOT / "manifests"
KUSTOMIZATIONS = ["base", "overlays/namespaced", "overlays/all-namespaces", "examples"]

RULES = {
    ("resguardo.dev", "backuppolicies"): {"get", "list", "watch"},
    ("resguardo.dev", "restorerequests"): {"get", "list", "watch"},
    ("resguardo.dev", "backuppolicies/status"): {"update", "patch"},
    ("resguardo.dev", "restorerequests/status"): {"update", "patch"},
    ("batch", "cronjobs"): {"get", "list", "watch", "create", "patch", "delete"},
    ("batch", "jobs"): {"get", "list", "watch", "create", "patch", "delete"},
    ("", "pods"): {"get", "list", "watch"},
    ("", "events"): {"list", "create", "patch"},
}


def _rules(role: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_a_kustomization_is_taken_by_the_api_server(operator: Cluster, namespace: str, folder: str) -> None:
    """Each object by a dry run, in a namespace that is there and enforces Pod Security "restricted"."""
    for body in kustomized(operator, MANIFESTS / folder):
        if "namespace" in body["metadata"]:
            body["metadata"]["namespace"] = namespace
        operator.kubectl(
            "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-",
            stdin=yaml.safe_dump(body),
        )  # fmt: skip


@pytest.mark.parametrize("path", sorted((MANIFESTS / "examples").glob("restore-*.yaml")), ids=lambda path: path.stem)
def test_an_example_request_is_taken_as_it_is(operator: Cluster, namespace: str, path: Path) -> None:
    body = yaml.safe_load(path.read_text())
    body["metadata"]["namespace"] = namespace
    operator.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(body))


def test_both_ways_to_install_give_the_same_rights_and_none_on_secrets(cluster: Cluster) -> None:
    ways = [kustomized(cluster, MANIFESTS / "base"), templated(cluster)]
    for bodies in ways:
        assert _rules(only(bodies, "ClusterRole", "resguardo-operator")) == RULES
        every = [rule for body in bodies if body["kind"] in ("Role", "ClusterRole") for rule in body["rules"]]
        assert not [rule for rule in every if {"secrets", "*"} & {*rule["resources"], *rule["verbs"]}]
    for role in ("resguardo-viewer", "resguardo-editor", "resguardo-restorer"):
        first, second = (only(bodies, "ClusterRole", role) for bodies in ways)
        assert _rules(first) == _rules(second)
        aggregated = [key for body in (first, second) for key in body["metadata"]["labels"] if "aggregate-to" in key]
        assert aggregated == ["rbac.authorization.k8s.io/aggregate-to-admin"] * 2


def test_both_ways_to_install_run_the_same_pod(cluster: Cluster) -> None:
    def pod(bodies: list[dict[str, Any]]) -> dict[str, Any]:
        spec: dict[str, Any] = only(bodies, "Deployment", "resguardo-operator")["spec"]["template"]["spec"]
        spec["containers"][0].pop("env")
        return spec

    assert pod(kustomized(cluster, MANIFESTS / "base")) == pod(templated(cluster))


def _admission(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [body for body in bodies if body["apiVersion"] == "admissionregistration.k8s.io/v1"]


def test_both_ways_to_install_bring_the_same_admission_policies(cluster: Cluster) -> None:
    def told(bodies: list[dict[str, Any]]) -> dict[tuple[str, str], Any]:
        for body in bodies:
            # Two releases in one namespace have one selector each.
            selector = body["spec"].get("paramRef", {}).get("selector", {}).get("matchLabels", {})
            selector.pop("app.kubernetes.io/instance", None)
        return {(body["kind"], body["metadata"]["name"]): body["spec"] for body in bodies}

    first, second = (
        told(_admission(bodies)) for bodies in (kustomized(cluster, MANIFESTS / "base"), templated(cluster))
    )
    assert len(first) == 6
    assert first == second


def test_the_admission_policies_of_another_release_hold_its_own_account(cluster: Cluster) -> None:
    bodies = _admission(templated(cluster, release="second", namespace="elsewhere"))
    assert len(bodies) == 6
    for body in bodies:
        assert body["metadata"]["name"].startswith("resguardo-operator-second-")
        if body["kind"] == "ValidatingAdmissionPolicy":
            (condition,) = body["spec"]["matchConditions"]
            assert "'system:serviceaccount:elsewhere:resguardo-operator-second'" in condition["expression"]
        else:
            assert body["spec"]["policyName"] == body["metadata"]["name"]
            assert body["spec"].get("paramRef", {}).get("namespace", "elsewhere") == "elsewhere"


@pytest.mark.parametrize(
    ("values", "served", "bound"),
    [
        ([], ["--namespace=resguardo-system"], {("RoleBinding", "resguardo-system")}),
        (
            ["namespaces={agepar,homolog}"],
            ["--namespace=agepar", "--namespace=homolog"],
            {("RoleBinding", "agepar"), ("RoleBinding", "homolog")},
        ),
        (["allNamespaces=true"], ["--all-namespaces"], {("ClusterRoleBinding", None)}),
    ],
)
def test_the_operator_is_bound_exactly_where_it_serves(
    cluster: Cluster, values: list[str], served: list[str], bound: set[tuple[str, str | None]]
) -> None:
    bodies = templated(cluster, *values)
    container = only(bodies, "Deployment", "resguardo-operator")["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["operator", *served]
    bindings = [body for body in bodies if "roleRef" in body and body["roleRef"]["name"] == "resguardo-operator"]
    assert {(body["kind"], body["metadata"].get("namespace")) for body in bindings} == bound


def test_a_wrong_value_is_refused_by_the_chart(cluster: Cluster) -> None:
    with pytest.raises(AssertionError, match="namespace"):
        templated(cluster, "namespace=agepar")


def test_the_charts_crds_are_the_rendered_ones() -> None:
    for path in (ROOT / "crds").glob("resguardo.dev_*.yaml"):
        assert (ROOT / "charts/resguardo-crds/templates" / path.name).read_text() == path.read_text()
        assert "{{" not in path.read_text()


class TestRights:
    """Asked of the real authorizer, for an account that is bound as the manifests bind it."""

    @pytest.fixture
    def account(self, cluster: Cluster, namespace: str) -> Iterator[str]:
        role = f"{secrets.token_hex(4)}-operator"
        bodies = kustomized(cluster, MANIFESTS / "base")
        clusterwide = only(bodies, "ClusterRole", "resguardo-operator")
        clusterwide["metadata"]["name"] = role
        binding = yaml.safe_load((MANIFESTS / "namespace" / "role-binding.yaml").read_text())
        binding["metadata"] |= {"namespace": namespace}
        binding["roleRef"]["name"] = role
        binding["subjects"][0] |= {"namespace": namespace, "name": "operator"}
        cluster.apply(clusterwide, binding)
        yield f"system:serviceaccount:{namespace}:operator"
        cluster.kubectl("delete", "clusterrole", role)

    def _may(self, cluster: Cluster, account: str, verb: str, resource: str, namespace: str) -> bool:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": account,
                "resourceAttributes": {
                    "verb": verb,
                    "resource": resource.partition(".")[0],
                    "group": resource.partition(".")[2],
                    "namespace": namespace,
                },
            },
        }
        answer = cluster.kubectl("create", "-f", "-", "-o", "json", stdin=yaml.safe_dump(review))
        return bool(json.loads(answer)["status"]["allowed"])

    def test_it_may_do_its_work_where_it_is_bound_and_nothing_more(
        self, cluster: Cluster, namespace: str, account: str
    ) -> None:
        for verb, resource in [("create", "jobs.batch"), ("watch", "backuppolicies.resguardo.dev"), ("list", "events")]:
            assert self._may(cluster, account, verb, resource, namespace)
            assert not self._may(cluster, account, verb, resource, "default")
        unneeded = [
            *((verb, "secrets") for verb in ("get", "list", "watch", "create", "update", "patch", "delete")),
            ("create", "pods"),
            ("get", "configmaps"),
            ("update", "backuppolicies.resguardo.dev"),
            ("delete", "restorerequests.resguardo.dev"),
            ("create", "rolebindings.rbac.authorization.k8s.io"),
            ("impersonate", "serviceaccounts"),
        ]
        assert [item for item in unneeded if self._may(cluster, account, *item, namespace)] == []


def test_generated_and_prefixed_names_reach_the_resources(cluster: Cluster, tmp_path: Path) -> None:
    """Every field that names an object, in a GitOps repository of a user's that takes kustomize's component from here."""
    config = tmp_path / "config"
    config.mkdir()
    for path in (MANIFESTS / "kustomizeconfig").iterdir():
        (config / path.name).write_text(path.read_text())
    names = names_of_objects()
    objects = {
        "ServiceAccount": "v1",
        "PersistentVolumeClaim": "v1",
        "PriorityClass": "scheduling.k8s.io/v1",
        "BackupPolicy": "resguardo.dev/v1alpha1",
        "RestoreRequest": "resguardo.dev/v1alpha1",
    }
    bodies = [
        {"apiVersion": version, "kind": kind, "metadata": {"name": "same"}, **_naming(names.get(kind, []), "same")}
        for kind, version in objects.items()
    ]
    (tmp_path / "resources.yaml").write_text(yaml.safe_dump_all(bodies))
    kustomization = {
        "resources": ["resources.yaml"],
        "components": ["config"],
        "namePrefix": "x-",
        "secretGenerator": [{"name": "same", "literals": ["a=b"]}],
        "configMapGenerator": [{"name": "same", "literals": ["a=b"]}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    made = {body["kind"]: body for body in kustomized(cluster, tmp_path)}
    generated = {kind: made[kind]["metadata"]["name"] for kind in ("Secret", "ConfigMap")}
    assert len({"x-same", *generated.values()}) == 3
    for kind, paths in names.items():
        for path in paths:
            ending = path.removesuffix("/name").rpartition("/")[2]
            named = "Secret" if "secret" in ending.lower() else "ConfigMap" if ending == "configMap" else kind
            assert _at(made[kind], path) == generated.get(named, "x-same"), path


def _naming(paths: list[str], name: str) -> dict[str, Any]:
    """A body that has that name at each of these paths."""
    body: dict[str, Any] = {}
    for path in paths:
        *outer, last = path.split("/")
        place = body
        for field in outer:
            if field.endswith("[]"):
                (place,) = place.setdefault(field.removesuffix("[]"), [{}])
            else:
                place = place.setdefault(field, {})
        place[last] = name
    return body


def _at(body: dict[str, Any], path: str) -> Any:
    value: Any = body
    for field in path.split("/"):
        value = value[field.removesuffix("[]")]
        if field.endswith("[]"):
            (value,) = value
    return value
