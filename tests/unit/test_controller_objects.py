"""What is made for a policy or request: one golden file for each kind, beside what must hold for all of them.

`RENEW_GOLDEN=1 pytest tests/unit/test_controller_objects.py` writes the golden files anew; look at the difference.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from resguardo.api.documents import read_document
from resguardo.api.names import POLICY_NAME_MAX, REQUEST_NAME_MAX
from resguardo.api.policy import BackupPolicy
from resguardo.api.request import RestoreRequest
from resguardo.controller.objects import (
    build_check_job,
    build_cron_job,
    build_drop_job,
    build_manual_job,
    build_restore_job,
    build_retention_cron_job,
    restore_job_name,
)
from resguardo.controller.ownership import is_changed, is_edited
from tests.fixtures.specs import POLICY, REQUEST, SIGNER
from tests.unit.small_cluster import SETTINGS

GOLDEN = Path(__file__).parent / "golden"

CONNECTION: dict[str, Any] = {
    "host": "db-prod",
    "credentialsSecretRef": {"name": "db", "usernameKey": "user", "passwordKey": "pass"},
    "caRef": {"configMap": {"name": "authorities", "key": "bundle.pem"}},
    "clientCertificateSecretRef": {"name": "certificate"},
}
JOBS: dict[str, Any] = {
    "resources": {"requests": {"cpu": "0.5", "memory": "2Gi"}},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "backups", "operator": "Exists", "effect": "NoSchedule"}],
    "priorityClassName": "low",
    "imagePullSecrets": [{"name": "registry"}],
    "labels": {"team": "infra"},
    "annotations": {"example.org/cost": "42"},
    "serviceAccountName": "backups",
    "image": "registry.example/resguardo:pg17",
}


def policy(**spec: Any) -> BackupPolicy:
    body = copy.deepcopy(POLICY)
    body["metadata"] |= {"uid": "uid-1", "generation": 3, "annotations": {"kubectl.kubernetes.io/last-applied": "{}"}}
    body["spec"] |= spec
    read = read_document(body)
    assert isinstance(read, BackupPolicy)
    return read


def request(**spec: Any) -> RestoreRequest:
    body = copy.deepcopy(REQUEST)
    body["metadata"] |= {"uid": "uid-2", "generation": 1}
    body["spec"] |= spec
    read = read_document(body)
    assert isinstance(read, RestoreRequest)
    return read


def _rich_policy() -> BackupPolicy:
    source = {"postgres": {"connection": CONNECTION, "pgDump": {"database": 'näme "with" everything'}}}
    store = {
        "s3": {
            "bucket": "agepar-backups",
            "endpoint": "https://minio.example:9000",
            "caRef": {"secret": {"name": "minio-ca"}},
            "credentials": {"secretRef": {"name": "keys", "accessKeyIdKey": "id", "secretAccessKeyKey": "key"}},
        }
    }
    return policy(source=source, store=store, jobs=JOBS)


def _policy_of_roles() -> BackupPolicy:
    """Two roles by Secrets, one by a service account; what all pods run as otherwise is another."""
    keys = {"accessKeyIdKey": "id", "secretAccessKeyKey": "key"}
    credentials = {
        "writer": {"secretRef": {"name": "writer", **keys}},
        "pruner": {"serviceAccountName": "pruner"},
        "reader": {"secretRef": {"name": "reader", **keys}},
    }
    return policy(
        store={"s3": {"bucket": "agepar-backups", "credentials": credentials}}, jobs={"serviceAccountName": "jobs"}
    )


VOLUME: dict[str, Any] = {"volume": {"claimName": "nas", "path": "backups/prod"}}
AZURE: dict[str, Any] = {
    "azure": {
        "account": "agepar",
        "container": "backups",
        "credentials": {
            "writer": {"serviceAccountName": "backup-writer"},
            "pruner": {"sasTokenSecretRef": {"name": "pruner-sas"}},
            "reader": {"accountKeySecretRef": {"name": "account", "key": "key1"}},
        },
    }
}


def _signing_policy() -> BackupPolicy:
    return policy(signing={"keySecretRef": {"name": "signing"}, "publicKeys": [SIGNER]}, retention={"daily": "30d"})


RESTORE = restore_job_name("dr-2026-11-23")
OBJECTS: dict[str, Any] = {
    "cron-job": build_cron_job(policy(), SETTINGS, suspend=False),
    "cron-job-with-everything": build_cron_job(_rich_policy(), SETTINGS, suspend=True),
    "retention-cron-job": build_retention_cron_job(policy(), SETTINGS, suspend=False),
    "check-job": build_check_job(policy(), SETTINGS, attempt=2),
    "check-job-signing": build_check_job(_signing_policy(), SETTINGS, attempt=1),
    "retention-cron-job-signing": build_retention_cron_job(_signing_policy(), SETTINGS, suspend=False),
    "manual-job": build_manual_job(policy(), SETTINGS, requested_at="2026-11-23T12:00:00Z"),
    "restore-job": build_restore_job(request(), policy(), SETTINGS, name=RESTORE),
    "restore-job-from-store": build_restore_job(
        request(**{"from": {"store": POLICY["spec"]["store"]}}), None, SETTINGS, name=RESTORE
    ),
    "restore-job-encrypted": build_restore_job(
        request(decryption={"ageIdentitySecretRef": {"name": "age-identity"}}), policy(), SETTINGS, name=RESTORE
    ),
    "retention-cron-job-of-a-role": build_retention_cron_job(_policy_of_roles(), SETTINGS, suspend=False),
    "check-job-azure-identity": build_check_job(policy(store=AZURE), SETTINGS, attempt=1),
    "retention-cron-job-azure-sas": build_retention_cron_job(policy(store=AZURE), SETTINGS, suspend=False),
    "restore-job-azure-key": build_restore_job(request(), policy(store=AZURE), SETTINGS, name=RESTORE),
    "check-job-volume": build_check_job(policy(store=VOLUME), SETTINGS, attempt=1),
    "retention-cron-job-volume": build_retention_cron_job(policy(store=VOLUME), SETTINGS, suspend=False),
    "restore-job-volume": build_restore_job(request(), policy(store=VOLUME), SETTINGS, name=RESTORE),
    "drop-job": build_drop_job(request(), SETTINGS, previous_database="agepar_before_1", attempt=1),
}
EVERY = pytest.mark.parametrize("name", OBJECTS)


def _job_spec(body: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = body["spec"]
    return spec["jobTemplate"]["spec"] if body["kind"] == "CronJob" else spec


@EVERY
def test_it_is_the_golden_file(name: str) -> None:
    path = GOLDEN / f"{name}.yaml"
    text = yaml.safe_dump(OBJECTS[name], sort_keys=False, allow_unicode=True, width=120)
    if os.environ.get("RENEW_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@EVERY
def test_its_pod_fits_pod_security_restricted(name: str) -> None:
    pod = _job_spec(OBJECTS[name])["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys()
    kinds = {"downwardAPI", "projected", "emptyDir", "persistentVolumeClaim"}
    assert all(volume.keys() - {"name"} <= kinds for volume in pod["volumes"])


@EVERY
def test_it_has_no_token_and_a_deadline_and_is_not_run_twice(name: str) -> None:
    spec = _job_spec(OBJECTS[name])
    assert spec["template"]["spec"]["automountServiceAccountToken"] is False
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["backoffLimit"] == 0
    assert spec["activeDeadlineSeconds"] > 300


@EVERY
def test_a_disruption_ends_a_restore_and_only_postpones_the_rest(name: str) -> None:
    ignored = "podFailurePolicy" in _job_spec(OBJECTS[name])
    assert ignored is not name.startswith(("restore", "drop"))


@EVERY
def test_it_mounts_exactly_the_keys_that_its_document_names(name: str) -> None:
    pod = _job_spec(OBJECTS[name])["template"]["spec"]
    credentials = [volume["projected"] for volume in pod["volumes"] if volume["name"] == "credentials"]
    assert all(volume["defaultMode"] == 0o440 for volume in credentials)
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"]
    sources = [source for volume in credentials for source in volume["sources"]]
    files = [item["path"] for source in sources for kind in source.values() for item in kind["items"]]
    wanted = ["database/username", "database/password"] if "retention" not in name else []
    if "everything" in name:
        wanted += ["database/ca.crt", "database/tls.crt", "database/tls.key"]
    if name not in ("drop-job", "retention-cron-job-of-a-role") and not {"volume", "azure"} & set(name.split("-")):
        wanted += ["store/access-key-id", "store/secret-access-key"]
    if "everything" in name:
        wanted += ["store/ca.crt"]
    if "signing" in name and "retention" not in name:
        wanted += ["signing/key"]
    if "azure" in name:
        wanted += {"identity": [], "sas": ["store/sas-token"], "key": ["store/account-key"]}[name.rsplit("-", 1)[1]]
    if "encrypted" in name:
        wanted += ["decryption/age-identity"]
    assert files == wanted


def test_each_pod_holds_the_store_credentials_of_its_own_role_and_no_others() -> None:
    """given three roles, when a pod of each task is built, then it mounts its role's Secret or runs as its role's account."""
    of_roles = _policy_of_roles()
    built = {
        "check": build_check_job(of_roles, SETTINGS, attempt=1),
        "backup": build_cron_job(of_roles, SETTINGS, suspend=False),
        "manual": build_manual_job(of_roles, SETTINGS, requested_at="2026-11-23T12:00:00Z"),
        "retention": build_retention_cron_job(of_roles, SETTINGS, suspend=False),
        "restore": build_restore_job(request(), of_roles, SETTINGS, name=RESTORE),
        "restore from a store": build_restore_job(
            request(**{"from": {"store": of_roles.spec.store.model_dump(by_alias=True, exclude_none=True)}}), None, SETTINGS,
            name=RESTORE,
        ),
        "drop": build_drop_job(request(), SETTINGS, previous_database=None, attempt=1),
    }  # fmt: skip
    found = {}
    for name, body in built.items():
        pod = _job_spec(body)["template"]["spec"]
        mounted = [volume["projected"] for volume in pod["volumes"] if volume["name"] == "credentials"]
        sources = mounted[0]["sources"] if mounted else []
        secrets = [
            source["secret"]["name"] for source in sources if source["secret"]["items"][0]["path"].startswith("store/")
        ]
        found[name] = (secrets, pod.get("serviceAccountName"))
    assert found == {
        "check": (["writer"], "jobs"),
        "backup": (["writer"], "jobs"),
        "manual": (["writer"], "jobs"),
        "retention": ([], "pruner"),
        "restore": (["reader"], None),
        "restore from a store": (["reader"], None),
        "drop": ([], None),
    }


def test_a_pod_with_an_identity_of_entras_carries_the_label_that_its_webhook_looks_for_and_no_other_does() -> None:
    for name, body in OBJECTS.items():
        template = _job_spec(body)["template"]
        assert ("azure.workload.identity/use" in template["metadata"]["labels"]) is ("identity" in name)
        if "identity" in name:
            assert template["spec"]["serviceAccountName"] == "backup-writer"


def test_a_volume_is_mounted_where_the_program_looks_for_it_and_for_reading_where_nothing_is_written() -> None:
    for name, body in OBJECTS.items():
        pod = _job_spec(body)["template"]["spec"]
        mounts = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "store"]
        claims = [volume["persistentVolumeClaim"] for volume in pod["volumes"] if volume["name"] == "store"]
        expected = {"name": "store", "mountPath": "/volume"} | ({"readOnly": True} if "restore" in name else {})
        assert mounts == ([expected] if "volume" in name else [])
        assert claims == ([{"claimName": "nas"}] if "volume" in name else [])


def test_the_pod_that_drops_what_was_kept_is_given_no_identity() -> None:
    asked = request(decryption={"ageIdentitySecretRef": {"name": "age-identity"}})
    body = build_drop_job(asked, SETTINGS, previous_database="agepar_before_1", attempt=1)
    assert "age-identity" not in yaml.safe_dump(body["spec"]["template"]["spec"])


@EVERY
def test_the_frozen_documents_can_be_read_again(name: str) -> None:
    template = _job_spec(OBJECTS[name])["template"]
    documents = {
        key: text for key, text in template["metadata"]["annotations"].items() if key.startswith("resguardo.dev/")
    }
    for text in documents.values():
        document = read_document(json.loads(text))
        assert document.metadata.annotations == {"resguardo.dev/cluster-id": "cluster-1"}
        assert document.metadata.uid
    mounted = {
        f"resguardo.dev/{Path(path).stem}"
        for path in template["spec"]["containers"][0]["args"]
        if path.endswith(".json")
    }
    assert mounted == documents.keys()


@EVERY
def test_it_is_owned_without_blocking_anybodys_deletion(name: str) -> None:
    (owner,) = OBJECTS[name]["metadata"]["ownerReferences"]
    assert (owner["controller"], owner["blockOwnerDeletion"]) == (True, False)


def test_labels_and_annotations_of_the_user_never_replace_ours() -> None:
    """The models refuse such keys; an older operator's schema might have let them in."""
    sneaky = policy()
    jobs = sneaky.spec.jobs.model_copy(
        update={"labels": {"resguardo.dev/task": "x"}, "annotations": {"resguardo.dev/policy": "{}"}}
    )
    sneaky = sneaky.model_copy(update={"spec": sneaky.spec.model_copy(update={"jobs": jobs})})
    metadata = build_check_job(sneaky, SETTINGS, attempt=1)["spec"]["template"]["metadata"]
    assert metadata["labels"]["resguardo.dev/task"] == "check"
    assert metadata["annotations"]["resguardo.dev/policy"] != "{}"


