"""Retention: which backups stay, which go, and why. Facts in, a plan out; no clock, no bucket, nothing removed here.

A rule lays a claim on a backup: it names it and says why it has to stay. What no rule claims goes. Time is measured from
the newest good backup and not from the clock, so that a backup job which stopped never lets the good copies age away; the
clock counts for `maxAge` alone. All rules but that one only ever lose backups while a history grows and never win one back,
so that pruning every day and pruning once come to the same.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from resguardo.api.base import canonical_hash, print_time
from resguardo.api.durations import Span, parse_span
from resguardo.api.inventory import BackupFacts, Outcome
from resguardo.api.manifest import Trigger
from resguardo.api.policy import Retention
from resguardo.rules.tiers import Tier, period_of


class Rule(StrEnum):
    """Why a backup stays, or goes."""

    LOCKED = "locked"
    PINNED = "pinned"
    SUSPENDED = "suspended"
    PAUSED = "paused:"
    NEWEST = "newest"
    MINIMUM = "minimum"
    DRILL_PROVEN = "drill-proven"
    TIER = "tier"
    MANUAL = "manual"
    ODD = "odd"
    DAMAGED = "damaged"
    CLOCK_SUSPECT = "clock-suspect"
    DEPENDED_ON = "depended on"
    NO_REFERENCE = "no good backup to measure time from"
    NO_RETENTION = "no retention"
    # neither counted nor touched
    FAILED = "failed"
    RUNNING = "running"
    FOREIGN = "foreign"
    UNKNOWN_FORMAT = "unknown format"
    # why it goes
    MAX_AGE = "older than maxAge"
    NO_RULE = "no rule keeps it"


_NOT_TOUCHED = {
    Outcome.FAILED: Rule.FAILED,
    Outcome.RUNNING: Rule.RUNNING,
    Outcome.FOREIGN: Rule.FOREIGN,
    Outcome.UNREADABLE: Rule.UNKNOWN_FORMAT,
}


@dataclass(frozen=True)
class Reason:
    """A rule that applies to a backup, and to what of it."""

    rule: Rule
    detail: str = ""
    #: Which tier, where the rule is TIER.
    tier: Tier | None = None

    def __str__(self) -> str:
        return " ".join(filter(None, [self.tier or self.rule, self.detail]))


@dataclass(frozen=True)
class Verdict:
    """What becomes of one backup. There is always a reason; of one that stays, every one."""

    backup: BackupFacts
    keep: bool
    reasons: tuple[Reason, ...]

    @property
    def tiers(self) -> list[Tier]:
        """The tiers for which it stands, from the shortest."""
        return [reason.tier for reason in self.reasons if reason.tier is not None]


@dataclass(frozen=True)
class Plan:
    """One verdict for each backup, by the order of their starts."""

    verdicts: tuple[Verdict, ...]

    @property
    def removed(self) -> list[BackupFacts]:
        """What goes, the oldest first."""
        return [verdict.backup for verdict in self.verdicts if not verdict.keep]

    @property
    def kept(self) -> list[BackupFacts]:
        """What stays, the oldest first."""
        return [verdict.backup for verdict in self.verdicts if verdict.keep]

    @property
    def unclaimed(self) -> list[BackupFacts]:
        """What goes since no rule keeps it; what maxAge takes is not among them."""
        return [v.backup for v in self.verdicts if not v.keep and v.reasons[0].rule is Rule.NO_RULE]

    @property
    def hash(self) -> str:
        """Stands for exactly what is unclaimed: a person who accepts it accepts nothing else."""
        return canonical_hash(sorted(backup.id for backup in self.unclaimed))


def plan_retention(
    backups: Sequence[BackupFacts],
    retention: Retention | None,
    *,
    zone: ZoneInfo,
    now: datetime,
    pause: Reason | None = None,
) -> Plan:
    """Say for each backup whether it stays, and why.

    `backups` in any order, no id twice; `zone` cuts days, weeks, months and years; `now` is aware and decides about maxAge
    alone. Each source and each method has a history of its own: its newest backup, its minimum, its tiers. The order of
    claims: lock, pin, maxAge, `pause`, the rest. None of them takes the last backup of a history, nor one without which
    another that stays could not be restored.
    """
    claims: dict[str, list[Reason]] = defaultdict(list)
    last: set[str] = set()
    for history in _histories(backups):
        for backup, reason in _claims(history, retention, zone):
            claims[backup.id].append(reason)
        last.update(backup.id for backup in (history.good or history.committed)[-1:])

    def judge(backup: BackupFacts) -> Verdict:
        if rule := _NOT_TOUCHED.get(backup.outcome):
            return Verdict(backup, keep=True, reasons=(Reason(rule),))
        if not (backup.locked or backup.pinned or backup.id in last) and _is_over_max_age(backup, retention, now):
            return Verdict(backup, keep=False, reasons=(Reason(Rule.MAX_AGE),))
        reasons = (*claims[backup.id], *([pause] if pause else []))
        return Verdict(backup, keep=bool(reasons), reasons=reasons or (Reason(Rule.NO_RULE),))

    return Plan(_with_what_they_need([judge(backup) for backup in sorted(backups, key=lambda backup: backup.by_age)]))


@dataclass(frozen=True)
class _History:
    """The committed backups of one source by one method, the oldest first."""

    committed: list[BackupFacts]
    good: list[BackupFacts]

    @property
    def reference(self) -> datetime | None:
        """From which time is measured."""
        return self.good[-1].started_at if self.good else None


_Claim = tuple[BackupFacts, Reason]


def _histories(backups: Iterable[BackupFacts]) -> list[_History]:
    by_origin: dict[tuple[str | None, str | None], list[BackupFacts]] = defaultdict(list)
    for backup in sorted(backups, key=lambda backup: backup.by_age):
        if backup.is_committed:
            by_origin[backup.source, backup.method].append(backup)
    return [_History(committed, [b for b in committed if b.is_good]) for committed in by_origin.values()]


def _claims(history: _History, retention: Retention | None, zone: ZoneInfo) -> Iterator[_Claim]:
    """Every claim on the backups of one history, in the order in which reasons are told."""
    yield from _held(history)
    if retention is None:
        yield from ((backup, Reason(Rule.NO_RETENTION)) for backup in history.committed)
        return
    yield from ((backup, Reason(Rule.NEWEST)) for backup in history.good[-1:])
    yield from _stand_for_a_period(history, retention, zone)
    yield from ((backup, Reason(Rule.MINIMUM)) for backup in history.good[-retention.minimum :])
    yield from _proven(history)
    yield from _manual(history, retention, zone)
    yield from _not_good(history, retention)


def _held(history: _History) -> Iterator[_Claim]:
    for backup in history.committed:
        if backup.locked:
            yield backup, Reason(Rule.LOCKED)
        if backup.pinned:
            yield backup, Reason(Rule.PINNED)


def _stand_for_a_period(history: _History, retention: Retention, zone: ZoneInfo) -> Iterator[_Claim]:
    """Of each period that reaches into the tier's span, the good scheduled backup that the store received first.

    First in the store's time, and not in the backup's own: who can only add backups, such as a thief of the writer's key, would else
    write one that says it is a minute older than each that is there, and have all of these removed.

    What counts is the period's end, which is one for all backups in it. Were it the backup's own start, then one of
    Tuesday that some other rule had kept would take the week over on the day on which Monday's leaves it.
    """
    for tier, span in tier_spans(retention).items():
        taken: set[str] = set()
        for backup in sorted(history.good, key=lambda backup: backup.by_arrival):
            if backup.trigger is not Trigger.SCHEDULED:
                continue
            period = period_of(tier, backup.started_at, zone)
            if period.name not in taken and _reaches_into(period.end, span, history.reference):
                yield backup, Reason(Rule.TIER, period.name, tier)
            taken.add(period.name)


def _proven(history: _History) -> Iterator[_Claim]:
    restored = [(backup.proven_at, backup) for backup in history.committed if backup.proven_at and not backup.damaged]
    for proven_at, backup in sorted(restored, key=lambda proof: (proof[0], proof[1].by_age))[-1:]:
        yield backup, Reason(Rule.DRILL_PROVEN, print_time(proven_at))


def _manual(history: _History, retention: Retention, zone: ZoneInfo) -> Iterator[_Claim]:
    """A manual backup stays as long as one that stands for a day, or for an hour where there are no daily ones."""
    spans = tier_spans(retention)
    if (span := spans.get(Tier.DAILY) or spans.get(Tier.HOURLY)) is None:
        return
    for backup in history.good:
        if backup.trigger is Trigger.MANUAL:
            day = period_of(Tier.DAILY, backup.started_at, zone)
            if _reaches_into(day.end, span, history.reference):
                yield backup, Reason(Rule.MANUAL)


def _not_good(history: _History, retention: Retention) -> Iterator[_Claim]:
    """Those that nothing rests on: a person may still want to look at them, and to accept an odd one."""
    for backup in history.committed:
        if backup.is_clock_suspect:
            times = [backup.started_at, backup.stored_at]
            yield (
                backup,
                Reason(Rule.CLOCK_SUSPECT, "started {}, stored {}".format(*map(print_time, filter(None, times)))),
            )
        if history.reference is None:
            yield backup, Reason(Rule.NO_REFERENCE)
        elif (backup.odd or backup.damaged) and any(
            _reaches_into(backup.started_at, span, history.reference) for span in tier_spans(retention).values()
        ):
            yield backup, Reason(Rule.DAMAGED if backup.damaged else Rule.ODD)


def tiers_taken(
    started_at: datetime, backups: Iterable[BackupFacts], retention: Retention | None, *, zone: ZoneInfo
) -> list[Tier]:
    """The tiers for which a scheduled backup that starts now will stand if it is good, the shortest first.

    `backups` are those of the same source and method. What its storage class and its lock are chosen by.
    """
    there = [backup for backup in backups if backup.is_good and backup.trigger is Trigger.SCHEDULED]
    return [
        tier
        for tier in (tier_spans(retention) if retention else ())
        if period_of(tier, started_at, zone) not in {period_of(tier, backup.started_at, zone) for backup in there}
    ]


def kept_like(tiers: Sequence[Tier], trigger: Trigger, retention: Retention | None) -> Sequence[Tier]:
    """The tiers as whose backups one is kept that stands for `tiers`: those, and of a manual one the daily or hourly."""
    if trigger is not Trigger.MANUAL or retention is None:
        return tiers
    return [tier for tier in (Tier.HOURLY, Tier.DAILY) if tier in tier_spans(retention)][-1:]


def tier_spans(retention: Retention) -> dict[Tier, Span]:
    """How long the backups of each tier are kept, the shortest tier first; tiers that the policy does not name are absent."""
    written = {tier: getattr(retention, tier.value) for tier in Tier}
    return {tier: parse_span(text) for tier, text in written.items() if text is not None}


def _reaches_into(moment: datetime, span: Span, reference: datetime | None) -> bool:
    return reference is not None and moment > span.before(reference)


def _is_over_max_age(backup: BackupFacts, retention: Retention | None, now: datetime) -> bool:
    if retention is None or retention.max_age is None:
        return False
    return backup.made_at <= parse_span(retention.max_age).before(now)


def _with_what_they_need(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The same verdicts, save that nothing goes without which a backup that stays could not be restored."""
    going = {verdict.backup.id: verdict.backup for verdict in verdicts if not verdict.keep}
    staying = deque(verdict.backup for verdict in verdicts if verdict.keep and verdict.backup.outcome in _RESTORABLE)
    needed_by: dict[str, list[str]] = defaultdict(list)
    while staying:
        backup = staying.popleft()
        for needed in backup.depends_on:
            needed_by[needed].append(backup.id)
            if (rescued := going.pop(needed, None)) is not None:
                staying.append(rescued)
    return tuple(_needed(verdict, needed_by[verdict.backup.id]) for verdict in verdicts)


#: One that is being made may need another already.
_RESTORABLE = {Outcome.SUCCEEDED, Outcome.RUNNING}


def _needed(verdict: Verdict, dependents: Sequence[str]) -> Verdict:
    if not dependents or verdict.backup.outcome is not Outcome.SUCCEEDED:
        return verdict
    reasons = tuple(Reason(Rule.DEPENDED_ON, f"by {dependent}") for dependent in sorted(dependents))
    own = verdict.reasons if verdict.keep else ()
    return Verdict(verdict.backup, keep=True, reasons=(*own, *reasons))
