"""What Replace kept of the old database: dropped once the request says so, after its restore."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from resguardo.api.conditions import ConditionStatus, Reason, RequestCondition
from resguardo.api.report import Task
from resguardo.api.request import RestoreRequest, RestoreRequestStatus
from resguardo.controller.objects import Manifest, build_drop_job, drop_job_name
from resguardo.controller.outcome import Notice, Outcome
from resguardo.controller.runs import Run, to_remove
from resguardo.controller.settings import Settings
from resguardo.rules.backoff import delay
from resguardo.rules.conditions import Verdict, find, merge

FIRST_DELAY = timedelta(seconds=30)
MOST_DELAY = timedelta(minutes=30)
DROPPED = "PreviousDropped"
NOT_DROPPED = "PreviousNotDropped"


def drop_previous(
    request: RestoreRequest, status: RestoreRequestStatus, runs: Sequence[Run], settings: Settings, now: datetime
) -> Outcome:
    """What is left to do for a request that has ended. Accepted and Succeeded never change any more."""
    succeeded = find(status.conditions, RequestCondition.SUCCEEDED)
    is_restored = succeeded is not None and succeeded.status is ConditionStatus.TRUE
    if not (request.spec.drop_previous and is_restored and status.previous_database) or status.previous_dropped:
        return Outcome()
    drops = [run for run in runs if run.task == Task.DROP_PREVIOUS and not run.is_deleting]
    latest = max(drops, key=lambda run: _attempt_of(request, run), default=None)
    previous = status.previous_database
    if latest is None:
        begins = Verdict(ConditionStatus.UNKNOWN, Reason.RUNNING, f"database {previous} is about to be dropped")
        return Outcome(create=(_drop_job(request, status, settings, 1),), status=_told(request, status, begins, now))
    superseded = to_remove((run for run in drops if run is not latest), version=settings.version)
    if latest.ended_at is None:
        told = _told(request, status, _while_it_runs(status, latest), now)
        return Outcome(delete=superseded, status=told, look_again_at=latest.look_again_at)
    if latest.report.succeeded if latest.report else latest.completed:
        done = status.model_copy(update={"previous_dropped": True})
        text = f"database {previous} is dropped"
        return Outcome(
            delete=superseded,
            status=_told(request, done, Verdict(ConditionStatus.TRUE, DROPPED, text), now),
            notices=(Notice((DROPPED, latest.uid), DROPPED, text, is_warning=False),),
        )
    why = latest.report.message if latest.report else f"Job {latest.name} left no report ({latest.detail})"
    notice = Notice((NOT_DROPPED, latest.uid), NOT_DROPPED, f"{previous}: {why}", is_warning=True)
    reason = latest.report.reason if latest.report else latest.failure or Reason.INTERRUPTED
    told = _told(request, status, Verdict(ConditionStatus.FALSE, reason, f"{previous} is still there: {why}"), now)
    attempt = _attempt_of(request, latest)
    due = latest.ended_at + delay(attempt, first=FIRST_DELAY, most=MOST_DELAY, seed=request.metadata.uid)
    if now < due:
        return Outcome(delete=superseded, notices=(notice,), status=told, look_again_at=due)
    again = _drop_job(request, status, settings, attempt + 1)
    return Outcome(create=(again,), delete=superseded, notices=(notice,), status=told)


def _while_it_runs(status: RestoreRequestStatus, run: Run) -> Verdict:
    """What a pod waits for; else the failure of the attempt before, until this one tells another; else that it runs."""
    if run.waiting is not None:
        text = f"Job {run.name} cannot start: {run.waiting.message}"
        return Verdict(ConditionStatus.UNKNOWN, run.waiting.reason, text)
    before = find(status.conditions, RequestCondition.PREVIOUS_DROPPED)
    if before is not None and before.status is ConditionStatus.FALSE:
        return Verdict(before.status, before.reason, before.message)
    return Verdict(ConditionStatus.UNKNOWN, Reason.RUNNING, f"Job {run.name} runs")


def _told(request: RestoreRequest, status: RestoreRequestStatus, verdict: Verdict, now: datetime) -> dict[str, Any]:
    """The status with PreviousDropped, and all else as it was."""
    kept = {item.type: item for item in status.conditions if item.type != RequestCondition.PREVIOUS_DROPPED}
    generation = request.metadata.generation
    made = merge(status.conditions, {RequestCondition.PREVIOUS_DROPPED: verdict}, generation=generation, now=now)
    conditions = [*kept.values(), *(item for item in made if item.type == RequestCondition.PREVIOUS_DROPPED)]
    told = status.model_copy(update={"conditions": conditions, "observed_generation": generation})
    return told.model_dump(mode="json", by_alias=True, exclude_none=True)


def _drop_job(request: RestoreRequest, status: RestoreRequestStatus, settings: Settings, attempt: int) -> Manifest:
    return build_drop_job(request, settings, previous_database=status.previous_database, attempt=attempt)


def _attempt_of(request: RestoreRequest, run: Run) -> int:
    suffix = run.name.removeprefix(drop_job_name(request.metadata.name, 1)).removeprefix("-")
    return int(suffix) if suffix.isdigit() else 1
