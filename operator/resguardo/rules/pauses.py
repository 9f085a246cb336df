"""When retention removes nothing for now: the last attempt failed, the newest backup is odd, another database took the name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from resguardo.api.base import print_time
from resguardo.api.inventory import BackupFacts, Outcome
from resguardo.rules.retention import Plan

#: Of two clocks that differ by more, nobody can say which is right.
CLOCK_TOLERANCE = timedelta(minutes=5)
#: A plan that would remove more than this share of the backups at once waits for a person.
SHARE_MAX = 0.5


class Pause(StrEnum):
    """Why retention pauses, as the condition Retained shows it."""

    SUSPENDED = "Suspended"
    CLOCKS_DIFFER = "ClocksDiffer"
    LAST_ATTEMPT_FAILED = "LastAttemptFailed"
    NEWEST_IS_ODD = "NewestIsOdd"
    SOURCE_CHANGED = "SourceChanged"
    TOO_MUCH_AT_ONCE = "TooMuchAtOnce"


@dataclass(frozen=True)
class Paused:
    """A pause, and what a person can do about it."""

    pause: Pause
    message: str


def find_pause(
    backups: Sequence[BackupFacts], *, suspended: bool, now: datetime, store_now: datetime, accepted: frozenset[str]
) -> Paused | None:
    """What holds retention up before a plan is made; None where nothing does.

    `backups` in any order, failed attempts among them; `now` is this clock's, `store_now` the store's; `accepted` are the
    ids of the backups that a person accepted.
    """
    ordered = sorted(backups, key=lambda backup: (backup.made_at, backup.id))
    committed = [backup for backup in ordered if backup.is_committed]
    if suspended:
        return Paused(Pause.SUSPENDED, "the policy is suspended: backups that are not made replace none")
    if abs(now - store_now) > CLOCK_TOLERANCE:
        return Paused(
            Pause.CLOCKS_DIFFER,
            f"this clock says {print_time(now)} and the store's {print_time(store_now)}: set the one that is wrong",
        )
    ended = [backup for backup in ordered if backup.outcome in (Outcome.SUCCEEDED, Outcome.FAILED)]
    if ended and ended[-1].outcome is Outcome.FAILED:
        return Paused(
            Pause.LAST_ATTEMPT_FAILED,
            f"the last attempt, {ended[-1].id}, failed: what is there is not removed before the next one succeeds",
        )
    if committed and committed[-1].odd:
        newest = committed[-1].id
        return Paused(
            Pause.NEWEST_IS_ODD,
            f"the newest backup, {newest}, is odd: look at it, and `resguardo accept {newest}` if it is well",
        )
    return _source_changed(committed, accepted)


def _source_changed(committed: Sequence[BackupFacts], accepted: frozenset[str]) -> Paused | None:
    """Whether another database answers to the name since some backup, and nobody has accepted one of that database."""
    if not committed:
        return None
    present = committed[-1].source
    others = [number for number, backup in enumerate(committed) if backup.source != present]
    if not others:
        return None
    since_then = committed[others[-1] + 1 :]
    if any(backup.id in accepted for backup in since_then):
        return None
    first = since_then[0].id
    return Paused(
        Pause.SOURCE_CHANGED,
        f"since {first} the backups are of another database ({present}, before {committed[others[-1]].source}): if that is "
        f"meant, `resguardo accept {since_then[-1].id}`",
    )


def too_much_at_once(plan: Plan, *, accepted: Collection[str | None]) -> Paused | None:
    """Whether a plan would remove so much that a person has to accept exactly that plan first; `accepted` are plans' hashes."""
    there = [verdict.backup for verdict in plan.verdicts if verdict.backup.is_committed]
    going = plan.unclaimed
    if len(going) <= SHARE_MAX * len(there) or plan.hash in accepted:
        return None
    return Paused(
        Pause.TOO_MUCH_AT_ONCE,
        f"{len(going)} of {len(there)} backups would go at once: look at them with `resguardo retention --dry-run`, and "
        f"accept them with `resguardo accept-plan {plan.hash}`",
    )
