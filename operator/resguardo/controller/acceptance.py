"""Whether a policy can be kept: its check Jobs, read and planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from resguardo.api.conditions import Condition, ConditionStatus, Reason
from resguardo.api.policy import BackupPolicy, BackupPolicyStatus, PolicyWarning
from resguardo.controller.objects import check_job_name
from resguardo.controller.outcome import REPORTED_REASONS
from resguardo.controller.runs import Run
from resguardo.rules.access import WRITER_MAY_REMOVE
from resguardo.rules.backoff import delay
from resguardo.rules.conditions import Verdict

FIRST_DELAY = timedelta(seconds=15)
MOST_DELAY = timedelta(minutes=5)
#: Only a new document can help.
PERMANENT = {"DocumentInvalid", "RecipientInvalid"}


@dataclass(frozen=True)
class CheckPlan:
    """Which check to make now, or when, and which to remove."""

    #: Number of the attempt to make now.
    attempt: int | None = None
    look_again_at: datetime | None = None
    superseded: tuple[Run, ...] = ()


def latest_check(policy: BackupPolicy, checks: Sequence[Run]) -> Run | None:
    """The newest attempt at this very content of the policy."""
    current = [run for run in checks if run.policy_hash == policy.hash and not run.is_deleting]
    return max(current, key=lambda run: attempt_of(policy, run), default=None)


def attempt_of(policy: BackupPolicy, run: Run) -> int:
    """The number that a check Job's name carries."""
    suffix = run.name.removeprefix(check_job_name(policy, 1)).removeprefix("-")
    return int(suffix) if suffix.isdigit() else 1


def judge(latest: Run | None, previous: Condition | None, *, generation: int) -> Verdict:
    """The condition Accepted. `previous` is what it was; it counts while it speaks of the same generation."""
    kept = previous if previous is not None and previous.observed_generation == generation else None
    if latest is None:
        return _kept(kept) or _checking()
    if not latest.has_ended:
        if latest.waiting is not None:
            status = ConditionStatus.FALSE if latest.waiting.needs_person else ConditionStatus.UNKNOWN
            return Verdict(status, latest.waiting.reason, f"the check cannot start: {latest.waiting.message}")
        return _kept(kept) or _checking()
    if latest.report is not None:
        status = ConditionStatus.TRUE if latest.report.succeeded else ConditionStatus.FALSE
        reason = Reason.CHECK_PASSED if latest.report.succeeded else latest.report.reason
        return Verdict(status, reason, latest.report.message or "the policy can be kept")
    return _judge_without_report(latest, kept)


def plan(
    policy: BackupPolicy, checks: Sequence[Run], verdict: Verdict, *, lost_run: Run | None, now: datetime
) -> CheckPlan:
    """What to do about checks. `lost_run` ended without a Report: a look at the bucket must tell what came of it."""
    latest = latest_check(policy, checks)
    superseded = tuple(run for run in checks if run is not latest and not run.is_deleting)
    if latest is None:
        return CheckPlan(attempt=1, superseded=superseded)
    if latest.ended_at is None:
        return CheckPlan(superseded=superseded)
    attempt = attempt_of(policy, latest)
    wait = delay(attempt, first=FIRST_DELAY, most=MOST_DELAY, seed=policy.metadata.uid)
    if verdict.status is ConditionStatus.TRUE:
        if lost_run is None or lost_run.ended_at is None:
            return CheckPlan(superseded=superseded)
        due = latest.ended_at + wait if latest.started_at > lost_run.ended_at else now
    elif verdict.reason in PERMANENT:
        return CheckPlan(superseded=superseded)
    else:
        due = latest.ended_at + wait
    if now >= due:
        return CheckPlan(attempt=attempt + 1, superseded=superseded)
    return CheckPlan(look_again_at=due, superseded=superseded)


def check_warnings(latest: Run | None, previous: BackupPolicyStatus, *, generation: int) -> list[PolicyWarning]:
    """What the newest check of this content saw; as long as it has not ended, what the one before it did."""
    if latest is not None and latest.report is not None:
        return latest.report.warnings
    if previous.observed_generation != generation:
        return []
    return [warning for warning in previous.warnings if warning.reason == WRITER_MAY_REMOVE]


def _checking() -> Verdict:
    return Verdict(ConditionStatus.UNKNOWN, Reason.CHECKING, "a check of the database and the bucket runs")


def _kept(previous: Condition | None) -> Verdict | None:
    """The former verdict, while another attempt at the same content runs; what a pod waited for ends with its waiting."""
    if previous is None:
        return None
    told = previous.reason in REPORTED_REASONS or previous.reason == Reason.REPORT_LOST
    if previous.status is ConditionStatus.TRUE or (previous.status is ConditionStatus.FALSE and told):
        return Verdict(previous.status, previous.reason, previous.message)
    return None


def _judge_without_report(latest: Run, kept: Condition | None) -> Verdict:
    if latest.completed:
        # Exit status 0 is the check's word; what it found in the bucket is lost with the pod.
        message = kept.message if kept and kept.status is ConditionStatus.TRUE else "the policy can be kept"
        return Verdict(ConditionStatus.TRUE, Reason.CHECK_PASSED, message)
    if kept is not None and kept.status is ConditionStatus.FALSE:
        return Verdict(kept.status, kept.reason, kept.message)
    reason = latest.failure or Reason.REPORT_LOST
    return Verdict(ConditionStatus.FALSE, reason, f"the check {latest.name} ended without a report: {latest.detail}")
