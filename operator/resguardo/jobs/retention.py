"""Carries a plan out on the bucket: marks what goes, removes what was marked long enough, takes back what stays after all.

May be killed anywhere, and run twice at once: each step is one small write or a removal that can be repeated, and about
each marked backup the store lets only one side decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice

import structlog

from resguardo.api.base import WHOLE_MAX, print_time
from resguardo.api.conditions import Reason as ConditionReason
from resguardo.api.durations import parse_duration
from resguardo.api.errors import DeadlineExceeded, Stopped, StoreError, StoreUnreachable
from resguardo.api.inventory import BackupFacts
from resguardo.api.policy import BackupPolicy, Retention, RetentionSummary
from resguardo.api.roles import Role
from resguardo.api.store_fields import ObjectLock
from resguardo.jobs.check import owner_name
from resguardo.jobs.survey import Survey, retention_of, survey
from resguardo.jobs.task import Context, Interrupted
from resguardo.rules.attempts import forgotten_attempts
from resguardo.rules.locks import locks_of
from resguardo.rules.orphans import orphaned_before
from resguardo.rules.removal import Step
from resguardo.rules.retention import Plan
from resguardo.store.catalogue import newest_jobs, newest_summary, summarise
from resguardo.store.layout import FIXED_PROBE_KEY, attempt_key
from resguardo.store.locks import lock_backup
from resguardo.store.orphans import abort_dead_uploads, erase_whole, remove_dead_folder
from resguardo.store.ownership import Owner, read_owner, verify_owner
from resguardo.store.protocol import Store
from resguardo.store.threads import in_threads
from resguardo.store.trash import mark, purge, take_back

log = structlog.get_logger()

#: Before each batch the prefix must still be ours, and the deadline ahead.
BATCH = 100
#: A store that did not answer so often is down: what is left is the next run's.
UNREACHABLE_MAX = 3
#: So many of the errors are told in full; the log has all of them.
TOLD_MAX = 3


def enforce(policy: BackupPolicy, context: Context) -> None:
    """Carry the policy's retention out. The prefix must be the policy's own already: it is not claimed here.

    What fails is told, and keeps nothing else from being done. A pause is a success: its word is the reason.
    """
    store = context.credentials.open_store(policy.spec.store, role=Role.PRUNER)
    owner = read_owner(store, owner_name(policy))
    context.progress.step("looking at what the bucket holds")
    found = survey(policy, store, now=datetime.now(UTC))
    timeout, object_lock = parse_duration(policy.spec.timeout), policy.spec.store.object_lock
    run = _Run(store, owner, found, retention_of(policy), timeout, context, object_lock)
    try:
        run.carry_out()
    except (DeadlineExceeded, Stopped, Interrupted) as cut:
        kind = type(cut.error if isinstance(cut, Interrupted) else cut)
        raise kind("cut off in the middle: what was done stands, and the next run does the rest") from cut
    finally:
        run.tell()
    run.raise_problems()


@dataclass
class _Run:
    store: Store
    owner: Owner
    survey: Survey
    retention: Retention
    timeout: timedelta
    context: Context
    object_lock: ObjectLock | None
    done: Counter[Step] = field(default_factory=Counter)
    locked: int = 0
    purged: set[str] = field(default_factory=set)
    problems: list[StoreError] = field(default_factory=list)

    def carry_out(self) -> None:
        """What removes nothing comes first: a key that may not delete still marks and takes back."""
        self.problems += self.survey.trash.problems.values()
        reasons = {verdict.backup.id: verdict.reasons for verdict in self.survey.plan.verdicts}
        marked, grace, now = self.survey.trash.marked, self.survey.grace, datetime.now(UTC)
        self._lock()
        self._step(
            Step.MARK,
            lambda backup_id: mark(
                self.store, backup_id, reasons=[str(reason) for reason in reasons[backup_id]], grace=grace, at=now
            ),
        )
        self._step(Step.TAKE_BACK, lambda backup_id: take_back(self.store, marked[backup_id]))
        self._prove_right_to_remove()
        self.purged.update(self._step(Step.PURGE, lambda backup_id: purge(self.store, marked[backup_id])))
        self._tidy()

    def _lock(self) -> None:
        """Hold each backup for as long as what it stands for now: since its own run could not, or it stands for more since."""
        if self.object_lock is None:
            return
        wanted = locks_of(self.survey.plan, self.object_lock, self.retention, now=self.survey.store_now)
        self.locked = len(self._each(lambda backup_id: lock_backup(self.store, backup_id, wanted[backup_id]), wanted))

    def _prove_right_to_remove(self) -> None:
        """Raise StoreAccessDenied before anything is decided that then could not be carried out, nor be taken back."""
        if Step.PURGE in self.survey.steps.values():
            self.store.put(FIXED_PROBE_KEY, b'{"probe":"retention"}')
            erase_whole(self.store, FIXED_PROBE_KEY)

    def _tidy(self) -> None:
        store, now = self.store, self.survey.store_now
        facts, trash = self.survey.facts, self.survey.trash
        dead = orphaned_before(now, self.timeout)
        dead_folder = partial(remove_dead_folder, store, now=now, timeout=self.timeout)
        self._each(dead_folder, (name for name in facts.catalogue.uncommitted if name not in trash.marked))
        forgotten = forgotten_attempts(facts.backups, self.retention)
        self._each(partial(erase_whole, store), [attempt_key(attempt.id) for attempt in forgotten])
        settled = [decision.key for decision in trash.settled if decision.last_modified < dead]
        self._each(partial(erase_whole, store), settled)
        abort_dead_uploads(store, now=now, timeout=self.timeout)

    def _step(self, step: Step, work: Callable[[str], bool]) -> list[str]:
        ids = [backup_id for backup_id, wanted in self.survey.steps.items() if wanted is step]
        if ids:
            self.context.progress.step(f"{step}: {len(ids)} of {len(self.survey.plan.verdicts)}")
        done = self._each(work, ids)
        self.done[step] += len(done)
        return done

    def _each(self, work: Callable[[str], bool | None], names: Iterable[str]) -> list[str]:
        """The names for which the work was done; what fails is noted, and the others go on."""
        done: list[str] = []
        for batch in _batches(names):
            self.context.deadline.check()
            verify_owner(self.store, self.owner)
            for name, outcome in zip(batch, in_threads(partial(_attempt, work), batch, name="retention"), strict=True):
                if isinstance(outcome, StoreError):
                    log.warning("not done", object=name, problem=str(outcome))
                    self.problems.append(outcome)
                elif outcome:
                    done.append(name)
            unreachable = [problem for problem in self.problems if isinstance(problem, StoreUnreachable)]
            if len(unreachable) >= UNREACHABLE_MAX:
                self.raise_problems()
        return done

    def tell(self) -> None:
        """What the Report says, whether all was done or not."""
        findings, found = self.context.findings, self.survey
        entries = [entry for entry in found.facts.catalogue.entries if entry.id not in self.purged]
        findings.inventory, findings.newest_backup = summarise(entries), newest_summary(entries)
        findings.newest_jobs = newest_jobs(entries)
        waiting = {name: at for name, at in found.removals.items() if name not in self.purged}
        findings.retention = RetentionSummary(
            by_tier=_by_tier(found.plan, lambda _backup: 1),
            bytes_by_tier=_by_tier(found.plan, lambda backup: backup.bytes),
            marked=len(waiting),
            removed=len(self.purged),
            next_removal_at=min(waiting.values(), default=None),
        )
        findings.reason = found.paused.pause if found.paused else ConditionReason.RETENTION_ENFORCED
        findings.message = "; ".join(self._sentences(len(entries), waiting))

    def _sentences(self, there: int, waiting: dict[str, datetime]) -> Iterator[str]:
        if self.survey.paused:
            yield self.survey.paused.message
        yield f"{there} backups are there"
        if unusable := [entry.id for entry in self.survey.facts.catalogue.entries if entry.problem is not None]:
            yield (
                f"{len(unusable)} of them cannot be read or are not believed, the newest {max(unusable)}, and neither count nor go: "
                "see `resguardo catalog`"
            )
        if waiting:
            yield f"{len(waiting)} of them go, the first after {print_time(min(waiting.values()))}"
        if self.done[Step.TAKE_BACK]:
            yield f"{self.done[Step.TAKE_BACK]} that were to go stay after all"
        if self.locked:
            yield f"{self.locked} were locked for longer"
        if self.purged:
            yield f"{len(self.purged)} were removed"

    def raise_problems(self) -> None:
        """Raise the first problem's class, saying how many there were and the first of them."""
        if not self.problems:
            return
        told = "; ".join(str(problem) for problem in self.problems[:TOLD_MAX])
        more = (
            f" (these are {TOLD_MAX} of {len(self.problems)}; the log has all)" if len(self.problems) > TOLD_MAX else ""
        )
        raise type(self.problems[0])(
            f"{len(self.problems)} steps of retention failed, and the others were done: {told}{more}"
        )


def _by_tier(plan: Plan, measure: Callable[[BackupFacts], int]) -> dict[str, int]:
    """The sum of what is measured of the backups that stand for each tier."""
    sums: Counter[str] = Counter()
    for verdict in plan.verdicts:
        for tier in verdict.tiers:
            sums[tier.value] += measure(verdict.backup)
    return {tier: min(WHOLE_MAX, total) for tier, total in sorted(sums.items())}


def _attempt(work: Callable[[str], bool | None], name: str) -> bool | StoreError:
    try:
        return work(name) is not False
    except StoreError as problem:
        return problem


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while batch := list(islice(rest, BATCH)):
        yield batch
