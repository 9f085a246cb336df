"""A cluster of dictionaries, for the controller's unit tests: it keeps what the API server promises (uids, versions,
conflicts, ownership) and does what kubelet and Job controller do when a test tells it to. What only a real API server can
show (defaults, validation, admission) is tests/cluster's.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from resguardo.api.base import canonical_hash, print_time
from resguardo.api.manifest import Oddity
from resguardo.api.names import FROZEN_POLICY_ANNOTATION, JOB_NAME_LABEL
from resguardo.api.policy import BackupSummary, Inventory
from resguardo.api.report import Report, RestoreOutcome, Subject, Task
from resguardo.controller.cluster import ClusterError
from resguardo.controller.operator import Controller
from resguardo.controller.outcome import Key, ObjectRef
from resguardo.controller.settings import Settings
from tests.fixtures.specs import POLICY, REQUEST

SETTINGS = Settings(image="registry.example/resguardo:1", cluster_id="cluster-1", version="0.1.0")
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
#: The first time of POLICY's schedule after START: 02:00 in São Paulo.
NIGHT = datetime(2026, 11, 24, 5, 0, tzinfo=UTC)
POLICY_KEY = Key("BackupPolicy", "default", "portal-prod")
REQUEST_KEY = Key("RestoreRequest", "default", "dr-2026-11-23")

Body = dict[str, Any]
#: Named here, since a method of SmallCluster is called `list`.
Bodies = list[Body]
Names = list[str]


class SmallCluster:
    """The calls of controller.cluster.Cluster, and verbs for what happens outside of the operator."""

    def __init__(self) -> None:
        self.now = START
        self.writes = 0
        self.created: list[str] = []
        #: Names whose creation the API server refuses, with its words.
        self.refuses: dict[str, str] = {}
        #: Raised by the write after this many, as if the process had been killed there.
        self.dies_after: int | None = None
        self._objects: dict[tuple[str, str], Body] = {}
        self._numbers = itertools.count(1)

    # --- what the controller calls

    # One namespace is enough here; the tests of a real cluster have several.
    def get(self, kind: str, namespace: str | None, name: str) -> Body | None:  # noqa: ARG002
        return copy.deepcopy(self._objects.get((kind, name)))

    def list(
        self,
        kind: str,
        namespace: str,  # noqa: ARG002
        *,
        labels: Mapping[str, str] | None = None,
        fields: str = "",
    ) -> Bodies:
        found = [body for (other, _), body in sorted(self._objects.items()) if other == kind]
        if labels:
            found = [body for body in found if labels.items() <= body["metadata"].get("labels", {}).items()]
        if fields:
            uid = fields.removeprefix("involvedObject.uid=")
            found = [body for body in found if body["involvedObject"]["uid"] == uid]
        return copy.deepcopy(found)

    def apply(self, body: Mapping[str, Any]) -> None:
        self._written(body)
        key = (body["kind"], body["metadata"]["name"])
        live = self._objects.get(key)
        version = body["metadata"].get("resourceVersion")
        if version is not None and live is not None and live["metadata"]["resourceVersion"] != version:
            raise ClusterError(409, "the object has been modified")
        if live is None:
            self.put(body)
            return
        if version is None and _merged(live, body) != live:
            raise ClusterError(409, "conflict with another field manager")
        merged = _merged(live, body)
        if merged != live:
            self._objects[key] = merged
            self._touch(merged)

    def create(self, body: Mapping[str, Any]) -> None:
        if (body["kind"], body["metadata"]["name"]) in self._objects:
            raise ClusterError(409, "already exists")
        self._written(body)
        self.put(body)
        if body["kind"] != "Event":
            self.created.append(body["metadata"]["name"])

    def delete_job(self, namespace: str, name: str, uid: str) -> None:  # noqa: ARG002
        self._written({"kind": "Job", "metadata": {"name": name}})
        if (live := self._objects.get(("Job", name))) and live["metadata"]["uid"] == uid:
            self.delete("Job", name)

    def put_status(self, resource: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        self._written(resource)
        live = self._objects[resource["kind"], resource["metadata"]["name"]]
        if live["metadata"]["resourceVersion"] != resource["metadata"]["resourceVersion"]:
            raise ClusterError(409, "the object has been modified")
        live["status"] = copy.deepcopy(dict(status))
        self._touch(live)

    # --- what people, kubelet and Kubernetes' own controllers do

    def put(self, body: Mapping[str, Any]) -> Body:
        stored: Body = copy.deepcopy(dict(body))
        stored["metadata"].setdefault("uid", f"uid-{next(self._numbers)}")
        stored["metadata"].setdefault("generation", 1)
        stored["metadata"].setdefault("creationTimestamp", print_time(self.now))
        self._objects[stored["kind"], stored["metadata"]["name"]] = stored
        self._touch(stored)
        return stored

    def edit(self, kind: str, name: str, **changes: Any) -> None:
        """Change fields by their path, with __ for the dots; of spec, as a person would: a new generation."""
        body = self._objects[kind, name]
        for path, value in changes.items():
            *folders, last = path.split("__")
            place = body
            for folder in folders:
                place = place.setdefault(folder, {})
            place[last] = value
            if folders[:1] == ["spec"]:
                body["metadata"]["generation"] += 1
        self._touch(body)

    def annotate(self, kind: str, name: str, key: str, value: str) -> None:
        self._objects[kind, name]["metadata"].setdefault("annotations", {})[key] = value
        self._touch(self._objects[kind, name])

    def delete(self, kind: str, name: str) -> None:
        """And what it owns, as the garbage collector does."""
        self._collect(self._objects.pop((kind, name))["metadata"]["uid"])

    def names(self, kind: str) -> Names:
        return [name for other, name in sorted(self._objects) if other == kind]

    def the_job(self, word: str) -> Body:
        """The newest Job whose name holds a word."""
        jobs = [body for (kind, name), body in self._objects.items() if kind == "Job" and word in name]
        return max(jobs, key=lambda job: int(job["metadata"]["resourceVersion"]))

    def tick_cron_job(self, name: str) -> str:
        """What the CronJob controller does at a schedule's time; nothing while it is suspended."""
        cron_job = self._objects["CronJob", name]
        assert not cron_job["spec"]["suspend"], "the CronJob is suspended"
        template = cron_job["spec"]["jobTemplate"]
        owner = {"kind": "CronJob", "name": name, "uid": cron_job["metadata"]["uid"], "controller": True}
        job_name = f"{name}-{int(self.now.timestamp() / 60)}"
        metadata = {**template["metadata"], "name": job_name, "namespace": "default", "ownerReferences": [owner]}
        self.put({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
        return job_name

    def pods_of(self, job_name: str) -> list[Body]:
        """The pods of a Job, oldest first."""
        uid = self._objects["Job", job_name]["metadata"]["uid"]
        pods = [body for (kind, _), body in self._objects.items() if kind == "Pod"]
        return [pod for pod in pods if any(owner["uid"] == uid for owner in pod["metadata"]["ownerReferences"])]

    def start(self, job_name: str, *, pod_status: Body | None = None) -> Body:
        """The Job's pod, running unless told otherwise."""
        job = self._objects["Job", job_name]
        job.setdefault("status", {}).setdefault("startTime", print_time(self.now))
        self._touch(job)
        template = job["spec"]["template"]
        running = {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}
        return self.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{job_name}-{next(self._numbers)}",
                    "namespace": "default",
                    "labels": {**template["metadata"]["labels"], JOB_NAME_LABEL: job_name},
                    "ownerReferences": [{"kind": "Job", "name": job_name, "uid": job["metadata"]["uid"]}],
                },
                "spec": {"nodeName": "node-1"},
                "status": pod_status or running,
            }
        )

    def warn(self, about: Body, reason: str, message: str) -> None:
        """A Warning of the kubelet or of the Job controller."""
        self.put(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"event-{next(self._numbers)}", "namespace": "default"},
                "involvedObject": {"uid": about["metadata"]["uid"]},
                "type": "Warning",
                "reason": reason,
                "message": message,
                "lastTimestamp": print_time(self.now),
            }
        )

    def tell_to_end(self, job_name: str, reason: str = "DeadlineExceeded") -> None:
        """The Job controller gives a Job up. It waits for the pod's end before it says Failed: on a lost node, for ever."""
        job = self._objects["Job", job_name]
        target = {
            "type": "FailureTarget",
            "status": "True",
            "reason": reason,
            "message": "of the Job",
            "lastTransitionTime": print_time(self.now),
        }
        job.setdefault("status", {})["conditions"] = [target]
        self._touch(job)

    def finish(
        self,
        job_name: str,
        report: Report | None,
        *,
        exit_status: int | None = None,
        killed: str = "",
        job_reason: str = "BackoffLimitExceeded",
        keep_pod: bool = True,
        last_words: str | None = None,
    ) -> None:
        """The Job ends, with the exit status of its Report or another; `last_words` stand in place of the Report."""
        job = self._objects["Job", job_name]
        pods = self.pods_of(job_name)
        pod = pods[-1] if pods else self.start(job_name)
        status = exit_status if exit_status is not None else 0 if report and report.succeeded else 1
        ended = {"exitCode": status, "reason": killed or ("Completed" if status == 0 else "Error")}
        if report is not None:
            ended["message"] = report.to_message() if last_words is None else last_words
        pod["status"] = {
            "phase": "Succeeded" if status == 0 else "Failed",
            "containerStatuses": [{"state": {"terminated": ended}}],
        }
        if not keep_pod:
            self.delete("Pod", pod["metadata"]["name"])
        job.setdefault("status", {}).setdefault("startTime", print_time(self.now))
        # One that was told to end is Failed, whatever its process did.
        told_to_end = [item for item in job["status"].get("conditions", []) if item["type"] == "FailureTarget"]
        kind = "Complete" if status == 0 and not told_to_end else "Failed"
        condition = {
            "type": kind,
            "status": "True",
            "lastTransitionTime": print_time(self.now),
            "message": "of the Job",
        }
        if kind == "Failed":
            condition["reason"] = told_to_end[0]["reason"] if told_to_end else job_reason
        job["status"]["conditions"] = [*told_to_end, condition]
        if kind == "Complete":
            job["status"]["completionTime"] = print_time(self.now)
        self._touch(job)

    def _collect(self, uid: str) -> None:
        for kind, name in list(self._objects):
            owners = self._objects.get((kind, name), {}).get("metadata", {}).get("ownerReferences", [])
            if any(owner["uid"] == uid for owner in owners):
                self.delete(kind, name)

    def _touch(self, body: Body) -> None:
        body["metadata"]["resourceVersion"] = str(next(self._numbers))

    def _written(self, body: Mapping[str, Any]) -> None:
        name = body["metadata"]["name"]
        if name in self.refuses:
            raise ClusterError(403, self.refuses[name])
        if self.dies_after is not None:
            if self.dies_after == 0:
                raise Killed
            self.dies_after -= 1
        self.writes += 1


