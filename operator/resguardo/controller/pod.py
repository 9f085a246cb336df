"""The one pod template: fits Pod Security "restricted", has no token, and holds exactly the keys that its document names.

https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resguardo.api.azure import AzureStore
from resguardo.api.connection import PostgresConnection
from resguardo.api.encryption import Decryption
from resguardo.api.fields import CaRef
from resguardo.api.names import FROZEN_POLICY_ANNOTATION, FROZEN_REQUEST_ANNOTATION, JOB_NAME_LABEL
from resguardo.api.pods import JobsTemplate
from resguardo.api.roles import Role
from resguardo.api.s3 import S3Store
from resguardo.api.signing import Signing
from resguardo.api.store import Store
from resguardo.api.volume import VOLUME_FOLDER

CONTAINER = "resguardo"
DOCUMENTS = "/etc/resguardo/documents"
CREDENTIALS = "/etc/resguardo/credentials"
#: Root in no image, and the user that the Dockerfile makes.
USER_ID = 65532
#: A pod that is told to stop aborts its uploads and drops what it began; the process takes at most 60 s for it.
GRACE_SECONDS = 90

_DOCUMENT_FILES = {FROZEN_POLICY_ANNOTATION: "policy.json", FROZEN_REQUEST_ANNOTATION: "request.json"}
_RESOURCES = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}


def pod_template(
    *,
    arguments: list[str],
    labels: Mapping[str, str],
    documents: Mapping[str, str],
    database: PostgresConnection | None,
    store: Store | None,
    role: Role,
    jobs: JobsTemplate,
    image: str,
    decryption: Decryption | None = None,
    signing: Signing | None = None,
) -> dict[str, Any]:
    """A Job's pod template. `documents` are frozen JSON texts by annotation; the user's `jobs` never override ours.

    Of the store's credentials it holds those of `role`, and no other's.
    """
    names = [_DOCUMENT_FILES[annotation] for annotation in documents]
    files = [part for name in names for part in ("-f", f"{DOCUMENTS}/{name}")]
    secrets = [
        *_database_files(database),
        *_store_files(store, role),
        *_identity_file(decryption),
        *_signing_key_file(signing),
    ]
    mounts = _credential_mounts(secrets) + _volume_mounts(store, role)
    return {
        "metadata": {
            "labels": {**(jobs.labels or {}), **_identity_label(store, role), **labels},
            "annotations": {**(jobs.annotations or {}), **documents},
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                **_volume_ownership(store),
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **_placement(jobs),
            **_service_account(store, role),
            "containers": [_container([*arguments, *files], jobs, image, mounts)],
            "volumes": [
                {"name": "documents", "downwardAPI": {"items": [_document_item(key) for key in documents]}},
                *_credentials(secrets),
                {"name": "tmp", "emptyDir": {}},
                *_volumes(store),
            ],
        },
    }


def _container(arguments: list[str], jobs: JobsTemplate, image: str, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    # Whole or not at all: a request of 2Gi beside our limit of 1Gi would be refused.
    given = jobs.resources.model_dump(by_alias=True, exclude_none=True) if jobs.resources else {}
    job_name = {"fieldRef": {"fieldPath": f"metadata.labels['{JOB_NAME_LABEL}']"}}
    return {
        "name": CONTAINER,
        "image": jobs.image or image,
        "imagePullPolicy": "IfNotPresent",
        "args": arguments,
        "env": [
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - an emptyDir of the pod's own
            {"name": "RESGUARDO_JOB_NAME", "valueFrom": job_name},
            {"name": "RESGUARDO_REPORT_FILE", "value": "/dev/termination-log"},
        ],
        "resources": given or _RESOURCES,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
        },
        # A process that was killed leaves no Report; its last words in the log would be taken for one.
        "terminationMessagePolicy": "File",
        "terminationMessagePath": "/dev/termination-log",
        "volumeMounts": [
            {"name": "documents", "mountPath": DOCUMENTS, "readOnly": True},
            *mounts,
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }


def _placement(jobs: JobsTemplate) -> dict[str, Any]:
    given = jobs.model_dump(
        mode="json",
        by_alias=True,
        exclude_none=True,
        include={"node_selector", "tolerations", "priority_class_name", "image_pull_secrets", "service_account_name"},
    )
    return {key: value for key, value in given.items() if value}


def _document_item(annotation: str) -> dict[str, Any]:
    return {
        "path": _DOCUMENT_FILES[annotation],
        "fieldRef": {"fieldPath": f"metadata.annotations['{annotation}']"},
    }


def _database_files(connection: PostgresConnection | None) -> list[dict[str, Any]]:
    if connection is None:
        return []
    login = connection.credentials_secret_ref
    sources = [
        _source(
            "secret",
            login.name,
            {login.username_key: "database/username"},
            {login.password_key: "database/password"},
        )
    ]
    sources += _ca_file(connection.ca_ref, "database/ca.crt")
    if certificate := connection.client_certificate_secret_ref:
        sources.append(
            _source(
                "secret",
                certificate.name,
                {certificate.certificate_key: "database/tls.crt"},
                {certificate.private_key_key: "database/tls.key"},
            )
        )
    return sources


def _service_account(store: Store | None, role: Role) -> dict[str, str]:
    """The role's own goes before that of `jobs`: it is who the pod is to the store."""
    account = store.service_account(role) if store is not None else None
    return {"serviceAccountName": account} if account else {}


