"""Jobs as the controller reads them: what for, since when, whether ended, and what they reported."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from resguardo.api.names import (
    FROZEN_POLICY_ANNOTATION,
    POLICY_HASH_ANNOTATION,
    TASK_LABEL,
    WRITER_VERSION_ANNOTATION,
)
from resguardo.api.report import Report
from resguardo.controller import ownership, waiting
from resguardo.controller.outcome import ObjectRef
from resguardo.controller.pod import GRACE_SECONDS
from resguardo.controller.waiting import Waiting

Object = Mapping[str, Any]

#: How long a pod that was told to end may still write its Report.
ENDING_SLACK = timedelta(seconds=GRACE_SECONDS + 30)

OUT_OF_MEMORY = "OOMKilled"
NODE_LOST = "NodeLost"


@dataclass(frozen=True)
class Run:
    """One Job of ours."""

    name: str
    uid: str
    task: str
    created_at: datetime
    started_at: datetime
    #: None while it runs, or waits.
    ended_at: datetime | None
    #: The word of the Job (exit status 0); None while it runs, and where nobody knows since the node is lost.
    completed: bool | None
    #: Kubernetes' word for a failure: DeadlineExceeded, OOMKilled, NodeLost; "" where there is none.
    failure: str
    detail: str
    report: Report | None
    waiting: Waiting | None
    #: When to look again even if nothing is told; None once it ended.
    look_again_at: datetime | None
    policy_hash: str
    policy: Object
    #: Version of the operator that made it; "" where a CronJob did.
    writer: str
    is_deleting: bool
    #: Kubernetes wants it ended and cannot: its pod is on a node that does not answer.
    hangs: bool

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.ended_at is not None

    def held_to(self, moment: datetime) -> datetime:
        """A moment of this run as its pod tells it, held to the time in which Kubernetes saw its Job run.

        The clock of the pod's node may be off.
        """
        return max(self.started_at, min(moment, self.ended_at or moment))


def read_runs(
    jobs: Iterable[Object], pods: Sequence[Object], events: Mapping[str, Sequence[Object]], now: datetime
) -> list[Run]:
    """The Jobs, oldest first. `events` are by the uid of a waiting pod, or of a Job that has none."""
    runs = [_read(job, _newest_pod(job, pods), events, now) for job in jobs]
    return sorted(runs, key=lambda run: (run.created_at, run.name))


def needs_events(job: Object, pods: Sequence[Object]) -> str | None:
    """The uid whose Events tell what a Job waits for; None where it does not wait."""
    if _conditions(job).keys() & {"Complete", "Failed"}:
        return None
    pod = _newest_pod(job, pods)
    if pod is None:
        return str(job["metadata"]["uid"])
    return str(pod["metadata"]["uid"]) if waiting.is_pending(pod) else None


def to_remove(runs: Iterable[Run], *, version: str) -> tuple[ObjectRef, ...]:
    """The runs as an operator of `version` may remove them: what a newer one made is not its own to judge."""
    return tuple(ObjectRef(run.name, run.uid) for run in runs if not ownership.is_newer(run.writer, version))


def parse_time(text: str) -> datetime:
    """A time as the API server prints it."""
    return datetime.fromisoformat(text)


def _read(job: Object, pod: Object | None, events: Mapping[str, Sequence[Object]], now: datetime) -> Run:
    metadata, status = job["metadata"], job.get("status", {})
    created_at = parse_time(metadata["creationTimestamp"])
    started_at = parse_time(status["startTime"]) if status.get("startTime") else created_at
    template = job.get("spec", {}).get("template", {}).get("metadata", {})
    # Of the template, which nobody can change: somebody may have edited the Job's own labels.
    task = (template.get("labels") or {}).get(TASK_LABEL, "")
    report, exit_reason, exit_detail = _last_words(pod, task)
    conditions = _conditions(job)
    ended_at, completed, failure, detail = _end(job, conditions, pod, now)
    watched = str((pod or job)["metadata"]["uid"])
    held_up = waiting.waiting_of(job, pod, events.get(watched, ())) if ended_at is None else None
    return Run(
        name=metadata["name"],
        uid=metadata["uid"],
        task=task,
        created_at=created_at,
        started_at=started_at,
        ended_at=ended_at,
        completed=completed,
        failure=exit_reason or failure,
        detail=exit_detail or detail,
        report=report,
        waiting=held_up,
        look_again_at=_look_again_at(job, conditions, pod, now) if ended_at is None else None,
        policy_hash=(metadata.get("annotations") or {}).get(POLICY_HASH_ANNOTATION, ""),
        policy=_frozen((template.get("annotations") or {}).get(FROZEN_POLICY_ANNOTATION, "")),
        writer=(metadata.get("annotations") or {}).get(WRITER_VERSION_ANNOTATION, ""),
        is_deleting=bool(metadata.get("deletionTimestamp")),
        hangs=ended_at is not None and "FailureTarget" in conditions and not conditions.keys() & {"Complete", "Failed"},
    )


def _end(
    job: Object, conditions: Mapping[str, Object], pod: Object | None, now: datetime
) -> tuple[datetime | None, bool | None, str, str]:
    """When and how a Job ended, as Kubernetes tells it: that its deadline is over by our clock alone says nothing."""
    if "Complete" in conditions:
        ended = job["status"].get("completionTime") or conditions["Complete"]["lastTransitionTime"]
        return parse_time(ended), True, "", ""
    if failed := conditions.get("Failed"):
        return _failed(failed)
    # With a podFailurePolicy, Failed comes only when the pod is really gone: on a dead node, never.
    if target := conditions.get("FailureTarget"):
        if pod is None or _terminated(pod) is not None:
            return _failed(target)
        if now >= (given_up_at := parse_time(target["lastTransitionTime"]) + ENDING_SLACK):
            text = f"{target.get('message', 'told to end')}, and its pod does not end: {_whereabouts(pod)}"
            return given_up_at, None, NODE_LOST, text
    return None, None, "", ""


def _whereabouts(pod: Object | None) -> str:
    return f"node {(pod or {}).get('spec', {}).get('nodeName', 'unknown')} may be lost"


def _failed(condition: Object) -> tuple[datetime, bool, str, str]:
    reason = condition.get("reason", "")
    # That the only pod failed is no news; why it did, its Report or its exit tells.
    known = reason if reason not in ("BackoffLimitExceeded", "PodFailurePolicy") else ""
    return parse_time(condition["lastTransitionTime"]), False, known, condition.get("message", "")


def _look_again_at(job: Object, conditions: Mapping[str, Object], pod: Object | None, now: datetime) -> datetime | None:
    times = []
    if target := conditions.get("FailureTarget"):
        times.append(parse_time(target["lastTransitionTime"]) + ENDING_SLACK)
    if pod is None:
        times.append(waiting.look_again_at(parse_time(job["metadata"]["creationTimestamp"]), now))
    elif waiting.is_pending(pod):
        times.append(waiting.look_again_at(parse_time(pod["metadata"]["creationTimestamp"]), now))
    return min((time for time in times if time is not None and time > now), default=None)


def _last_words(pod: Object | None, task: str) -> tuple[Report | None, str, str]:
    """The Report in a pod's termination message; without one, why its process ended, as far as that says anything."""
    ended = _terminated(pod) if pod is not None else None
    if ended is None:
        return None, "", ""
    report = Report.from_json(ended.get("message") or "")
    if report is not None and report.task == task:
        return report, "", ""
    if ended.get("reason") == OUT_OF_MEMORY:
        return None, OUT_OF_MEMORY, "killed for lack of memory: raise jobs.resources.limits.memory"
    return None, "", f"its process ended with exit status {ended.get('exitCode')} and no report"


def _terminated(pod: Object) -> Object | None:
    for container in pod.get("status", {}).get("containerStatuses") or []:
        if ended := container.get("state", {}).get("terminated"):
            return dict(ended)
    return None


def _newest_pod(job: Object, pods: Sequence[Object]) -> Object | None:
    own = [
        pod
        for pod in pods
        if any(owner.get("uid") == job["metadata"]["uid"] for owner in pod["metadata"].get("ownerReferences") or [])
    ]
    return max(own, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]), default=None)


def _conditions(job: Object) -> dict[str, Object]:
    conditions = job.get("status", {}).get("conditions") or []
    return {condition["type"]: condition for condition in conditions if condition.get("status") == "True"}


def _frozen(text: str) -> Object:
    try:
        body = json.loads(text) if text else {}
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
