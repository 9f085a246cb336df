"""What pods, nodes and Kubernetes' own clocks do, whatever becomes of Reports: the truth to judge status by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from resguardo.api.base import canonical_hash, print_time
from resguardo.api.documents import read_document
from resguardo.api.names import (
    FROZEN_POLICY_ANNOTATION,
    FROZEN_REQUEST_ANNOTATION,
    JOB_NAME_LABEL,
    TAKE_OVER_ANNOTATION,
    TASK_LABEL,
)
from resguardo.api.policy import BackupSummary, Inventory, RetentionSummary
from resguardo.api.report import Report, RestoreOutcome, Subject, Task
from resguardo.api.request import RestoreRequest
from resguardo.controller.objects import DEADLINE_SLACK, HISTORY
from resguardo.controller.runs import parse_time
from resguardo.controller.waiting import is_pending
from tests.unit.machine.audited_cluster import AuditedCluster
from tests.unit.small_cluster import Body

#: Bucket and database: what a run is about.
Place = tuple[str, str]
PREVIOUS = "agepar_before_restore"
#: The slowest garbage collector.
COLLECTED_AFTER = timedelta(minutes=1)


@dataclass(frozen=True)
class Owner:
    """Whose a bucket is."""

    policy: str
    epoch: int

    def __str__(self) -> str:
        return f"{self.policy}@{self.epoch}"


@dataclass
class Workload:
    """Pods of one cluster, and what they leave behind."""

    cluster: AuditedCluster
    #: By how much the clocks of pods go before Kubernetes'.
    skew: timedelta = timedelta()
    owners: dict[str, Owner] = field(default_factory=dict)
    buckets: dict[Place, list[BackupSummary]] = field(default_factory=dict)
    #: By Job name: whether a backup run that ended put a backup into the bucket.
    made_backup: dict[str, bool] = field(default_factory=dict)
    #: When a run of retention did all that was to be done.
    enforced: dict[Place, set[str]] = field(default_factory=dict)
    #: The fingerprints of requests whose restored database stands (their marks).
    marks: set[str] = field(default_factory=set)
    #: Names of Jobs that a schedule's time has come for; it comes only once, though somebody deletes the Job.
    fired: set[str] = field(default_factory=set)
    #: By uid of a Job whose node is lost: what its process wrote there at last.
    unheard: dict[str, Report] = field(default_factory=dict)
    #: Policies and requests of which somebody or something took away what they could be told from.
    lost_evidence: set[str] = field(default_factory=set)

    # --- which Jobs

    def running(self) -> list[str]:
        """Jobs whose process may still do something: strangers' and those on lost nodes aside."""
        return [body["metadata"]["name"] for body in self._unended() if body["metadata"]["uid"] not in self.unheard]

    def hanging(self) -> list[str]:
        """Jobs on lost nodes."""
        return [body["metadata"]["name"] for body in self._unended() if body["metadata"]["uid"] in self.unheard]

    def working(self) -> list[str]:
        """Jobs whose process runs."""
        return [name for name in self.running() if (pod := self._pod(name)) and not is_pending(pod)]

    def _unended(self) -> list[Body]:
        return [
            body
            for body in self.cluster.bodies("Job")
            if not _conditions(body) & {"Complete", "Failed"} and body["metadata"]["uid"] not in self.cluster.foreign
        ]

    def _pod(self, name: str) -> Body | None:
        return next(reversed(self.cluster.pods_of(name)), None)

    def _job(self, name: str) -> Body:
        job = self.cluster.body("Job", name)
        assert job is not None
        return job

    # --- what happens to them

    def fire(self, cron_job: str) -> None:
        """The schedule's time: a Job, unless one of the CronJob's runs (Forbid); of old ones, some are kept."""
        uid = (self.cluster.body("CronJob", cron_job) or {})["metadata"]["uid"]
        own = [
            job
            for job in self.cluster.bodies("Job")
            if any(owner["uid"] == uid for owner in job["metadata"].get("ownerReferences", []))
        ]
        name_now = f"{cron_job}-{int(self.cluster.now.timestamp() / 60)}"
        if any(not _conditions(job) & {"Complete", "Failed"} for job in own) or name_now in self.fired:
            return
        self.fired.add(name_now)
        self.cluster.tick_cron_job(cron_job)
        for end in ("Complete", "Failed"):
            ended = sorted((job for job in own if end in _conditions(job)), key=lambda job: job["status"]["startTime"])
            for job in ended[:-HISTORY]:
                self.cluster.delete("Job", job["metadata"]["name"])

    def start(self, name: str, *, waits: bool) -> None:
        """A pod for a Job that has none, or what its pod waited for is there."""
        waiting = {"reason": "CreateContainerConfigError", "message": "secret not found"}
        pending = {"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]}
        running = {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}
        if pod := self._pod(name):
            self.cluster.edit("Pod", pod["metadata"]["name"], status=pending if waits else running)
        else:
            self.cluster.start(name, pod_status=pending if waits else None)

    def vandalise(self, body: Body, *, works: bool) -> None:
        """Somebody deletes an object of ours. A Job whose pod goes has failed, whatever the process did at last."""
        kind, name = body["kind"], body["metadata"]["name"]
        job_name = name if kind == "Job" else body["metadata"].get("labels", {}).get(JOB_NAME_LABEL)
        if job_name and self.cluster.body("Job", job_name):
            self._lose_evidence(job_name)
        if kind == "CronJob":
            # Its Jobs go with it.
            self.lost_evidence.update(owner["uid"] for owner in body["metadata"]["ownerReferences"])
        if kind == "Pod" and job_name in self.working():
            self.end(job_name, works=works, says="gone")
        else:
            self.cluster.delete(kind, name)

    def end(self, name: str, *, works: bool, says: str) -> None:
        """A process does its work or fails; `says` is what is left to see of it (report, lost, oom, gone)."""
        report = self._work(self._job(name), works)
        if says != "report":
            self._lose_evidence(name)
        self.cluster.finish(
            name,
            report if says == "report" else None,
            exit_status=(0 if report.succeeded else 1) if says in ("report", "lost") else 137,
            killed="OOMKilled" if says == "oom" else "",
            keep_pod=says != "gone",
        )

    def evict(self, name: str, *, says_so: bool) -> None:
        """The pod of a Job that may be disrupted is replaced by another; any other Job has failed."""
        job = self._job(name)
        report = self._report(job, Task(job["metadata"]["labels"][TASK_LABEL]), "Stopped") if says_so else None
        if "podFailurePolicy" not in job["spec"]:
            if report is None:
                self._lose_evidence(name)
            self.cluster.finish(name, report, exit_status=143)
            return
        pod = self._pod(name)
        assert pod is not None
        ended = {"exitCode": 143, "reason": "Error"} | ({"message": report.to_message()} if report else {})
        pod["status"] = {
            "phase": "Failed",
            "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}],
            "containerStatuses": [{"state": {"terminated": ended}}],
        }
        # The next one is made once this one is gone: not within the same second.
        self.pass_time(timedelta(seconds=1))
        self.cluster.start(name)

    def lose_node(self, name: str, *, works: bool) -> None:
        """Nobody hears of a process any more, nor can end it; its last work it does, or not."""
        job = self._job(name)
        self._lose_evidence(name)
        self.unheard[job["metadata"]["uid"]] = (
            self._work(job, works)
            if works
            else self._report(job, Task(job["metadata"]["labels"][TASK_LABEL]), "Stopped")
        )

    def find_node(self, name: str, *, is_report_kept: bool) -> None:
        """The node is back, or its object deleted: the pod has ended."""
        job = self._job(name)
        report = self.unheard.pop(job["metadata"]["uid"])
        if job["metadata"]["labels"][TASK_LABEL] == Task.BACKUP:
            self.made_backup[name] = report.succeeded
        self.cluster.finish(name, report if is_report_kept else None, exit_status=0 if report.succeeded else 143)

    def pass_time(self, length: timedelta) -> None:
        """On its way, each process and each Job reaches its deadline when it is due."""
        until = self.cluster.now + length
        while True:
            moment, name = min(self._deadlines(), default=(until, ""))
            if not name or moment > until:
                break
            self.cluster.now = max(self.cluster.now, moment)
            self._reach_deadline(name)
        self.cluster.now = until
        if length >= COLLECTED_AFTER:
            self.cluster.collect_garbage()

    def _deadlines(self) -> Iterator[tuple[datetime, str]]:
        """A process knows its own, and comes before Kubernetes."""
        working = self.working()
        for job in self._unended():
            if not _conditions(job):
                name, deadline = job["metadata"]["name"], timedelta(seconds=job["spec"]["activeDeadlineSeconds"])
                yield self._started_at(job) + deadline - (DEADLINE_SLACK if name in working else timedelta()), name

    def _reach_deadline(self, name: str) -> None:
        job = self._job(name)
        if name in self.working():
            report = self._report(job, Task(job["metadata"]["labels"][TASK_LABEL]), "DeadlineExceeded")
            self.cluster.finish(name, report)
        else:
            self.cluster.tell_to_end(name)
            if job["metadata"]["uid"] not in self.unheard:
                self._lose_evidence(name)
                self.cluster.finish(name, None, exit_status=137, keep_pod=False)

    def _lose_evidence(self, name: str) -> None:
        annotations = self._job(name)["spec"]["template"]["metadata"]["annotations"]
        frozen = json.loads(annotations.get(FROZEN_REQUEST_ANNOTATION) or annotations[FROZEN_POLICY_ANNOTATION])
        self.lost_evidence.add(frozen["metadata"]["uid"])

    # --- what processes do

    def _work(self, job: Body, works: bool) -> Report:
        match Task(job["metadata"]["labels"][TASK_LABEL]):
            case Task.CHECK:
                return self._check(job, works)
            case Task.BACKUP:
                return self._backup(job, works)
            case Task.RESTORE:
                return self._restore(job, works)
            case Task.RETENTION:
                return self._retention(job, works)
            case Task.DROP_PREVIOUS:
                return self._report(job, Task.DROP_PREVIOUS, None if works else "DatabaseUnreachable")

    def _check(self, job: Body, works: bool) -> Report:
        if not works:
            return self._report(job, Task.CHECK, "AuthenticationFailed")
        policy = _frozen(job, FROZEN_POLICY_ANNOTATION)
        (bucket, database), name = place_of(policy["spec"]), policy["metadata"]["name"]
        owner = self.owners.setdefault(bucket, Owner(name, 1))
        if owner.policy != name and policy["metadata"]["annotations"].get(TAKE_OVER_ANNOTATION) == str(owner):
            owner = self.owners[bucket] = Owner(name, owner.epoch + 1)
        if owner.policy != name:
            return self._report(job, Task.CHECK, "PrefixOwned")
        self.cluster.claimed_prefixes.add((bucket, name))
        return self._report(job, Task.CHECK, None, **self._in_bucket((bucket, database)))

    def _backup(self, job: Body, works: bool) -> Report:
        policy = _frozen(job, FROZEN_POLICY_ANNOTATION)
        place, name = place_of(policy["spec"]), job["metadata"]["name"]
        owner = self.owners.get(place[0])
        is_owner = owner is not None and owner.policy == policy["metadata"]["name"]
        self.made_backup[name] = works and is_owner
        if not self.made_backup[name]:
            return self._report(job, Task.BACKUP, "DumpFailed" if is_owner else "PrefixOwned")
        started_at = max(self._started_at(job), self.cluster.now - timedelta(minutes=1)) + self.skew
        made = BackupSummary(
            id=f"{started_at:%Y%m%dT%H%M%SZ}-{canonical_hash(name, length=6)}",
            started_at=started_at,
            completed_at=self.cluster.now + self.skew,
            bytes=1024,
            duration_seconds=60,
            job_name=name,
        )
        self.buckets.setdefault(place, []).append(made)
        return self._report(job, Task.BACKUP, None, backup=made, **self._in_bucket(place))

    def _retention(self, job: Body, works: bool) -> Report:
        policy = _frozen(job, FROZEN_POLICY_ANNOTATION)
        place = place_of(policy["spec"])
        owner = self.owners.get(place[0])
        if owner is None or owner.policy != policy["metadata"]["name"]:
            return self._report(job, Task.RETENTION, "PrefixOwned")
        held = self._in_bucket(place)
        if not works and held["inventory"].backups % 2:
            return self._report(job, Task.RETENTION, "StoreAccessDenied", **held)
        # A pause is a success too, but for its reason.
        reason = "RetentionEnforced" if works else "TooMuchAtOnce"
        if works:
            self.enforced.setdefault(place, set()).add(print_time(self.cluster.now))
        report = self._report(job, Task.RETENTION, None, retention=RetentionSummary(), **held)
        return report.model_copy(update={"reason": reason})

    def _restore(self, job: Body, works: bool) -> Report:
        request = read_document(_frozen(job, FROZEN_REQUEST_ANNOTATION))
        assert isinstance(request, RestoreRequest)
        if request.fingerprint in self.marks:
            return self._report(job, Task.RESTORE, "AlreadyRestored")
        if not works:
            return self._report(job, Task.RESTORE, "RestoreFailed")
        self.marks.add(request.fingerprint)
        outcome = RestoreOutcome(database="agepar", previous_database=PREVIOUS)
        return self._report(job, Task.RESTORE, None, restore=outcome)

    def _in_bucket(self, place: Place) -> dict[str, Any]:
        held = self.buckets.get(place, [])
        newest = max(held, key=lambda backup: (backup.started_at, backup.id), default=None)
        jobs = [backup.job_name for backup in sorted(held, key=lambda backup: backup.id, reverse=True)]
        return {
            "newest_backup": newest,
            "newest_jobs": jobs[:4],
            "inventory": Inventory(backups=len(held), bytes=1024 * len(held)),
        }

    def _started_at(self, job: Body) -> datetime:
        return parse_time(job["status"]["startTime"])

    def _report(self, job: Body, task: Task, reason: str | None, **facts: Any) -> Report:
        return Report(
            task=task,
            succeeded=reason is None,
            reason=reason or "Succeeded",
            message=f"{job['metadata']['name']} as the model has it",
            subject=Subject(uid="uid", generation=1, hash="hash"),
            started_at=min(self._started_at(job), self.cluster.now) + self.skew,
            completed_at=self.cluster.now + self.skew,
            **facts,
        )


def place_of(spec: Body) -> Place:
    """Bucket and database of a policy's spec."""
    return spec["store"]["s3"]["bucket"], spec["source"]["postgres"]["pgDump"]["database"]


def _conditions(job: Body) -> set[str]:
    return {item["type"] for item in job["status"].get("conditions", [])}


def _frozen(job: Body, annotation: str) -> Body:
    return dict(json.loads(job["spec"]["template"]["metadata"]["annotations"][annotation]))
