"""A RestoreRequest, what the cluster shows of it, and now: carried out once, and ended in a state that a person can read.

The claim is written to status before the Job is made, and the Job's uid after it was seen. So a crash between any two
steps leaves one of: no claim (nothing was done), a claim without uid (the Job is made, or made again under the same
name, which the API server does once), a claim with uid (never another Job; its absence is Interrupted). The mark in the
database's comment guards what is left of that: a Job that ran and was removed before its uid was written down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from resguardo.api.base import print_time
from resguardo.api.conditions import ConditionStatus, Reason, RequestCondition
from resguardo.api.documents import read_document
from resguardo.api.durations import parse_duration
from resguardo.api.errors import DeadlineExceeded, DocumentInvalid, Expired
from resguardo.api.names import POLICY_KIND, REQUEST_KIND
from resguardo.api.policy import BackupPolicy
from resguardo.api.report import Report
from resguardo.api.request import Claim, RestoreRequest, RestoreRequestStatus
from resguardo.controller import ownership
from resguardo.controller.objects import build_restore_job, restore_job_name
from resguardo.controller.outcome import Key, Outcome, Refusal, earliest, read_status
from resguardo.controller.previous import drop_previous
from resguardo.controller.request_status import claimed, dump_status, transitions, what_was_told
from resguardo.controller.runs import Run, parse_time, read_runs
from resguardo.controller.settings import Settings
from resguardo.rules.conditions import Verdict, find, merge

Object = Mapping[str, Any]

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN

STALE_WAIT = timedelta(seconds=5)
#: What stands under our Job's name and is not ours is not watched.
TAKEN_WAIT = timedelta(minutes=1)


@dataclass(frozen=True)
class RequestSeen:
    """What the cluster shows of one request."""

    #: The policy that it refers to.
    policy: Object | None = None
    #: What stands under the restore Job's name, whoever made it.
    job: Object | None = None
    #: The Jobs that carry the request's label.
    jobs: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    events: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    #: The other requests of the namespace.
    others: Sequence[Object] = ()
    refusal: Refusal | None = None


def reconcile_request(resource: Object, seen: RequestSeen, settings: Settings, now: datetime) -> Outcome:
    """What is to be done for a request, and what is so. The same input gives the same answer."""
    if resource["metadata"].get("deletionTimestamp"):
        return Outcome()
    previous = read_status(RestoreRequestStatus, resource)
    try:
        request = read_document(dict(resource))
    except DocumentInvalid as error:
        return _Unreadable(resource, previous, now).outcome(str(error))
    if not isinstance(request, RestoreRequest):
        raise TypeError(f"{resource.get('kind')} is no RestoreRequest")
    if previous.completed_at is not None:
        own = [job for job in seen.jobs if _is_owned(job, request.metadata.uid)]
        return drop_previous(request, previous, read_runs(own, seen.pods, seen.events, now), settings, now)
    return _Reconcile(request, previous, seen, settings, now).outcome()


@dataclass(frozen=True)
class _Reconcile:
    request: RestoreRequest
    previous: RestoreRequestStatus
    seen: RequestSeen
    settings: Settings
    now: datetime

    def outcome(self) -> Outcome:
        claim = self.previous.claim
        if claim is None:
            found = self._status_of_its_job()
            return replace(self, previous=found).outcome() if found else self._before_claim()
        job = self.seen.job
        if claim.job_uid is not None and (job is None or job["metadata"]["uid"] != claim.job_uid):
            text = f"Job {claim.job_name} is gone before it told how it ended. {self._what_to_look_for()}"
            return self._ended(Verdict(FALSE, Reason.INTERRUPTED, text))
        if job is None:
            return self._make_job(claim)
        return self._observe(claim, job)

    # --- before

    def _status_of_its_job(self) -> RestoreRequestStatus | None:
        """Of a request that lost its status: the claim that its Job is evidence of.

        What that Job did is so, whatever time it is by now, whatever became of the policy, and whoever else waits.
        """
        job = self.seen.job
        if job is None or self._whose(job) not in (ownership.Claim.OURS, ownership.Claim.NEWER):
            return None
        metadata = job["metadata"]
        claim = Claim(
            job_name=metadata["name"], claimed_at=parse_time(metadata["creationTimestamp"]), job_uid=metadata["uid"]
        )
        return self.previous.model_copy(update={"claim": claim, "started_at": claim.claimed_at})

    def _before_claim(self) -> Outcome:
        if self._has_expired():
            return self._expired()
        obstacle = self._policy_obstacle()
        if obstacle is not None:
            if self.now >= self._patience_ends_at():
                return self._ended(obstacle, accepted=obstacle)
            waits = Verdict(UNKNOWN, Reason.WAITING, obstacle.message)
            return self._open(waits, accepted=obstacle, waits_for=self._policy_key(), until=self._patience_ends_at())
        return self._name_obstacle() or self._rivals() or self._claim()

    def _claim(self) -> Outcome:
        name = restore_job_name(self.request.metadata.name)
        claim = Claim(job_name=name, claimed_at=self.now.replace(microsecond=0))
        # Nothing but the status in this outcome: only once it is written may the Job be made.
        running = Verdict(UNKNOWN, Reason.RUNNING, f"Job {name} is about to start")
        return self._open(running, claim=claim, until=self.now + timedelta(seconds=1))

    def _policy_obstacle(self) -> Verdict | None:
        reference = self.request.spec.from_.policy_ref
        if reference is None:
            return None
        if self.seen.policy is None:
            text = f"there is no BackupPolicy {reference.name} in namespace {self.request.metadata.namespace}"
            return Verdict(FALSE, Reason.POLICY_NOT_FOUND, text)
        try:
            _read_policy_for_restore(self.seen.policy)
        except DocumentInvalid as error:
            return Verdict(FALSE, DocumentInvalid.__name__, f"BackupPolicy {reference.name}: {error}")
        return None

    def _name_obstacle(self) -> Outcome | None:
        job = self.seen.job
        if job is None:
            return None
        whose = self._whose(job)
        name = job["metadata"]["name"]
        if whose is ownership.Claim.STALE:
            waits = Verdict(
                UNKNOWN, Reason.WAITING, f"the Job {name} of a former request of this name is being removed"
            )
            return self._open(waits, until=self.now + STALE_WAIT)
        if whose is ownership.Claim.TAKEN:
            text = f"a Job {name} is there that is not this request's; remove it, or make a request of another name"
            taken = Verdict(FALSE, Reason.NAME_TAKEN, text)
            if self.now >= self._patience_ends_at():
                return self._ended(taken, accepted=taken)
            return self._open(
                Verdict(UNKNOWN, Reason.WAITING, text),
                accepted=taken,
                until=min(self.now + TAKEN_WAIT, self._patience_ends_at()),
            )
        return None

    def _rivals(self) -> Outcome | None:
        """Two restores of one database at once would fight over its name: the later one waits for the earlier's end."""
        rivals = [other for other in self.seen.others if self._goes_first(other)]
        if not rivals:
            return None
        names = [other["metadata"]["name"] for other in rivals]
        namespace = self.request.metadata.namespace
        text = f"waits for the end of RestoreRequest {', '.join(names)}, which restores to the same database"
        keys = tuple(Key(REQUEST_KIND, namespace, name) for name in names)
        return self._open(Verdict(UNKNOWN, Reason.WAITING, text), waits_for=keys)

    def _spec(self) -> Object:
        return self.request.spec.model_dump(mode="json", by_alias=True, exclude_none=True)

    def _goes_first(self, other: Object) -> bool:
        status = read_status(RestoreRequestStatus, other)
        if status.completed_at is not None or other["metadata"].get("deletionTimestamp"):
            return False
        if _target_of(other.get("spec", {})) != _target_of(self._spec()):
            return False
        if status.claim is not None:
            return True
        accepted = find(status.conditions, RequestCondition.ACCEPTED)
        mine = self.request.metadata
        created = print_time(mine.creation_timestamp) if mine.creation_timestamp else ""
        is_earlier = (other["metadata"].get("creationTimestamp", ""), other["metadata"]["uid"]) < (created, mine.uid)
        return is_earlier and (accepted is None or accepted.status is not FALSE)

    # --- the Job

    def _make_job(self, claim: Claim) -> Outcome:
        if self._has_expired():
            return self._expired()
        obstacle = self._policy_obstacle()
        if obstacle is not None:
            # Claimed, and then the policy went: the same patience as before.
            if self.now >= self._patience_ends_at():
                return self._ended(obstacle)
            waits = Verdict(UNKNOWN, Reason.WAITING, obstacle.message)
            return self._open(waits, claim=claim, waits_for=self._policy_key(), until=self._patience_ends_at())
        if self.seen.refusal is not None:
            refused = Verdict(UNKNOWN, self.seen.refusal.reason, self.seen.refusal.message)
            if self.now >= self._patience_ends_at():
                return self._ended(Verdict(FALSE, refused.reason, refused.message))
            return self._open(
                refused, claim=claim, create=(self._wanted(claim.job_name),), until=self._patience_ends_at()
            )
        running = Verdict(UNKNOWN, Reason.RUNNING, f"Job {claim.job_name} is about to start")
        return self._open(running, claim=claim, create=(self._wanted(claim.job_name),))

    def _observe(self, claim: Claim, job: Object) -> Outcome:
        if self._whose(job) not in (ownership.Claim.OURS, ownership.Claim.NEWER):
            text = f"a Job {claim.job_name} that is not this request's took the name before its own was made"
            return self._ended(Verdict(FALSE, Reason.NAME_TAKEN, text))
        claim = claim.model_copy(update={"job_uid": job["metadata"]["uid"]})
        (run,) = read_runs([job], self.seen.pods, self.seen.events, self.now)
        if not run.has_ended:
            verdict = Verdict(UNKNOWN, Reason.RUNNING, f"Job {run.name} runs since {print_time(run.started_at)}")
            if run.waiting is not None:
                verdict = Verdict(UNKNOWN, run.waiting.reason, f"the restore cannot start: {run.waiting.message}")
            return self._open(verdict, claim=claim, until=run.look_again_at)
        if run.report is not None:
            return self._reported(claim, run.report, run.ended_at or self.now)
        return self._ended(self._without_report(run), claim=claim, at=run.ended_at)

    def _reported(self, claim: Claim, report: Report, ended_at: datetime) -> Outcome:
        reason = Reason.RESTORED if report.succeeded else report.reason
        verdict = Verdict(TRUE if report.succeeded else FALSE, reason, report.message)
        return self._ended(verdict, claim=claim, at=ended_at, report=report)

    def _without_report(self, run: Run) -> Verdict:
        before = find(self.previous.conditions, RequestCondition.SUCCEEDED)
        detail = f" ({run.detail})" if run.detail else ""
        if run.failure == DeadlineExceeded.__name__:
            # Waiting reasons are Kubernetes' own words: none of ours.
            was_waiting = before is not None and before.reason not in set(Reason)
            why = f"it never started: {before.message}" if before is not None and was_waiting else "it left no report"
            text = f"Job {run.name} was ended at its deadline; {why}. {self._what_to_look_for()}"
            return Verdict(FALSE, DeadlineExceeded.__name__, text)
        if run.completed:
            text = f"Job {run.name} ended with exit status 0, but its report is lost. {self._what_to_look_for()}"
            return Verdict(FALSE, Reason.REPORT_LOST, text)
        text = f"Job {run.name} was interrupted and left no report{detail}. {self._what_to_look_for()}"
        return Verdict(FALSE, Reason.INTERRUPTED, text)

    def _what_to_look_for(self) -> str:
        target = self.request.spec.target.postgres
        if target is None:
            return ""
        return (
            f"Look on {target.connection.host} for databases whose names begin with {target.database}_restore_, and at "
            f"the comment of {target.database}: it carries this request's mark {self.request.fingerprint} where the "
            "restore got to its end. What was there before is untouched until then; make a new request to try again"
        )

    def _whose(self, job: Object) -> ownership.Claim:
        # Without the policy: it may be unreadable by now, and whose a Job is has nothing to do with it.
        wanted = build_restore_job(self.request, None, self.settings, name=job["metadata"]["name"])
        return ownership.claim_on(job, wanted)

    def _wanted(self, name: str) -> Object:
        seen = self.seen.policy if self.request.spec.from_.policy_ref else None
        policy = _read_policy_for_restore(seen) if seen is not None else None
        return build_restore_job(self.request, policy, self.settings, name=name)

    # --- what is so

    def _has_expired(self) -> bool:
        return self.request.spec.not_after is not None and self.now >= self.request.spec.not_after

    def _expired(self) -> Outcome:
        moment = print_time(self.request.spec.not_after or self.now)
        verdict = Verdict(
            FALSE, Expired.__name__, f"notAfter ({moment}) passed before the restore began; make a new request"
        )
        return self._ended(verdict, accepted=verdict)

    def _patience_ends_at(self) -> datetime:
        """How long a request waits for what it needs: until notAfter, or as long as it might have run."""
        created = self.request.metadata.creation_timestamp or self.previous.started_at or self.now
        return self.request.spec.not_after or created + parse_duration(self.request.spec.timeout)

    def _policy_key(self) -> tuple[Key, ...]:
        reference = self.request.spec.from_.policy_ref
        return (Key(POLICY_KIND, self.request.metadata.namespace, reference.name),) if reference else ()

    def _open(
        self,
        succeeded: Verdict,
        *,
        accepted: Verdict | None = None,
        claim: Claim | None = None,
        create: tuple[Object, ...] = (),
        waits_for: tuple[Key, ...] = (),
        until: datetime | None = None,
    ) -> Outcome:
        if accepted is None:
            accepted = claimed(claim) if claim else Verdict(UNKNOWN, succeeded.reason, succeeded.message)
        status = self._status(succeeded, accepted).model_copy(update={"claim": claim or self.previous.claim})
        return Outcome(
            create=create,
            status=dump_status(status),
            notices=transitions(self.previous, status),
            look_again_at=earliest(until, self.request.spec.not_after if claim is None else None, after=self.now),
            waits_for=waits_for,
        )

    def _ended(
        self,
        succeeded: Verdict,
        *,
        accepted: Verdict | None = None,
        claim: Claim | None = None,
        at: datetime | None = None,
        report: Report | None = None,
    ) -> Outcome:
        claim = claim or self.previous.claim
        status = self._status(succeeded, accepted or (claimed(claim) if claim else succeeded))
        ended_at = (at or self.now).replace(microsecond=0)
        update: dict[str, Any] = {"claim": claim, "completed_at": ended_at}
        if report is not None:
            update |= what_was_told(report, created=self.request.metadata.creation_timestamp, ended_at=ended_at)
        status = status.model_copy(update=update)
        return Outcome(status=dump_status(status), notices=transitions(self.previous, status))

    def _status(self, succeeded: Verdict, accepted: Verdict) -> RestoreRequestStatus:
        generation = self.request.metadata.generation
        verdicts: dict[str, Verdict | None] = {
            RequestCondition.ACCEPTED: accepted,
            RequestCondition.SUCCEEDED: succeeded,
        }
        return self.previous.model_copy(
            update={
                "observed_generation": generation,
                "conditions": merge(self.previous.conditions, verdicts, generation=generation, now=self.now),
                "started_at": self.previous.started_at or self.now.replace(microsecond=0),
            }
        )


