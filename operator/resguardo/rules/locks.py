"""How long the store is to let nobody remove a backup: briefly while it is made, then by the tiers for which it stands.

A lock that is set cannot be taken back, so that it is never longer than what is known: a backup that fails, or turns out odd,
is free after a day or so, and is not paid for during a year.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from resguardo.api.durations import Span, parse_span
from resguardo.api.manifest import Trigger
from resguardo.api.policy import Retention
from resguardo.api.store_fields import ObjectLock
from resguardo.rules.retention import Plan, kept_like
from resguardo.rules.tiers import Tier

#: Beyond the timeout of the backup: time enough for the run of retention that extends what the backup could not.
MARGIN = timedelta(days=1)
#: From here on spans are laid side by side.
_SOME_DAY = datetime(2026, 7, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Lock:
    """That an object stays. Governance or Compliance, until an aware instant in whole seconds."""

    mode: str
    until: datetime

    def holds(self, wanted: Lock) -> bool:
        """Whether it holds as long as that one; in which mode is not asked, since it cannot be changed."""
        return self.until >= wanted.until


def lock_while_made(asked: ObjectLock, *, started_at: datetime, timeout: timedelta) -> Lock:
    """The lock that every object of a backup has from its first byte on."""
    return Lock(asked.mode, _whole(started_at + timeout + MARGIN))


def lock_of(
    asked: ObjectLock,
    tiers: Sequence[Tier],
    trigger: Trigger,
    retention: Retention | None,
    *,
    made_at: datetime,
) -> Lock | None:
    """The lock of a good backup that stands for these tiers; None where `byTier` names none of them.

    It is that of the tier which gives the latest end, from the backup's start on. A manual backup has a daily one's.
    """
    spans = lock_spans(asked)
    ends = [spans[tier].after(made_at) for tier in kept_like(tiers, trigger, retention) if tier in spans]
    return Lock(asked.mode, _whole(max(ends))) if ends else None


def lock_spans(asked: ObjectLock | None) -> dict[Tier, Span]:
    """For how long backups of each tier are locked, the shortest tier first; tiers without a lock are absent."""
    written = {tier: getattr(asked.by_tier, tier.value) for tier in Tier} if asked is not None else {}
    return {tier: parse_span(text) for tier, text in written.items() if text is not None}


def longest_lock(asked: ObjectLock | None) -> tuple[Tier, Span] | None:
    """The longest of them, and of which tier; None where there is none."""
    spans = lock_spans(asked)
    return max(spans.items(), key=lambda tier: tier[1].after(_SOME_DAY), default=None)


def locks_of(plan: Plan, asked: ObjectLock, retention: Retention | None, *, now: datetime) -> dict[str, Lock]:
    """The lock that each backup is to have by what it stands for now, by id; of those that have to be locked any longer.

    One that came to stand for a longer tier, since another was found damaged, is among them with that tier's. What is not good
    has none, nor has what goes.
    """
    found: dict[str, Lock] = {}
    for verdict in plan.verdicts:
        backup = verdict.backup
        if not verdict.keep or not backup.is_good:
            continue
        lock = lock_of(asked, verdict.tiers, backup.trigger, retention, made_at=backup.made_at)
        if lock is not None and lock.until > now:
            found[backup.id] = lock
    return found


def _whole(moment: datetime) -> datetime:
    """Stores keep whole seconds, and an end that they cut would be before the one that was asked for."""
    whole = moment.replace(microsecond=0)
    return whole if whole == moment else whole + timedelta(seconds=1)
