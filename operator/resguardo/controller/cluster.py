"""The one door to the Kubernetes API: plain JSON in and out, a deadline on every call, errors translated here.

Reads are lists and gets of the API server's present state, not of a cache: a decision to make a Job again must not be
made from a view that lags behind what this process did a moment ago. Since Kubernetes 1.31 such reads are served from the
server's own watch cache (KEP-2340).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import kubernetes
import urllib3
from kubernetes.client import ApiException

from resguardo.api.names import API_VERSION, FIELD_MANAGER, MANAGED_BY, MANAGED_BY_LABEL

Object = Mapping[str, Any]

#: Seconds to connect, and between two bytes of an answer.
TIMEOUT = (5, 20)
APPLY = "application/apply-patch+yaml"

PLURALS = {
    "BackupPolicy": ("apis", API_VERSION, "backuppolicies"),
    "RestoreRequest": ("apis", API_VERSION, "restorerequests"),
    "Job": ("apis", "batch/v1", "jobs"),
    "CronJob": ("apis", "batch/v1", "cronjobs"),
    "Pod": ("api", "v1", "pods"),
    "Event": ("api", "v1", "events"),
    "Namespace": ("api", "v1", "namespaces"),
}


class ClusterError(Exception):
    """The API server did not do what was asked. `status` is HTTP's, 0 where no answer came."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_conflict(self) -> bool:
        """Somebody else was there first: look again and decide anew."""
        return self.status == 409

    @property
    def is_refusal(self) -> bool:
        """The answer will be the same until something is changed: invalid, forbidden, a quota, an admission policy."""
        return self.status in (400, 403, 405, 413, 422)


class Cluster:
    """Calls block; run them in a thread."""

    def __init__(self, client: kubernetes.client.ApiClient) -> None:
        self._client = client

    @classmethod
    def from_environment(cls, *, connections: int) -> Cluster:
        """From the pod's service account, else from the kubeconfig of a person. So many connections are kept open."""
        try:
            kubernetes.config.load_incluster_config()  # type: ignore[no-untyped-call]
        except kubernetes.config.ConfigException:
            kubernetes.config.load_kube_config()  # type: ignore[no-untyped-call]
        configuration = kubernetes.client.Configuration.get_default_copy()
        configuration.connection_pool_maxsize = connections
        return cls(kubernetes.client.ApiClient(configuration))

    def get(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """One object; None where there is none."""
        try:
            return self._call("GET", _path(kind, namespace, name))
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def list(
        self, kind: str, namespace: str, *, labels: Mapping[str, str] | None = None, fields: str = ""
    ) -> list[Object]:
        """The objects of a kind in a namespace; of Jobs, CronJobs and Pods only ours."""
        query = {"fieldSelector": fields} if fields else {}
        if labels is not None:
            wanted = {MANAGED_BY_LABEL: MANAGED_BY, **labels}
            query["labelSelector"] = ",".join(f"{key}={value}" for key, value in wanted.items())
        found = self._call("GET", _path(kind, namespace), query)
        # The list says it once for all of its items.
        return [{"apiVersion": found["apiVersion"], "kind": kind, **item} for item in found["items"]]

    def apply(self, body: Object) -> None:
        """Server-side apply. With a resourceVersion in it, our fields of what was read then become as given, whoever changed
        them; is_conflict where something else stands there by now, and made anew where nothing does. Without one the object
        is made; where a stranger made one of that name since it was looked for, that stays as it is: is_conflict too.
        """
        force = "true" if "resourceVersion" in body["metadata"] else "false"
        query = {"fieldManager": FIELD_MANAGER, "force": force, "fieldValidation": "Strict"}
        self._call("PATCH", _path_of(body), query, body, APPLY)

    def create(self, body: Object) -> None:
        """Make an object; a ClusterError with is_conflict where one of its name is there."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        metadata = body["metadata"]
        self._call("POST", _path(body["kind"], metadata["namespace"]), query, body)

    def delete_job(self, namespace: str, name: str, uid: str) -> None:
        """Remove this Job and its pods, and no other Job that has its name by now."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            self._call("DELETE", _path("Job", namespace, name), body=body)
        except ClusterError as error:
            if error.status != 404 and not error.is_conflict:
                raise

    def put_status(self, resource: Object, status: Object) -> None:
        """Write the whole status of what was read as `resource`; is_conflict where it has changed since."""
        self._call(
            "PUT", _path_of(resource) + "/status", {"fieldManager": FIELD_MANAGER}, {**resource, "status": status}
        )

    def is_served(self) -> bool:
        """Whether the API server knows our resources."""
        try:
            self._call("GET", f"/apis/{API_VERSION}")
        except ClusterError as error:
            if error.status == 404:
                return False
            raise
        return True

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        request = self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = self._client.call_api(*request, _request_timeout=TIMEOUT)
            payload = response.read()  # type: ignore[no-untyped-call]
        except ApiException as error:
            raise ClusterError(error.status or 0, _message(error.body or str(error))) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ClusterError(0, f"the API server did not answer {method} {path}: {error}") from None
        if response.status >= 400:
            raise ClusterError(response.status, _message(payload))
        return dict(json.loads(payload))


def _path_of(body: Object) -> str:
    return _path(body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"])


def _path(kind: str, namespace: str | None, name: str | None = None) -> str:
    root, version, plural = PLURALS[kind]
    parts = [root, version, *(["namespaces", namespace] if namespace else []), plural, *([name] if name else [])]
    return "/" + "/".join(parts)


def _message(payload: bytes | str) -> str:
    """The text of a Status object, or what else was answered."""
    text = payload.decode(errors="replace") if isinstance(payload, bytes) else payload
    try:
        return str(json.loads(text).get("message") or text)
    except (ValueError, AttributeError):
        return text[:512]
