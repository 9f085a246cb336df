"""A request's status: what a Report says, within bounds, and what of it is news."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from resguardo.api.base import print_time
from resguardo.api.conditions import ConditionStatus, Reason, RequestCondition
from resguardo.api.durations import print_duration
from resguardo.api.report import Report
from resguardo.api.request import Claim, RestoreCheck, RestoreRequestStatus
from resguardo.api.sizes import print_size
from resguardo.api.text import printable
from resguardo.controller.outcome import Notice
from resguardo.rules.conditions import Verdict, find

CHECKS_MAX, OMITTED_MAX = 32, 64


def what_was_told(report: Report, *, created: datetime | None, ended_at: datetime) -> dict[str, Any]:
    """What a Report says, within the bounds of status; `created` and `ended_at` by the clock of Kubernetes."""
    found: dict[str, Any] = {"duration": print_duration(report.completed_at - report.started_at)}
    if report.backup is not None:
        found["backup"] = report.backup.model_copy(update={"size": print_size(report.backup.bytes)})
    if report.succeeded and created is not None:
        found["recovery_time_seconds"] = max(0, int((ended_at - created).total_seconds()))
    if restore := report.restore:
        found["recovery_point_time"] = restore.recovery_point_time
        found["previous_database"] = restore.previous_database
        found["omitted"] = [item[:512] for item in restore.omitted[:OMITTED_MAX]]
        found["checks"] = [_bounded(check) for check in restore.checks[:CHECKS_MAX]]
    return found


def _bounded(check: RestoreCheck) -> RestoreCheck:
    return check.model_copy(update={"name": printable(check.name)[:64], "message": printable(check.message)[:1024]})


def claimed(claim: Claim) -> Verdict:
    """Accepted, from the claim on."""
    return Verdict(ConditionStatus.TRUE, Reason.CLAIMED, f"Job {claim.job_name} carries it out; there is never another")


def transitions(previous: RestoreRequestStatus, status: RestoreRequestStatus) -> tuple[Notice, ...]:
    """One Event for each state that is another than before."""
    before = find(previous.conditions, RequestCondition.SUCCEEDED)
    after = find(status.conditions, RequestCondition.SUCCEEDED)
    if after is None or (before is not None and (before.status, before.reason) == (after.status, after.reason)):
        return ()
    # Named after what it was before, which two operators at once read alike; "now" they do not.
    was = (before.reason, print_time(before.last_transition_time)) if before else ("", "")
    subject = (RequestCondition.SUCCEEDED.value, *was, after.status.value, after.reason)
    return (Notice(subject, after.reason, after.message, is_warning=after.status is ConditionStatus.FALSE),)


def dump_status(status: RestoreRequestStatus) -> dict[str, Any]:
    """As it is written."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)
