"""A small cluster that watches over what operators write, and fails where the tests say so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from resguardo.api.base import print_time
from resguardo.api.names import FROZEN_POLICY_ANNOTATION, POLICY_LABEL, TASK_LABEL, WRITER_VERSION_ANNOTATION
from resguardo.controller.cluster import ClusterError
from resguardo.controller.effects import COMPONENT
from tests.unit.small_cluster import Body, SmallCluster

Version = tuple[int, ...]
#: Conditions of which a change is worth an Event.
TOLD_CONDITIONS = ("Accepted", "BackedUp", "Retained", "Succeeded", "PreviousDropped")


@dataclass(frozen=True)
class Fault:
    """What becomes of the write after so many others."""

    after: int
    #: HTTP's; 0 where no answer came.
    status: int
    takes_effect: bool


class AuditedCluster(SmallCluster):
    """Raises AssertionError at a write that no operator may make."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Fault | None = None
        #: Version of the operator that is at work.
        self.version: Version = (0, 0, 0)
        #: Whether that operator acts on what it read a while ago.
        self.is_late = False
        #: The uids of what strangers made under names of ours.
        self.foreign: set[str] = set()
        #: Bucket and policy: the prefixes that a check claimed at some time.
        self.claimed_prefixes: set[tuple[str, str]] = set()
        #: By uid of the resource: how often one of its conditions, or its last run, became another.
        self.changes: Counter[str] = Counter()
        #: What is gone leaves what it owns behind until collect_garbage.
        self.collector_is_slow = False
        self._garbage: list[str] = []

    # --- what operators write

    def apply(self, body: Mapping[str, Any]) -> None:
        live = self._objects.get((body["kind"], body["metadata"]["name"]))
        # Of another resourceVersion, the API server refuses.
        if live is not None and live["metadata"]["resourceVersion"] == body["metadata"].get("resourceVersion"):
            self._audit_touch(live, "would be written")
        if body["kind"] == "CronJob" and not body["spec"]["suspend"]:
            self._audit_prefix(body)
        self._answer(lambda: super(AuditedCluster, self).apply(body))

    def create(self, body: Mapping[str, Any]) -> None:
        if body["kind"] == "Job" and body["metadata"]["labels"][TASK_LABEL] == "restore":
            self._audit_claim(body)
        self._answer(lambda: super(AuditedCluster, self).create(body))

    def delete_job(self, namespace: str, name: str, uid: str) -> None:
        live = self._objects.get(("Job", name))
        if live is not None and live["metadata"]["uid"] == uid:
            self._audit_touch(live, "would be deleted")
            if live["metadata"]["labels"][TASK_LABEL] in ("backup", "restore", "retention"):
                ends = {item["type"] for item in live["status"].get("conditions", [])}
                assert ends, f"Job {name} runs, and would be deleted"
                if not ends & {"Complete", "Failed"} and live["metadata"]["labels"][TASK_LABEL] == "backup":
                    self._audit_evidence(live)
        self._answer(lambda: super(AuditedCluster, self).delete_job(namespace, name, uid))

    def put_status(self, resource: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        live = self._objects.get((resource["kind"], resource["metadata"]["name"]))
        if live is None:
            raise ClusterError(404, "not found")

        def write() -> None:
            before = _told(live)
            super(AuditedCluster, self).put_status(resource, status)
            self.changes[live["metadata"]["uid"]] += len(_told(live) - before)

        self._answer(write)

    def _answer(self, write: Callable[[], None]) -> None:
        if self.fault is None:
            return write()
        if self.fault.after:
            self.fault = Fault(self.fault.after - 1, self.fault.status, self.fault.takes_effect)
            return write()
        fault, self.fault = self.fault, None
        if fault.takes_effect:
            write()
        raise ClusterError(fault.status, f"played; {'it' if fault.takes_effect else 'nothing'} was done")

    # --- what the model does

    def put(self, body: Mapping[str, Any]) -> Body:
        stored = super().put(body)
        if stored["kind"] == "Job":
            # The Job controller sees it at once.
            stored.setdefault("status", {}).setdefault("startTime", print_time(self.now))
        return stored

    def body(self, kind: str, name: str) -> Body | None:
        """The object itself, for what only the model may do to it."""
        return self._objects.get((kind, name))

    def bodies(self, kind: str) -> list[Body]:
        """All of a kind, themselves."""
        return [body for (other, _), body in sorted(self._objects.items()) if other == kind]

    def told(self, uid: str) -> list[Body]:
        """The Events that operators told about a resource."""
        events = self.bodies("Event")
        return [e for e in events if e.get("reportingComponent") == COMPONENT and e["involvedObject"]["uid"] == uid]

    def collect_garbage(self) -> None:
        """What a slow collector left."""
        while self._garbage:
            super()._collect(self._garbage.pop())

    def _collect(self, uid: str) -> None:
        if self.collector_is_slow:
            self._garbage.append(uid)
        else:
            super()._collect(uid)

    # --- audits

    def _audit_touch(self, live: Body, what: str) -> None:
        name = f"{live['kind']} {live['metadata']['name']}"
        assert live["metadata"]["uid"] not in self.foreign, f"{name} is a stranger's, and {what}"
        stamped = (live["metadata"].get("annotations") or {}).get(WRITER_VERSION_ANNOTATION, "0.0.0")
        writer = tuple(int(part) for part in stamped.split("."))
        assert writer <= self.version, f"{name} was written by {stamped}, and {what} by {self.version}"

    def _audit_prefix(self, cron_job: Mapping[str, Any]) -> None:
        frozen = cron_job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["annotations"]
        policy = json.loads(frozen[FROZEN_POLICY_ANNOTATION])
        place = policy["spec"]["store"]["s3"]["bucket"], policy["metadata"]["name"]
        assert place in self.claimed_prefixes, f"{place} was never claimed, and its CronJob would be let go"

    def _audit_evidence(self, job: Body) -> None:
        """A backup that hangs goes only once status tells what came of it, or of a later one."""
        policy = self._objects.get(("BackupPolicy", job["metadata"]["labels"].get(POLICY_LABEL, "")))
        told = (policy or {}).get("status", {}).get("lastRun", {})
        assert policy is None or "succeeded" in told, f"Job {job['metadata']['name']} would be deleted untold: {told}"

    def _audit_claim(self, body: Mapping[str, Any]) -> None:
        """A claim precedes its Job, and one whose Job was seen never makes another."""
        name, owner = body["metadata"]["name"], body["metadata"]["ownerReferences"][0]
        request = self._objects.get(("RestoreRequest", owner["name"]))
        if self.is_late or request is None or request["metadata"]["uid"] != owner["uid"]:
            return
        claim = request.get("status", {}).get("claim")
        assert claim is not None, f"{name} would be made without a claim"
        assert "jobUid" not in claim, f"{name} would be made a second time"
        assert "completedAt" not in request["status"], f"{name} would be made after the end"


def _told(resource: Body) -> set[tuple[str, ...]]:
    """What of a status is worth an Event."""
    status = resource.get("status", {})
    run = status.get("lastRun", {}).get("jobName", "")
    return {
        (item["type"], item["status"], item["reason"], run if item["type"] == "BackedUp" else "")
        for item in status.get("conditions", [])
        if item["type"] in TOLD_CONDITIONS
    }