def test_the_longest_names_fit() -> None:
    """52 characters for a CronJob, 63 for a Job, whose name becomes a label."""
    long = policy().model_copy(
        update={"metadata": policy().metadata.model_copy(update={"name": "p" * POLICY_NAME_MAX})}
    )
    asked = request().model_copy(
        update={"metadata": request().metadata.model_copy(update={"name": "r" * REQUEST_NAME_MAX})}
    )
    assert len(build_cron_job(long, SETTINGS, suspend=False)["metadata"]["name"]) <= 52
    names = [
        build_check_job(long, SETTINGS, attempt=9999)["metadata"]["name"],
        build_manual_job(long, SETTINGS, requested_at="x" * 64)["metadata"]["name"],
        restore_job_name(asked.metadata.name),
        build_drop_job(asked, SETTINGS, previous_database=None, attempt=9999)["metadata"]["name"],
    ]
    assert all(len(name) <= 63 for name in names)


def test_the_same_policy_gives_the_same_object_and_another_one_another_hash() -> None:
    first, again = (build_cron_job(policy(), SETTINGS, suspend=False) for _ in range(2))
    assert first == again
    assert not is_changed(first, again)
    assert is_changed(first, build_cron_job(policy(), SETTINGS, suspend=True))
    assert is_changed(first, build_cron_job(policy(schedule="0 3 * * *"), SETTINGS, suspend=False))


