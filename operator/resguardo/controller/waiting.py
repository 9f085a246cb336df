"""What a pod that does not start waits for: its own words, those of its Events, or those of the Job that cannot make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

Object = Mapping[str, Any]

#: A kubelet needs a moment to write its first Event; then ever longer ones, for as long as the pod waits.
LOOKS = [timedelta(seconds=seconds) for seconds in (10, 20, 40, 60, 120, 300)]

#: The Job controller's word.
JOB_SUSPENDED = "JobSuspended"
#: Reasons that pass by themselves, as a pod's first seconds do.
_STARTING = {"", "ContainerCreating", "PodInitializing"}
#: A pod that waits for room may get it from an autoscaler; anything else waits for a person.
_MAY_PASS = {"Unschedulable", "SchedulerError", "FailedScheduling"}
#: The kubelet's own cache is late by a moment when a namespace or Secret is new; what is really missing, it says next.
_LATE_CACHE = "failed to sync"
#: The kubelet tries and backs off by turns; to a reader it is one thing.
_SAME = {"ImagePullBackOff": "ErrImagePull"}


@dataclass(frozen=True)
class Waiting:
    """Why a pod does not start."""

    reason: str
    message: str
    #: Whether it starts only once a person did something.
    needs_person: bool


def waiting_of(job: Object, pod: Object | None, events: Sequence[Object]) -> Waiting | None:
    """What the newest pod of a running Job waits for; None where nothing is known to be in its way.

    `events` are those of the pod, or of the Job while it has none.
    """
    if job.get("spec", {}).get("suspend"):
        name = job["metadata"]["name"]
        return _waiting(JOB_SUSPENDED, f"somebody suspended Job {name}: set its spec.suspend to false, or delete it")
    name = (pod or job).get("metadata", {}).get("name", "")
    if pod is None:
        return _from_events(f"Job {name}", events)
    if not is_pending(pod):
        return None
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _waiting(condition.get("reason") or "Unschedulable", f"pod {name}: {condition.get('message', '')}")
    for container in _containers(pod):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason", "") not in _STARTING:
            return _waiting(waiting["reason"], f"pod {name}: {waiting.get('message', '')}")
    return _from_events(f"pod {name}", events)


def is_pending(pod: Object) -> bool:
    """Whether none of the pod's containers has begun."""
    return pod.get("status", {}).get("phase", "Pending") == "Pending" and not any(
        container.get("state", {}).keys() & {"running", "terminated"} for container in _containers(pod)
    )


def look_again_at(since: datetime, now: datetime) -> datetime:
    """When to look at the Events of a waiting pod next; Events of pods are not watched."""
    return next((since + wait for wait in LOOKS if since + wait > now), now + LOOKS[-1])


def _from_events(what: str, events: Sequence[Object]) -> Waiting | None:
    warnings = [
        event for event in events if event.get("type") == "Warning" and _LATE_CACHE not in event.get("message", "")
    ]
    if not warnings:
        return None
    newest = max(warnings, key=_time_of)
    return _waiting(newest.get("reason") or "Waiting", f"{what}: {newest.get('message', '')}")


def _waiting(reason: str, message: str) -> Waiting:
    return Waiting(_SAME.get(reason, reason), message, needs_person=reason not in _MAY_PASS)


def _time_of(event: Object) -> str:
    # RFC 3339 in UTC sorts as text.
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event.get("metadata", {}).get("creationTimestamp")
        or ""
    )


def _containers(pod: Object) -> list[Object]:
    return list(pod.get("status", {}).get("containerStatuses") or [])
