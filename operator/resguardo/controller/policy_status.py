"""A policy's conditions as a whole: what came of its runs, whether it is Ready, and what of that is news."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from resguardo.api.base import print_time
from resguardo.api.conditions import RECONCILING, STALLED, Condition, ConditionStatus, PolicyCondition, Reason
from resguardo.api.errors import BackupNotFound
from resguardo.api.manifest import Oddity
from resguardo.api.policy import BackupPolicyStatus, RunSummary
from resguardo.controller.history import History
from resguardo.controller.outcome import REPORTED_REASONS, Notice
from resguardo.rules.conditions import Verdict, find, merge
from resguardo.rules.growth import Oddness

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


def newest_result(history: History) -> Verdict:
    """BackedUp, as the newest ended run and the bucket tell it; lateness aside."""
    last_run, last_backup = history.last_run, history.last_backup
    if last_run is None:
        if last_backup is None:
            return Verdict(UNKNOWN, Reason.NEVER_RUN, "no backup was made yet")
        text = f"backup {last_backup.id} of {print_time(last_backup.started_at)} is the newest in the bucket"
        return Verdict(TRUE, Reason.BACKUP_SUCCEEDED, text)
    if last_run.succeeded is None:
        return Verdict(UNKNOWN, Reason.REPORT_LOST, last_run.message)
    if not last_run.succeeded:
        return Verdict(FALSE, last_run.reason, last_run.message)
    if last_backup is None:
        text = f"{last_run.job_name} made a backup, but the bucket holds none any more"
        return Verdict(FALSE, BackupNotFound.__name__, text)
    return Verdict(TRUE, Reason.BACKUP_SUCCEEDED, last_run.message)


def size_verdict(history: History) -> Verdict:
    """SizeNormal: what the pod that made the newest backup found odd about it."""
    backup = history.last_backup
    if backup is None:
        return Verdict(UNKNOWN, Reason.NEVER_RUN, "no backup was made yet")
    if not backup.oddities:
        return Verdict(TRUE, Reason.AS_USUAL, f"backup {backup.id} has {backup.size}, and nothing about that is odd")
    found = "; ".join(oddity.message for oddity in backup.oddities)
    text = f"backup {backup.id}: {found}. Look at it; if it is well, `resguardo accept {backup.id}`"
    return Verdict(FALSE, _worst(backup.oddities), text)


def _worst(oddities: Sequence[Oddity]) -> str:
    """The word for them all: a loss goes before growth."""
    return next((oddity.oddness for oddity in oddities if oddity.oddness != Oddness.GREW), oddities[0].oddness)


@dataclass(frozen=True)
class Verdicts:
    """What is so, by condition; Ready is made of all of them."""

    accepted: Verdict
    backed_up: Verdict
    retained: Verdict
    size_normal: Verdict


def ready_verdict(verdicts: Verdicts, *, suspended: bool, next_at: datetime | None) -> Verdict:
    """Whether the promise is being kept: no condition is False, and nothing that it needs is open."""
    for verdict in (verdicts.accepted, verdicts.backed_up, verdicts.size_normal, verdicts.retained):
        if verdict.status is FALSE:
            return verdict
    if suspended:
        return Verdict(UNKNOWN, Reason.SUSPENDED, "spec.suspend is true: no backup is scheduled")
    for verdict in (verdicts.accepted, verdicts.backed_up):
        if verdict.status is UNKNOWN and verdict.reason != Reason.NEVER_RUN:
            return verdict
    text = "the policy is accepted and no backup is missing"
    return Verdict(TRUE, Reason.PROMISE_KEPT, f"{text}; the next is at {print_time(next_at)}" if next_at else text)


def all_conditions(
    previous: BackupPolicyStatus, ready: Verdict, verdicts: Verdicts, *, generation: int, now: datetime
) -> list[Condition]:
    """Every condition that a policy has, kstatus\' two included while they hold."""
    later = Verdict(UNKNOWN, Reason.NOT_ENFORCED, "this version of Resguardo does not do this yet")
    accepted = verdicts.accepted
    is_open = accepted.status is UNKNOWN or (
        accepted.status is FALSE and (REPORTED_REASONS.get(accepted.reason, False) or _is_waiting(accepted))
    )
    is_stuck = accepted.status is FALSE and not is_open
    return merge(
        previous.conditions,
        {
            PolicyCondition.READY: ready,
            PolicyCondition.ACCEPTED: accepted,
            PolicyCondition.BACKED_UP: verdicts.backed_up,
            PolicyCondition.RETAINED: verdicts.retained,
            PolicyCondition.SIZE_NORMAL: verdicts.size_normal,
            PolicyCondition.VERIFIED: later,
            PolicyCondition.REPLICATED: later,
            # kstatus: present only while they hold.
            RECONCILING: Verdict(TRUE, accepted.reason, accepted.message) if is_open else None,
            STALLED: Verdict(TRUE, accepted.reason, accepted.message) if is_stuck else None,
        },
        generation=generation,
        now=now,
    )


