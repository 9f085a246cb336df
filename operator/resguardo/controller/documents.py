"""Policies and requests as they are frozen into pod templates: whole resources in JSON, without what only the cluster needs."""

from __future__ import annotations

import json
from typing import Any

from resguardo.api.metadata import Metadata
from resguardo.api.names import CLUSTER_ID_ANNOTATION, TOLD_ANNOTATIONS
from resguardo.api.policy import BackupPolicy
from resguardo.api.request import RestoreRequest


def freeze_policy(policy: BackupPolicy, *, cluster_id: str) -> str:
    """The policy in JSON; byte for byte the same for the same policy, since a pod template is compared by its text."""
    return _freeze(policy, cluster_id, {})


def freeze_request(request: RestoreRequest, *, cluster_id: str, previous_database: str | None = None) -> str:
    """The request in JSON; `previous_database` goes along in its status, for the Job that drops it."""
    return _freeze(
        request, cluster_id, {"status": {"previousDatabase": previous_database}} if previous_database else {}
    )


def _freeze(document: BackupPolicy | RestoreRequest, cluster_id: str, more: dict[str, Any]) -> str:
    body = document.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"metadata", "status"})
    body["metadata"] = _metadata(document.metadata, cluster_id)
    return json.dumps(body | more, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _metadata(metadata: Metadata, cluster_id: str) -> dict[str, Any]:
    told = {key: metadata.annotations[key] for key in TOLD_ANNOTATIONS if metadata.annotations.get(key)}
    return {
        "name": metadata.name,
        "namespace": metadata.namespace,
        "uid": metadata.uid,
        "generation": metadata.generation,
        "annotations": {CLUSTER_ID_ANNOTATION: cluster_id, **told},
    }