def test_what_the_api_server_makes_of_an_object_is_no_edit() -> None:
    wanted = OBJECTS["cron-job-with-everything"]
    live = copy.deepcopy(wanted)
    live["metadata"] |= {"uid": "x", "resourceVersion": "1", "managedFields": []}
    live["spec"].pop("suspend")
    live["spec"]["suspend"] = True
    pod = live["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    pod["dnsPolicy"] = "ClusterFirst"
    pod["containers"][0]["resources"]["requests"]["cpu"] = "500m"
    pod["containers"][0]["securityContext"].pop("privileged")
    assert not is_edited(live, wanted)


@pytest.mark.parametrize(
    "path",
    [
        "spec.schedule",
        "spec.suspend",
        "metadata.ownerReferences",
        "metadata.labels",
        "spec.jobTemplate.spec.template.spec.containers",
    ],
)
def test_every_wanted_field_that_is_taken_away_is_an_edit(path: str) -> None:
    wanted = OBJECTS["cron-job-with-everything"]
    live = copy.deepcopy(wanted)
    *folders, last = path.split(".")
    place = live
    for folder in folders:
        place = place[folder]
    del place[last]
    assert is_edited(live, wanted)


def test_no_admission_policy_looks_at_pods_to_which_a_clouds_webhook_adds_its_token() -> None:
    """EKS' webhook and Azure's add a projected token, a variable and a mount to pods; what the operator writes are Jobs."""
    files = sorted((Path(__file__).parents[2] / "charts" / "resguardo" / "admission").glob("*.yaml"))
    policies = [
        body
        for file in files
        for body in yaml.safe_load_all(file.read_text())
        if body.get("kind") == "ValidatingAdmissionPolicy"
    ]
    rules = [rule for body in policies for rule in body["spec"]["matchConstraints"]["resourceRules"]]
    assert len(policies) == 3
    assert {resource for rule in rules for resource in rule["resources"]} == {"jobs", "cronjobs"}