def _is_waiting(accepted: Verdict) -> bool:
    """Whether a pod waits: neither a pod's Report nor one of our own reasons."""
    return accepted.reason not in REPORTED_REASONS and accepted.reason not in set(Reason)


def transitions(previous: BackupPolicyStatus, status: BackupPolicyStatus) -> tuple[Notice, ...]:
    """One Event for each verdict that changed, for each run that ended, for each backup that is odd, for each warning."""
    notices = [*_odd_backup(previous, status), *_not_retained(previous, status), *_warned(previous, status)]
    for kind in (PolicyCondition.ACCEPTED, PolicyCondition.BACKED_UP):
        before, after = find(previous.conditions, kind), find(status.conditions, kind)
        if after is None or after.status is UNKNOWN:
            continue
        ended = status.last_run if kind is PolicyCondition.BACKED_UP else None
        run = ended.job_name if ended else ""
        run_before = previous.last_run.job_name if previous.last_run and run else ""
        if before is not None and (before.status, before.reason, run_before) == (after.status, after.reason, run):
            continue
        subject: tuple[str, ...]
        if ended is not None and _is_result(after, ended):
            # Told once for each run, however its end came to light, and though something else was told in between.
            subject = (kind.value, after.reason, run, print_time(ended.started_at))
        elif kind is PolicyCondition.BACKED_UP and after.status is TRUE:
            continue  # what a former policy left in the bucket is no news
        else:
            # Named after what it was before, which two operators at once read alike; "now" they do not.
            since = print_time(before.last_transition_time) if before else ""
            subject = (kind.value, since, after.status.value, after.reason, run, str(status.observed_generation))
        notices.append(Notice(subject, after.reason, after.message, is_warning=after.status is FALSE))
    return tuple(notices)


def _odd_backup(previous: BackupPolicyStatus, status: BackupPolicyStatus) -> Iterator[Notice]:
    backup, before = status.last_backup, previous.last_backup
    size_normal = find(status.conditions, PolicyCondition.SIZE_NORMAL)
    is_told = backup is not None and before is not None and before.id == backup.id and bool(before.oddities)
    if backup is not None and size_normal is not None and size_normal.status is FALSE and not is_told:
        subject = (PolicyCondition.SIZE_NORMAL.value, backup.id)
        yield Notice(subject, size_normal.reason, size_normal.message, is_warning=True)


def _not_retained(previous: BackupPolicyStatus, status: BackupPolicyStatus) -> Iterator[Notice]:
    before = find(previous.conditions, PolicyCondition.RETAINED)
    after = find(status.conditions, PolicyCondition.RETAINED)
    is_told = (
        before is not None and after is not None and (before.status, before.reason) == (after.status, after.reason)
    )
    if after is not None and after.status is FALSE and not is_told:
        since = print_time(before.last_transition_time) if before else ""
        yield Notice((after.type, since, after.reason), after.reason, after.message, is_warning=True)


def _warned(previous: BackupPolicyStatus, status: BackupPolicyStatus) -> Iterator[Notice]:
    for warning in status.warnings:
        if warning not in previous.warnings:
            subject = ("Warning", str(status.observed_generation), warning.message)
            yield Notice(subject, warning.reason, warning.message, is_warning=True)


def _is_result(backed_up: Condition, ended: RunSummary) -> bool:
    """Whether the condition tells what came of that run."""
    return backed_up.status is TRUE or (ended.succeeded is False and backed_up.reason == ended.reason)
