"""Retained: what came of the newest retention run."""

from __future__ import annotations

from collections.abc import Sequence

from resguardo.api.conditions import Condition, ConditionStatus, PolicyCondition, Reason
from resguardo.api.policy import BackupPolicySpec
from resguardo.api.report import Task
from resguardo.controller.outcome import REPORTED_REASONS
from resguardo.controller.runs import NODE_LOST, OUT_OF_MEMORY, Run
from resguardo.rules.conditions import Verdict, find
from resguardo.rules.pauses import Pause

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN

#: The words for how a run ended; any other is one for what a run waits for.
RESULTS = {Reason.RETENTION_ENFORCED, Reason.REPORT_LOST, OUT_OF_MEMORY, NODE_LOST, *Pause, *REPORTED_REASONS}


def retained_verdict(spec: BackupPolicySpec, runs: Sequence[Run], previous: Sequence[Condition]) -> Verdict:
    """Whether the bucket is kept as the policy says.

    `runs` are those of the policy's present place; where none has ended, `previous` conditions, of that place too, tell.
    """
    if spec.retention is None:
        return Verdict(UNKNOWN, Reason.NOT_ENFORCED, "spec.retention is not set: nothing is ever removed")
    if spec.suspend:
        return Verdict(UNKNOWN, Reason.SUSPENDED, "spec.suspend is true: nothing is removed")
    own = [run for run in runs if run.task == Task.RETENTION]
    for run in own:
        if run.waiting is not None:
            status = FALSE if run.waiting.needs_person else UNKNOWN
            return Verdict(status, run.waiting.reason, f"retention {run.name} cannot start: {run.waiting.message}")
    ended = [run for run in own if run.has_ended]
    if ended:
        return _result(max(ended, key=lambda run: (run.ended_at or run.started_at, run.name)))
    return last_told(previous)


def last_told(previous: Sequence[Condition]) -> Verdict:
    """What the last run came to, as status tells it when its Job is gone; what a run waited for ends with its waiting."""
    before = find(previous, PolicyCondition.RETAINED)
    if before is not None and before.status is not UNKNOWN and before.reason in RESULTS:
        return Verdict(before.status, before.reason, before.message)
    return Verdict(UNKNOWN, Reason.NEVER_RUN, "no run of retention is known of; it runs once a day")


def _result(run: Run) -> Verdict:
    report = run.report
    if report is not None:
        return Verdict(TRUE if report.is_retention_enforced else FALSE, report.reason, report.message)
    detail = f" ({run.detail})" if run.detail else ""
    text = f"{run.name} ended without a report{detail}; the next run begins where it ended"
    return Verdict(FALSE if run.failure else UNKNOWN, run.failure or Reason.REPORT_LOST, text)