@dataclass(frozen=True)
class _Unreadable:
    """A request that passed the API server's schema and not the models'. Its spec is immutable, so that is its end."""

    resource: Object
    previous: RestoreRequestStatus
    now: datetime

    def outcome(self, message: str) -> Outcome:
        if self.previous.completed_at is not None or self.previous.claim is not None:
            # Another version of the operator could read it, and its Job may be at work: not ours to judge.
            return Outcome()
        generation = self.resource["metadata"].get("generation", 0)
        verdict = Verdict(FALSE, DocumentInvalid.__name__, message)
        verdicts: dict[str, Verdict | None] = {
            RequestCondition.ACCEPTED: verdict,
            RequestCondition.SUCCEEDED: verdict,
        }
        moment = self.now.replace(microsecond=0)
        status = RestoreRequestStatus(
            observed_generation=generation,
            conditions=merge(self.previous.conditions, verdicts, generation=generation, now=self.now),
            started_at=self.previous.started_at or moment,
            completed_at=moment,
        )
        return Outcome(status=dump_status(status), notices=transitions(self.previous, status))


def _read_policy_for_restore(resource: Object) -> BackupPolicy:
    """The policy for its store's sake: a schedule or zone that cannot be read must not stand in a restore's way."""
    body = dict(resource)
    try:
        policy = read_document(body)
    except DocumentInvalid:
        body["spec"] = {**(body.get("spec") or {}), "schedule": "@daily", "timeZone": "UTC"}
        policy = read_document(body)
    if not isinstance(policy, BackupPolicy):
        raise TypeError(f"{resource.get('kind')} is no BackupPolicy")
    return policy


def _target_of(spec: Mapping[str, Any]) -> tuple[Any, ...]:
    postgres = (spec.get("target") or {}).get("postgres") or {}
    connection = postgres.get("connection") or {}
    return str(connection.get("host", "")).lower(), connection.get("port", 5432), postgres.get("database")


def _is_owned(job: Object, uid: str) -> bool:
    return any(owner.get("uid") == uid for owner in job["metadata"].get("ownerReferences") or [])