def _store_files(store: Store | None, role: Role) -> list[dict[str, Any]]:
    if store is None:
        return []
    if store.s3 is not None:
        return _s3_files(store.s3, role)
    return _azure_files(store.azure, role) if store.azure is not None else []


def _s3_files(store: S3Store, role: Role) -> list[dict[str, Any]]:
    sources = []
    if keys := store.credentials.of(role).secret_ref:
        sources.append(
            _source(
                "secret",
                keys.name,
                {keys.access_key_id_key: "store/access-key-id"},
                {keys.secret_access_key_key: "store/secret-access-key"},
            )
        )
    return sources + _ca_file(store.ca_ref, "store/ca.crt")


def _azure_files(store: AzureStore, role: Role) -> list[dict[str, Any]]:
    identity = store.credentials.of(role)
    sources = []
    if account := identity.account_key_secret_ref:
        sources.append(_source("secret", account.name, {account.key: "store/account-key"}))
    if signature := identity.sas_token_secret_ref:
        sources.append(_source("secret", signature.name, {signature.key: "store/sas-token"}))
    return sources + _ca_file(store.ca_ref, "store/ca.crt")


def _identity_label(store: Store | None, role: Role) -> dict[str, str]:
    """What Azure's webhook looks for before it gives a pod the token of its service account."""
    is_federated = store is not None and store.azure is not None and store.service_account(role) is not None
    return {"azure.workload.identity/use": "true"} if is_federated else {}


def _credentials(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # A pod that proves itself by other means, or only looks at a volume, has none.
    return [{"name": "credentials", "projected": {"defaultMode": 0o440, "sources": sources}}] if sources else []


def _credential_mounts(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": "credentials", "mountPath": CREDENTIALS, "readOnly": True}] if sources else []


def _volumes(store: Store | None) -> list[dict[str, Any]]:
    if store is None or store.volume is None:
        return []
    return [{"name": "store", "persistentVolumeClaim": {"claimName": store.volume.claim_name}}]


def _volume_mounts(store: Store | None, role: Role) -> list[dict[str, Any]]:
    if store is None or store.volume is None:
        return []
    return [{"name": "store", "mountPath": VOLUME_FOLDER, **({"readOnly": True} if role is Role.READER else {})}]


def _volume_ownership(store: Store | None) -> dict[str, str]:
    # Else the kubelet gives every file to the group again, at every start of a pod: hours for a volume full of backups.
    return {"fsGroupChangePolicy": "OnRootMismatch"} if store is not None and store.volume is not None else {}


def _identity_file(decryption: Decryption | None) -> list[dict[str, Any]]:
    if decryption is None or (identity := decryption.age_identity_secret_ref) is None:
        return []
    return [_source("secret", identity.name, {identity.key: "decryption/age-identity"})]


def _signing_key_file(signing: Signing | None) -> list[dict[str, Any]]:
    if signing is None:
        return []
    secret = signing.key_secret_ref
    return [_source("secret", secret.name, {secret.key: "signing/key"})]


def _ca_file(reference: CaRef | None, path: str) -> list[dict[str, Any]]:
    if reference is None:
        return []
    if reference.config_map is not None:
        return [_source("configMap", reference.config_map.name, {reference.config_map.key: path})]
    if reference.secret is not None:
        return [_source("secret", reference.secret.name, {reference.secret.key: path})]
    return []


def _source(kind: str, name: str, *files: dict[str, str]) -> dict[str, Any]:
    items = [{"key": key, "path": path} for file in files for key, path in file.items()]
    return {kind: {"name": name, "items": items}}
