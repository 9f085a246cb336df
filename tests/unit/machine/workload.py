"""What pods really do to the bucket and the databases, whatever becomes of their Reports: the truth to judge status by."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from resguardo.api.base import canonical_hash
from resguardo.api.documents import read_document
from resguardo.api.names import FROZEN_POLICY_ANNOTATION, FROZEN_REQUEST_ANNOTATION, TASK_LABEL
from resguardo.api.policy import BackupSummary, Inventory
from resguardo.api.report import Report, RestoreOutcome, Subject, Task
from resguardo.api.request import RestoreRequest
from resguardo.controller.runs import parse_time
from tests.unit.machine.audited_cluster import AuditedCluster
from tests.unit.small_cluster import Body

#: Bucket and database: what a run is about.
Place = tuple[str, str]
PREVIOUS = "agepar_before_restore"


@dataclass
class Workload:
    """Pods of one cluster, and what they leave behind."""

    cluster: AuditedCluster
    buckets: dict[Place, list[BackupSummary]] = field(default_factory=dict)
    #: By Job name: whether a backup run that ended put a backup into the bucket.
    made_backup: dict[str, bool] = field(default_factory=dict)
    #: The fingerprints of requests whose restored database stands (their marks).
    marks: set[str] = field(default_factory=set)
    #: By uid of the request: Jobs that brought its database back.
    restored: dict[str, list[str]] = field(default_factory=dict)

    def running(self) -> list[str]:
        """Jobs that have not ended, strangers' aside."""
        return [
            body["metadata"]["name"]
            for body in self.cluster.bodies("Job")
            if not body.get("status", {}).get("conditions") and body["metadata"]["uid"] not in self.cluster.foreign
        ]

    def end(self, name: str, *, works: bool, says: str) -> None:
        """A Job's process does its work or fails; `says` is what is left to see of it (report, lost, oom, gone, deadline)."""
        job = self.cluster.body("Job", name)
        assert job is not None
        task = Task(job["metadata"]["labels"].get(TASK_LABEL) or "restore")
        report = getattr(self, "_" + task.name.lower())(job, works)
        self.cluster.finish(
            name,
            report if says == "report" else None,
            exit_status=(0 if report.succeeded else 1) if says in ("report", "lost") else 137,
            killed="OOMKilled" if says == "oom" else "",
            job_reason="DeadlineExceeded" if says == "deadline" else "BackoffLimitExceeded",
            keep_pod=says not in ("gone", "deadline"),
        )

    def place(self, job: Body) -> Place:
        """What the frozen policy of a Job is about."""
        return place_of(_frozen(job, FROZEN_POLICY_ANNOTATION)["spec"])

    def _check(self, job: Body, works: bool) -> Report:
        held = self.buckets.get(self.place(job), [])
        newest = max(held, key=lambda backup: backup.completed_at, default=None)
        inventory = Inventory(backups=len(held), bytes=1024 * len(held))
        reason = None if works else "AuthenticationFailed"
        return self._report(job, Task.CHECK, reason, newest_backup=newest, inventory=inventory if works else None)

    def _backup(self, job: Body, works: bool) -> Report:
        name = job["metadata"]["name"]
        self.made_backup[name] = works
        if not works:
            return self._report(job, Task.BACKUP, "DumpFailed")
        started_at = max(self._started_at(job), self.cluster.now - timedelta(minutes=1))
        stamp = started_at.strftime("%Y%m%dT%H%M%SZ")
        made = BackupSummary(
            id=f"{stamp}-{canonical_hash(name, length=6)}",
            started_at=started_at,
            completed_at=self.cluster.now,
            bytes=1024,
            duration_seconds=60,
        )
        held = self.buckets.setdefault(self.place(job), [])
        held.append(made)
        newest = max(held, key=lambda backup: backup.completed_at)
        inventory = Inventory(backups=len(held), bytes=1024 * len(held))
        return self._report(job, Task.BACKUP, None, backup=made, newest_backup=newest, inventory=inventory)

    def _restore(self, job: Body, works: bool) -> Report:
        request = read_document(_frozen(job, FROZEN_REQUEST_ANNOTATION))
        assert isinstance(request, RestoreRequest)
        if request.fingerprint in self.marks:
            return self._report(job, Task.RESTORE, "AlreadyRestored")
        if not works:
            return self._report(job, Task.RESTORE, "RestoreFailed")
        self.marks.add(request.fingerprint)
        self.restored.setdefault(request.metadata.uid, []).append(job["metadata"]["name"])
        outcome = RestoreOutcome(database="agepar", previous_database=PREVIOUS)
        return self._report(job, Task.RESTORE, None, restore=outcome)

    def _drop_previous(self, job: Body, works: bool) -> Report:
        return self._report(job, Task.DROP_PREVIOUS, None if works else "DatabaseUnreachable")

    def _started_at(self, job: Body) -> datetime:
        return parse_time(job.get("status", {}).get("startTime") or job["metadata"]["creationTimestamp"])

    def _report(self, job: Body, task: Task, reason: str | None, **facts: Any) -> Report:
        return Report(
            task=task,
            succeeded=reason is None,
            reason=reason or "Succeeded",
            message="as the model has it",
            subject=Subject(uid="uid", generation=1, hash="hash"),
            started_at=min(self._started_at(job), self.cluster.now),
            completed_at=self.cluster.now,
            **facts,
        )


def place_of(spec: Body) -> Place:
    """Bucket and database of a policy's spec."""
    return spec["store"]["s3"]["bucket"], spec["source"]["postgres"]["pgDump"]["database"]


def _frozen(job: Body, annotation: str) -> Body:
    return dict(json.loads(job["spec"]["template"]["metadata"]["annotations"][annotation]))
