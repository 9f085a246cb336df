"""What Replace kept of the old database: dropped once the request says so, after its restore."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from resguardo.api.conditions import ConditionStatus, RequestCondition
from resguardo.api.report import Task
from resguardo.api.request import RestoreRequest, RestoreRequestStatus
from resguardo.controller.objects import Manifest, build_drop_job, drop_job_name
from resguardo.controller.outcome import Notice, ObjectRef, Outcome
from resguardo.controller.runs import Run
from resguardo.controller.settings import Settings
from resguardo.rules.backoff import delay
from resguardo.rules.conditions import find

FIRST_DELAY = timedelta(seconds=30)
MOST_DELAY = timedelta(minutes=30)
DROPPED = "PreviousDropped"
NOT_DROPPED = "PreviousNotDropped"


def drop_previous(
    request: RestoreRequest, status: RestoreRequestStatus, runs: Sequence[Run], settings: Settings, now: datetime
) -> Outcome:
    """What is left to do for a request that has ended. Its conditions never change any more."""
    succeeded = find(status.conditions, RequestCondition.SUCCEEDED)
    is_restored = succeeded is not None and succeeded.status is ConditionStatus.TRUE
    if not (request.spec.drop_previous and is_restored and status.previous_database) or status.previous_dropped:
        return Outcome()
    drops = [run for run in runs if run.task == Task.DROP_PREVIOUS and not run.is_deleting]
    latest = max(drops, key=lambda run: _attempt_of(request, run), default=None)
    if latest is None:
        return Outcome(create=(_drop_job(request, status, settings, 1),))
    superseded = tuple(ObjectRef(run.name, run.uid) for run in drops if run is not latest)
    if latest.ended_at is None:
        return Outcome(delete=superseded, look_again_at=latest.look_again_at)
    if latest.report.succeeded if latest.report else latest.completed:
        done = status.model_copy(update={"previous_dropped": True})
        text = f"database {status.previous_database} is dropped"
        return Outcome(
            delete=superseded,
            status=done.model_dump(mode="json", by_alias=True, exclude_none=True),
            notices=(Notice((DROPPED, latest.uid), DROPPED, text, is_warning=False),),
        )
    why = latest.report.message if latest.report else f"Job {latest.name} left no report ({latest.detail})"
    notice = Notice((NOT_DROPPED, latest.uid), NOT_DROPPED, f"{status.previous_database}: {why}", is_warning=True)
    attempt = _attempt_of(request, latest)
    due = latest.ended_at + delay(attempt, first=FIRST_DELAY, most=MOST_DELAY, seed=request.metadata.uid)
    if now < due:
        return Outcome(delete=superseded, notices=(notice,), look_again_at=due)
    again = _drop_job(request, status, settings, attempt + 1)
    return Outcome(create=(again,), delete=superseded, notices=(notice,))


def _drop_job(request: RestoreRequest, status: RestoreRequestStatus, settings: Settings, attempt: int) -> Manifest:
    return build_drop_job(request, settings, previous_database=status.previous_database, attempt=attempt)


def _attempt_of(request: RestoreRequest, run: Run) -> int:
    suffix = run.name.removeprefix(drop_job_name(request.metadata.name, 1)).removeprefix("-")
    return int(suffix) if suffix.isdigit() else 1
