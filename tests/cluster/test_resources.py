"""What a person may apply, and what is refused: the API server's door. The models' door has the same table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config

from tests.fixtures.cluster import ROOT, Cluster
from tests.fixtures.specs import BAD, GOOD, POLICY, REQUEST, Case

PLURALS = {"BackupPolicy": "backuppolicies", "RestoreRequest": "restorerequests"}


@pytest.fixture(scope="module")
def custom_objects(cluster: Cluster) -> Iterator[client.CustomObjectsApi]:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(ROOT / "crds"))
    for plural in PLURALS.values():
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{plural}.resguardo.dev", "--timeout=30s")
    with config.new_client_from_config(cluster["KUBECONFIG"]) as api:
        yield client.CustomObjectsApi(api)


def _apply(api: client.CustomObjectsApi, body: dict[str, Any], **options: str) -> dict[str, Any]:
    made: dict[str, Any] = api.create_namespaced_custom_object(
        "resguardo.dev",
        "v1alpha1",
        "default",
        PLURALS[body["kind"]],
        body,
        dry_run="All",
        field_validation="Strict",
        **options,
    )
    return made


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_a_good_document_is_taken(custom_objects: client.CustomObjectsApi, case: Case) -> None:
    made = _apply(custom_objects, case.document())
    assert made["spec"]["timeout"]


@pytest.mark.parametrize("case", [case for case in BAD if not case.only_model], ids=lambda case: case.name)
def test_a_bad_document_is_refused_at_apply_with_its_fields_path(
    custom_objects: client.CustomObjectsApi, case: Case
) -> None:
    with pytest.raises(client.ApiException) as refused:
        _apply(custom_objects, case.document())
    message = json.loads(refused.value.body)["message"]
    assert (case.path or "").removeprefix("metadata.") in message
    assert case.message in message


@pytest.mark.parametrize("case", [case for case in BAD if case.only_model], ids=lambda case: case.name)
def test_what_only_the_model_can_know_is_taken_and_left_to_the_condition(
    custom_objects: client.CustomObjectsApi, case: Case
) -> None:
    assert _apply(custom_objects, case.document())["metadata"]["name"]


def test_a_request_is_immutable_but_for_drop_previous(
    cluster: Cluster, custom_objects: client.CustomObjectsApi, namespace: str
) -> None:
    request = Case("", REQUEST, {"metadata.namespace": namespace}).document()
    cluster.apply(request)
    request["spec"]["dropPrevious"] = True
    cluster.apply(request)
    request["spec"]["recover"] = {"before": "2026-11-23T00:00:00Z"}
    with pytest.raises(AssertionError, match="a RestoreRequest is immutable, dropPrevious aside"):
        cluster.apply(request)


def test_kubectl_refuses_a_misspelt_field_by_itself(
    cluster: Cluster, custom_objects: client.CustomObjectsApi, namespace: str
) -> None:
    policy = Case("", POLICY, {"metadata.namespace": namespace, "spec.shedule": "0 2 * * *"}).document()
    with pytest.raises(AssertionError, match=r'unknown field "spec\.shedule"'):
        cluster.apply(policy)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("backuppolicy.spec.source", "Exactly one member"),
        ("bp.spec.source.postgres.connection.sslMode", "verify-full (the default)"),
        ("rr.spec.target.postgres.onExisting", "keeping it under another name"),
        ("backuppolicy.status.inventory", "What is in the bucket"),
    ],
)
def test_kubectl_explain_reads_well(
    cluster: Cluster, custom_objects: client.CustomObjectsApi, field: str, text: str
) -> None:
    assert text in " ".join(cluster.kubectl("explain", field).split())


def test_defaults_are_filled_in_and_short_names_work(
    cluster: Cluster, custom_objects: client.CustomObjectsApi, namespace: str
) -> None:
    cluster.apply(Case("", POLICY, {"metadata.namespace": namespace}).document())
    (policy,) = cluster.list("bp", namespace)
    assert policy["spec"]["timeout"] == "6h"
    assert policy["spec"]["suspend"] is False
    assert policy["spec"]["source"]["postgres"]["connection"]["port"] == 5432
    assert policy["spec"]["source"]["postgres"]["connection"]["sslMode"] == "verify-full"
    assert "SCHEDULE" in cluster.kubectl("get", "resguardo", "-n", namespace)
