"""A BackupPolicy, what the cluster shows of it, and now: to the objects that are wanted, its status, and when to look again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from resguardo.api.base import print_time, to_utc
from resguardo.api.conditions import Condition, ConditionStatus, PolicyCondition, Reason
from resguardo.api.documents import read_document
from resguardo.api.durations import parse_duration
from resguardo.api.errors import DocumentInvalid
from resguardo.api.names import BACKUP_REQUESTED_ANNOTATION
from resguardo.api.policy import WARNINGS_MAX, BackupPolicy, BackupPolicyStatus
from resguardo.api.report import Task
from resguardo.api.schedule import next_time
from resguardo.controller import acceptance
from resguardo.controller.history import History, read_history
from resguardo.controller.objects import (
    DEADLINE_SLACK,
    HISTORY,
    STARTING_DEADLINE,
    build_check_job,
    build_cron_job,
    build_manual_job,
    build_retention_cron_job,
    manual_job_name,
)
from resguardo.controller.outcome import Notice, Outcome, Refusal, earliest, read_status
from resguardo.controller.ownership import Claim, claim_on, is_changed, is_edited, of_live
from resguardo.controller.policy_status import (
    Verdicts,
    all_conditions,
    newest_result,
    ready_verdict,
    size_verdict,
    transitions,
)
from resguardo.controller.retained import last_told, retained_verdict
from resguardo.controller.runs import Run, read_runs, to_remove
from resguardo.controller.settings import Settings
from resguardo.rules.advice import advise
from resguardo.rules.conditions import Verdict, find
from resguardo.rules.lateness import late_at

Object = Mapping[str, Any]

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN

#: A look shortly before the schedule's time finds a CronJob missing while it can still be made.
LOOK_BEFORE = timedelta(minutes=2)
#: How long the garbage collector may need for what a former policy of the name left.
STALE_WAIT = timedelta(seconds=5)
REQUEST_MAX = 64
BACKUP_REQUESTED = "BackupRequested"
BACKUP_REQUEST_INVALID = "BackupRequestInvalid"


@dataclass(frozen=True)
class PolicySeen:
    """What the cluster shows of one policy."""

    cron_job: Object | None = None
    retention_cron_job: Object | None = None
    jobs: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    #: By the uid of a pod that waits, or of a Job that has none.
    events: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    refusal: Refusal | None = None


def reconcile_policy(resource: Object, seen: PolicySeen, settings: Settings, now: datetime) -> Outcome:
    """What is to be done for a policy, and what is so. The same input gives the same answer."""
    if resource["metadata"].get("deletionTimestamp"):
        return Outcome()
    previous = read_status(BackupPolicyStatus, resource)
    uid = resource["metadata"]["uid"]
    runs = [run for run in read_runs(seen.jobs, seen.pods, seen.events, now) if _is_of(run, uid)]
    try:
        policy = read_document(dict(resource))
    except DocumentInvalid as error:
        return _invalid(resource, previous, runs, str(error), cron_job=seen.cron_job, settings=settings, now=now)
    if not isinstance(policy, BackupPolicy):
        raise TypeError(f"{resource.get('kind')} is no BackupPolicy")
    return _Reconcile(policy, previous, seen, runs, settings, now).outcome()


@dataclass(frozen=True)
class _Reconcile:
    policy: BackupPolicy
    previous: BackupPolicyStatus
    seen: PolicySeen
    runs: Sequence[Run]
    settings: Settings
    now: datetime

    def outcome(self) -> Outcome:
        policy, now = self.policy, self.now
        checks = [run for run in self.runs if run.task == Task.CHECK]
        history = read_history(policy, self.runs, self.previous)
        latest_check = acceptance.latest_check(policy, checks)
        seen_by_check = acceptance.check_warnings(latest_check, self.previous, generation=policy.metadata.generation)
        check_verdict = acceptance.judge(
            latest_check,
            find(self.previous.conditions, PolicyCondition.ACCEPTED),
            generation=policy.metadata.generation,
        )
        is_suspended = policy.spec.suspend or check_verdict.status is not TRUE
        for_backups = _CronJob(build_cron_job(policy, self.settings, suspend=is_suspended), self.seen.cron_job)
        # Where no backup can be scheduled, nothing is removed.
        for_retention = self._for_retention(is_suspended=is_suspended or for_backups.claim is Claim.TAKEN)
        cron_jobs = [for_backups, *([for_retention] if for_retention else [])]
        accepted = self._obstacle(for_backups) or self._refused() or check_verdict
        plan = acceptance.plan(policy, checks, check_verdict, lost_run=history.lost_run, now=now)
        manual = self._manual(check_verdict)
        next_at = self._next_backup_at(accepted)
        backed_up, late_moment = self._backed_up(history, accepted)
        retained = self._retained(history, for_retention)
        conditions = self._conditions(Verdicts(accepted, backed_up, retained, size_verdict(history)))
        status = BackupPolicyStatus(
            observed_generation=policy.metadata.generation,
            conditions=conditions,
            warnings=[*advise(policy.spec), *seen_by_check][:WARNINGS_MAX],
            place=history.place,
            last_backup=history.last_backup,
            inventory=history.inventory,
            inventory_at=history.inventory_at,
            retention=history.retention,
            last_run=history.last_run,
            next_backup_at=next_at,
            late_at=late_moment,
            last_handled_backup_request=manual.handled,
        )
        new_check = [build_check_job(policy, self.settings, attempt=plan.attempt)] if plan.attempt else []
        return Outcome(
            apply=(
                *(of_live(cron_job.wanted, cron_job.live) for cron_job in cron_jobs if cron_job.is_to_be_written),
                *self._healed(checks),
            ),
            create=(*new_check, *manual.create),
            delete=to_remove(
                (*plan.superseded, *self._old_manual_runs(), *_hanging(self.runs, self.previous)),
                version=self.settings.version,
            ),
            notices=(*transitions(self.previous, status), *manual.notices),
            status=status.model_dump(mode="json", by_alias=True, exclude_none=True),
            look_again_at=earliest(
                plan.look_again_at,
                next_at - LOOK_BEFORE if next_at else None,
                next_at,
                late_moment,
                now + STALE_WAIT if any(cron_job.claim is Claim.STALE for cron_job in cron_jobs) else None,
                *(run.look_again_at for run in self.runs),
                after=now,
            ),
        )

    # --- the objects

    def _for_retention(self, *, is_suspended: bool) -> _CronJob | None:
        """The CronJob that there is retention to enforce by, or that has to stop."""
        retention, live = self.policy.spec.retention, self.seen.retention_cron_job
        if retention is None and live is None:
            return None
        wanted = build_retention_cron_job(self.policy, self.settings, suspend=is_suspended or retention is None)
        return _CronJob(wanted, live)

    def _obstacle(self, cron_job: _CronJob) -> Verdict | None:
        name = cron_job.wanted["metadata"]["name"]
        if cron_job.claim is Claim.TAKEN:
            text = f"a CronJob {name} is there that is not this policy's; rename the policy or remove that CronJob"
            return Verdict(FALSE, Reason.NAME_TAKEN, text)
        if cron_job.claim is Claim.NEWER:
            text = f"CronJob {name} was written by a newer Resguardo than {self.settings.version}, which leaves it as it is"
            return Verdict(FALSE, Reason.NEWER_OPERATOR, text)
        return None

    def _refused(self) -> Verdict | None:
        refusal = self.seen.refusal
        return Verdict(FALSE, refusal.reason, refusal.message) if refusal is not None else None

    def _retained(self, history: History, cron_job: _CronJob | None) -> Verdict:
        """What stands in the way of retention is no obstacle to backups, which go on."""
        obstacle = self._obstacle(cron_job) if cron_job and self.policy.spec.retention else None
        is_same_place = self.previous.place == history.place
        conditions = self.previous.conditions if is_same_place else ()
        return obstacle or retained_verdict(self.policy.spec, history.runs, conditions)

    def _healed(self, checks: Sequence[Run]) -> list[Object]:
        """The running check as it was made, where somebody edited it. What an older version made stays as it is."""
        latest = acceptance.latest_check(self.policy, checks)
        if latest is None or latest.has_ended:
            return []
        live = next(job for job in self.seen.jobs if job["metadata"]["uid"] == latest.uid)
        wanted = build_check_job(self.policy, self.settings, attempt=acceptance.attempt_of(self.policy, latest))
        is_healable = claim_on(live, wanted) is Claim.OURS and not is_changed(live, wanted)
        return [of_live(wanted, live)] if is_healable and is_edited(live, wanted) else []

    def _old_manual_runs(self) -> list[Run]:
        prefix = f"{self.policy.metadata.name}-manual-"
        ended = [run for run in self.runs if run.name.startswith(prefix) and run.has_ended and not run.is_deleting]
        return sorted(ended, key=lambda run: run.started_at, reverse=True)[HISTORY:]

    def _manual(self, accepted: Verdict) -> _Manual:
        """The backup that the annotation asks for: once for each value, and when the policy is accepted."""
        handled = self.previous.last_handled_backup_request
        value = self.policy.metadata.annotations.get(BACKUP_REQUESTED_ANNOTATION)
        if not value or value[:REQUEST_MAX] == handled:
            return _Manual(handled)
        if not _is_instant(value):
            message = f"{BACKUP_REQUESTED_ANNOTATION} must be a time such as 2026-11-23T14:00:00Z, not {value[:80]!r}"
            notice = Notice((BACKUP_REQUESTED_ANNOTATION, value), BACKUP_REQUEST_INVALID, message, is_warning=True)
            return _Manual(value[:REQUEST_MAX], notices=(notice,))
        name = manual_job_name(self.policy, value)
        if any(run.name == name for run in self.runs):
            # Written down only now: a request whose Job could not be made must not count as carried out.
            return _Manual(value)
        is_busy = any(run.task == Task.BACKUP and not run.has_ended for run in self.runs)
        if accepted.status is not TRUE or is_busy:
            return _Manual(handled)
        notice = Notice(
            (BACKUP_REQUESTED_ANNOTATION, value), BACKUP_REQUESTED, f"backup {name} starts", is_warning=False
        )
        return _Manual(handled, (build_manual_job(self.policy, self.settings, requested_at=value),), (notice,))

    # --- the status

    def _next_backup_at(self, accepted: Verdict) -> datetime | None:
        spec = self.policy.spec
        if spec.suspend or accepted.status is not TRUE:
            return None
        return next_time(spec.schedule, spec.time_zone, self.now)

    def _backed_up(self, history: History, accepted: Verdict) -> tuple[Verdict, datetime | None]:
        verdict = self._waiting_run() or newest_result(history)
        spec = self.policy.spec
        base = history.last_backup.started_at if history.last_backup else self._in_force_since(accepted)
        if spec.suspend or base is None:
            return verdict, None
        timeout, is_first = parse_duration(spec.timeout), history.last_backup is None
        return _judge_lateness(verdict, base, spec.schedule, spec.time_zone, timeout, is_first=is_first, now=self.now)

    def _waiting_run(self) -> Verdict | None:
        for run in self.runs:
            if run.task == Task.BACKUP and run.waiting is not None:
                status = FALSE if run.waiting.needs_person else UNKNOWN
                return Verdict(status, run.waiting.reason, f"the backup {run.name} cannot start: {run.waiting.message}")
        return None

    def _in_force_since(self, accepted: Verdict) -> datetime | None:
        if accepted.status is not TRUE:
            return None
        before = find(self.previous.conditions, PolicyCondition.ACCEPTED)
        return before.last_transition_time if before is not None and before.status is TRUE else self.now

    def _conditions(self, verdicts: Verdicts) -> list[Condition]:
        next_at = self._next_backup_at(verdicts.accepted)
        ready = ready_verdict(verdicts, suspended=self.policy.spec.suspend, next_at=next_at)
        generation = self.policy.metadata.generation
        return all_conditions(self.previous, ready, verdicts, generation=generation, now=self.now)


@dataclass(frozen=True)
class _CronJob:
    """One that is wanted, and the one of its name that is there."""

    wanted: Object
    live: Object | None

    @property
    def claim(self) -> Claim | None:
        """Whose the one that is there is."""
        return claim_on(self.live, self.wanted) if self.live is not None else None

    @property
    def is_to_be_written(self) -> bool:
        """Whether there is none, or one of ours that is not as it is wanted."""
        if self.live is None:
            return True
        return self.claim is Claim.OURS and (is_changed(self.live, self.wanted) or is_edited(self.live, self.wanted))


@dataclass(frozen=True)
class _Manual:
    handled: str | None
    create: tuple[Object, ...] = ()
    notices: tuple[Notice, ...] = ()


def _hanging(runs: Sequence[Run], previous: BackupPolicyStatus) -> list[Run]:
    """Runs on a lost node, which Forbid would count as running for ever: every later night would be passed over.

    A backup only once status tells what came of it, since the Job is the evidence; and only what Kubernetes itself wants ended,
    since our clock may be wrong. A process that lives on behind a broken network is past its own deadline: it commits
    nothing.
    """
    told = previous.last_run

    def is_told(run: Run) -> bool:
        return (
            told is not None
            and told.ended_at >= (run.ended_at or run.started_at).replace(microsecond=0)
            and told.succeeded is not None
        )

    def can_go(run: Run) -> bool:
        # What retention did stands in the bucket: its Job is no evidence of anything.
        return run.task == Task.RETENTION or (run.task == Task.BACKUP and is_told(run))

    return [run for run in runs if run.hangs and not run.is_deleting and can_go(run)]


def _invalid(
    resource: Object,
    previous: BackupPolicyStatus,
    runs: Sequence[Run],
    message: str,
    *,
    cron_job: Object | None,
    settings: Settings,
    now: datetime,
) -> Outcome:
    """A document that passed the API server's schema and not the models'. The CronJob stays as the former one made it."""
    history = read_history(None, runs, previous)
    generation = resource["metadata"].get("generation", 0)
    accepted = Verdict(FALSE, DocumentInvalid.__name__, message)
    # What the former document promised still holds: its CronJob goes on.
    backed_up, late_moment = newest_result(history), None
    if cron_job is not None and history.last_backup is not None and not cron_job["spec"].get("suspend"):
        backed_up, late_moment = _judge_lateness(
            backed_up, history.last_backup.started_at, *_promise_of(cron_job), is_first=False, now=now
        )
    verdicts = Verdicts(accepted, backed_up, last_told(previous.conditions), size_verdict(history))
    ready = ready_verdict(verdicts, suspended=False, next_at=None)
    status = BackupPolicyStatus(
        observed_generation=generation,
        conditions=all_conditions(previous, ready, verdicts, generation=generation, now=now),
        place=history.place,
        last_backup=history.last_backup,
        inventory=history.inventory,
        inventory_at=history.inventory_at,
        retention=history.retention,
        last_run=history.last_run,
        late_at=late_moment,
        last_handled_backup_request=previous.last_handled_backup_request,
    )
    return Outcome(
        notices=transitions(previous, status),
        status=status.model_dump(mode="json", by_alias=True, exclude_none=True),
        delete=to_remove(_hanging(runs, previous), version=settings.version),
        look_again_at=earliest(late_moment, *(run.look_again_at for run in runs), after=now),
    )


def _promise_of(cron_job: Object) -> tuple[str, str, timedelta]:
    """Schedule, time zone and timeout that a CronJob of ours was made for."""
    spec = cron_job["spec"]
    deadline = timedelta(seconds=spec["jobTemplate"]["spec"]["activeDeadlineSeconds"])
    return spec["schedule"], spec.get("timeZone") or "UTC", deadline - DEADLINE_SLACK


def _judge_lateness(
    verdict: Verdict, base: datetime, schedule: str, zone: str, timeout: timedelta, *, is_first: bool, now: datetime
) -> tuple[Verdict, datetime]:
    """BackedUp, Late where it is; and when it would be. `base` is the last good start, or the promise's beginning."""
    moment = late_at(schedule, zone, last_good_start=base, starting_deadline=STARTING_DEADLINE, timeout=timeout)
    if now < moment or verdict.status is FALSE:
        return verdict, moment
    since = "yet" if is_first else f"since the one of {print_time(base)}"
    text = f"no good backup {since}; the schedule asked for one at {print_time(next_time(schedule, zone, base))}"
    return Verdict(FALSE, Reason.LATE, text), moment


def _is_of(run: Run, uid: str) -> bool:
    return bool((run.policy.get("metadata") or {}).get("uid") == uid)


def _is_instant(value: str) -> bool:
    if len(value) > REQUEST_MAX:
        return False
    try:
        to_utc(datetime.fromisoformat(value))
    except ValueError:
        return False
    return True
