"""Policies by the thousand, and everybody but the operator: who applies them, the Job controller, the kubelet."""

from __future__ import annotations

import copy
import re
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import yaml

from bench.scale.control_plane import ControlPlane
from resguardo.api.base import print_time
from resguardo.api.crd import render_crds
from resguardo.api.names import API_VERSION, JOB_NAME_LABEL, MANAGED_BY, MANAGED_BY_LABEL, POLICY_LABEL
from resguardo.api.policy import BackupSummary, Inventory
from resguardo.api.report import Report, Subject, Task
from tests.fixtures.specs import POLICY

#: As an organisation would have them: a namespace for each application.
POLICIES_PER_NAMESPACE = 20
THREADS = 8
_MERGE = {"Content-Type": "application/merge-patch+json"}
Body = dict[str, Any]
T = TypeVar("T")


class World:
    """One API server, and verbs for everybody but the operator."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._local = threading.local()

    def install(self) -> None:
        """The CRDs, served."""
        for text in render_crds().values():
            body = yaml.safe_load(text)
            self.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
        self.until(
            "the CRDs are served", lambda: self._is_served("backuppolicies") and self._is_served("restorerequests")
        )

    def _is_served(self, plural: str) -> bool:
        return self._request("GET", f"/apis/{API_VERSION}/{plural}?limit=1").ok

    def add_policies(self, numbers: Iterable[int]) -> None:
        """Apply the policies of these numbers, as fast as the API server takes them."""
        numbers = list(numbers)
        for namespace in sorted({self.namespace_of(number) for number in numbers}):
            self._request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._add_policy, numbers))

    def _add_policy(self, number: int) -> None:
        body = copy.deepcopy(POLICY)
        namespace = self.namespace_of(number)
        body["metadata"] = {"name": self.name_of(number), "namespace": namespace}
        body["spec"]["store"]["s3"]["prefix"] = f"{namespace}/{number}"
        self.call("POST", f"/apis/{API_VERSION}/namespaces/{namespace}/backuppolicies", body)

    @staticmethod
    def namespace_of(number: int) -> str:
        return f"app-{number // POLICIES_PER_NAMESPACE:04}"

    @staticmethod
    def name_of(number: int) -> str:
        return f"portal-{number}"

    def policies(self) -> list[Body]:
        return self._all(f"/apis/{API_VERSION}/backuppolicies")

    def cron_jobs(self) -> list[Body]:
        return self._all("/apis/batch/v1/cronjobs")

    def jobs(self) -> list[Body]:
        return self._all("/apis/batch/v1/jobs")

    def pass_checks(self) -> int:
        """End every running Job well, as the Job controller would. How many."""
        running = [job for job in self.jobs() if not job.get("status", {}).get("completionTime")]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self.complete, running))
        return len(running)

    def complete(self, job: Body) -> None:
        """Write a Job's status: complete now."""
        now = print_time(datetime.now(UTC))
        conditions = [
            {"type": kind, "status": "True", "reason": "CompletionsReached", "lastProbeTime": now, "lastTransitionTime": now}
            for kind in ("SuccessCriteriaMet", "Complete")
        ]  # fmt: skip
        started = {"startTime": now, "completionTime": now, "succeeded": 1, "ready": 0, "terminating": 0}
        uncounted = {"uncountedTerminatedPods": {}}
        self._patch_status("batch/v1", job, "jobs", {**started, **uncounted, "conditions": conditions})

    def ask_for_backup(self, number: int) -> None:
        """The annotation of people who may not make Jobs."""
        annotations = {"resguardo.dev/backup-requested-at": datetime.now(UTC).isoformat()}
        path = f"/apis/{API_VERSION}/namespaces/{self.namespace_of(number)}/backuppolicies/{self.name_of(number)}"
        self.call("PATCH", path, {"metadata": {"annotations": annotations}}, headers=_MERGE)

    def backup_job(self, number: int) -> Body | None:
        path = f"/apis/batch/v1/namespaces/{self.namespace_of(number)}/jobs"
        running = [
            job
            for job in self._all(path)
            if job["metadata"]["name"].startswith(f"{self.name_of(number)}-manual-")
            and not job.get("status", {}).get("completionTime")
        ]
        return running[0] if running else None

    def end_backup(self, number: int, job: Body) -> str:
        """A pod of the Job that ended with a Report, then the Job's end: the id of the backup that it tells of."""
        metadata = job["metadata"]
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": metadata["name"],
            "uid": metadata["uid"],
            "controller": True,
        }
        labels = {MANAGED_BY_LABEL: MANAGED_BY, POLICY_LABEL: self.name_of(number), JOB_NAME_LABEL: metadata["name"]}
        pod = {
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "labels": labels, "ownerReferences": [owner]},
            "spec": {"containers": [{"name": "resguardo", "image": "example"}], "restartPolicy": "Never"},
        }  # fmt: skip
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods"
        self.call("POST", path, pod)
        report = _report()
        now = print_time(datetime.now(UTC))
        ended = {
            "exitCode": 0,
            "reason": "Completed",
            "message": report.to_message(),
            "startedAt": now,
            "finishedAt": now,
        }
        container = {"name": "resguardo", "image": "example", "imageID": "example", "ready": False, "restartCount": 0}
        status = {"phase": "Succeeded", "containerStatuses": [{**container, "state": {"terminated": ended}}]}
        self.call("PATCH", f"{path}/{metadata['name']}/status", {"status": status}, headers=_MERGE)
        self.complete(job)
        if report.backup is None:
            raise AssertionError("the Report tells of a backup")
        return report.backup.id

    def status_of(self, number: int) -> Body:
        path = f"/apis/{API_VERSION}/namespaces/{self.namespace_of(number)}/backuppolicies/{self.name_of(number)}"
        return dict(self.call("GET", path).get("status", {}))

    def requests_by_verb(self) -> dict[str, int]:
        """How many requests about objects the API server has answered since its start, the bench's own included."""
        counts: dict[str, int] = {}
        for line in self._request("GET", "/metrics").text.splitlines():
            if line.startswith("apiserver_request_total{"):
                labels, _, value = line.rpartition(" ")
                label = dict(_LABEL.findall(labels))
                if label["resource"] in _COUNTED:
                    counts[label["verb"]] = counts.get(label["verb"], 0) + int(float(value))
        return counts

    @staticmethod
    def until(what: str, is_so: Callable[[], T], *, seconds: float = 900, pause: float = 0.1) -> T:
        """Wait; gives what made it so. Raises TimeoutError."""
        give_up = time.monotonic() + seconds
        while not (found := is_so()):
            if time.monotonic() > give_up:
                raise TimeoutError(f"{what}: not within {seconds:.0f} s")
            time.sleep(pause)
        return found

    def _patch_status(self, version: str, body: Body, plural: str, status: Body) -> None:
        metadata = body["metadata"]
        path = f"/apis/{version}/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}/status"
        self.call("PATCH", path, {"status": status}, headers=_MERGE)

    def _all(self, path: str) -> list[Body]:
        return list(self.call("GET", f"{path}?resourceVersion=0")["items"])

    def call(self, method: str, path: str, body: Body | None = None, headers: dict[str, str] | None = None) -> Body:
        response = self._request(method, path, body, headers)
        if not response.ok:
            raise RuntimeError(f"{method} {path}: {response.status_code} {response.text[:500]}")
        return dict(response.json())

    def _request(self, method: str, path: str, body: Body | None = None, headers: dict[str, str] | None = None) -> Any:
        if not hasattr(self._local, "session"):
            self._local.session = self._plane.session()
        return self._local.session.request(method, self._plane.url + path, json=body, headers=headers, timeout=60)


_LABEL = re.compile(r'(\w+)="([^"]*)"')
_COUNTED = ("backuppolicies", "restorerequests", "cronjobs", "jobs", "pods", "events", "secrets", "namespaces")


def _report() -> Report:
    now = datetime.now(UTC).replace(microsecond=0)
    backup = BackupSummary(
        id=f"{now:%Y%m%dT%H%M%SZ}-{now.microsecond % 0xFFFFFF:06x}",
        started_at=now - timedelta(seconds=1), completed_at=now, bytes=1024, duration_seconds=1,
    )  # fmt: skip
    return Report(
        task=Task.BACKUP, succeeded=True, reason="BackupSucceeded", message="done", subject=Subject(),
        started_at=backup.started_at, completed_at=now, backup=backup, newest_backup=backup,
        inventory=Inventory(backups=1, bytes=1024, oldest=backup.started_at, newest=backup.started_at),
    )  # fmt: skip