class Killed(BaseException):
    """The operator's process, at this very write."""


def _merged(live: Any, wanted: Any) -> Any:
    if isinstance(live, dict) and isinstance(wanted, Mapping):
        return {**live, **{key: _merged(live.get(key), value) for key, value in wanted.items()}}
    return copy.deepcopy(wanted)


class World:
    """A small cluster, and an operator at work in it."""

    def __init__(self) -> None:
        self.cluster = SmallCluster()
        self.controller = self.new_controller()

    def new_controller(self, settings: Settings = SETTINGS) -> Controller:
        return Controller(self.cluster, settings, clock=lambda: self.cluster.now)  # type: ignore[arg-type]

    def restart(self) -> None:
        self.controller = self.new_controller()

    def pass_time(self, **length: float) -> None:
        self.cluster.now += timedelta(**length)

    def settle(self, *keys: Key) -> datetime | None:
        """Reconcile until nothing is written any more; gives the time at which to look again."""
        moments = []
        for key in keys:
            for _ in range(12):
                before = self.cluster.writes
                following = self.controller.reconcile(key)
                if self.cluster.writes == before:
                    break
            else:
                raise AssertionError(f"{key} never comes to rest")
            moments.append(following.look_again_at)
        return min((moment for moment in moments if moment is not None), default=None)

    def policy(self, **changes: Any) -> None:
        body = copy.deepcopy(POLICY)
        self.cluster.put(body)
        if changes:
            self.cluster.edit("BackupPolicy", "portal-prod", **changes)
            self.cluster.edit("BackupPolicy", "portal-prod", metadata__generation=1)

    def accepted_policy(self, **changes: Any) -> None:
        self.policy(**changes)
        self.settle(POLICY_KEY)
        self.check_passes()

    def check_passes(
        self, *, backups: int = 0, newest: BackupSummary | None = None, newest_jobs: Sequence[str] = ()
    ) -> None:
        job = self.cluster.the_job("-check-")["metadata"]["name"]
        self.cluster.finish(job, self.report(Task.CHECK, newest=newest, newest_jobs=newest_jobs, backups=backups))
        self.settle(POLICY_KEY)

    def report(
        self,
        task: Task,
        *,
        reason: str | None = None,
        backup: BackupSummary | None = None,
        newest: BackupSummary | None = None,
        newest_jobs: Sequence[str] = (),
        backups: int = 0,
        restore: RestoreOutcome | None = None,
        message: str = "as told",
        off: timedelta = timedelta(),
    ) -> Report:
        """A Report of now, by a clock that is `off`; with a reason, of a failure."""
        return Report(
            task=task,
            succeeded=reason is None,
            reason=reason or "Succeeded",
            message=message,
            subject=Subject(uid="uid", generation=1, hash="hash"),
            started_at=self.cluster.now + off - timedelta(seconds=1),
            completed_at=self.cluster.now + off,
            backup=backup,
            newest_backup=newest,
            newest_jobs=list(newest_jobs),
            inventory=Inventory(backups=backups, bytes=backups * 1000) if task is Task.CHECK or newest else None,
            restore=restore,
        )

    def backup_of_now(self, *, job: str | None = None, off: timedelta = timedelta(), **since: float) -> BackupSummary:
        """One that a pod of that Job has made, by a clock that is `off`."""
        now = self.cluster.now + off
        started_at = now - timedelta(**since)
        stamp = started_at.strftime("%Y%m%dT%H%M%SZ")
        return BackupSummary(
            id=f"{stamp}-{canonical_hash(stamp, length=6)}",
            started_at=started_at,
            completed_at=now,
            bytes=1024,
            duration_seconds=60,
            job_name=job,
        )

    def back_up(self, *, reason: str | None = None, oddities: Sequence[Oddity] = ()) -> str:
        """A whole scheduled run, of a minute."""
        job = self.cluster.tick_cron_job("portal-prod-backup")
        self.cluster.start(job)
        self.pass_time(minutes=1)
        made = (
            None if reason else self.backup_of_now(job=job, seconds=50).model_copy(update={"oddities": list(oddities)})
        )
        self.cluster.finish(job, self.report(Task.BACKUP, reason=reason, backup=made, newest=made, backups=1))
        self.settle(POLICY_KEY)
        return job

    def request(self, name: str = "dr-2026-11-23", **changes: Any) -> None:
        body = copy.deepcopy(REQUEST)
        body["metadata"]["name"] = name
        self.cluster.put(body)
        if changes:
            self.cluster.edit("RestoreRequest", name, **changes)

    def status(self, key: Key = POLICY_KEY) -> Body:
        body = self.cluster.get(key.kind, key.namespace, key.name)
        assert body is not None
        return dict(body.get("status", {}))

    def condition(self, kind: str, key: Key = POLICY_KEY) -> tuple[str, str] | None:
        """Status and reason."""
        for condition in self.status(key).get("conditions", []):
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return None

    def message(self, kind: str, key: Key = POLICY_KEY) -> str:
        return str(next(item["message"] for item in self.status(key)["conditions"] if item["type"] == kind))

    def told(self) -> list[str]:
        """The reasons of the Events that the operator told."""
        events = self.cluster.list("Event", "default")
        return sorted(event["reason"] for event in events if event.get("reportingComponent") == "resguardo")

    def cron_job(self, name: str = "portal-prod-backup") -> Body:
        body = self.cluster.get("CronJob", "default", name)
        assert body is not None
        return body


__all__ = ["FROZEN_POLICY_ANNOTATION", "POLICY_KEY", "REQUEST_KEY", "SETTINGS", "Killed", "ObjectRef", "World"]
