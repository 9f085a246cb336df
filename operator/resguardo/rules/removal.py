"""What the next step is for each backup that is to go, or was to: marked, taken back, removed once its grace is over."""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from resguardo.rules.retention import Plan, Rule, Verdict


class Decision(StrEnum):
    """What becomes of a marked backup."""

    PURGE = "Purge"
    UNDELETE = "Undelete"


class Step(StrEnum):
    """What is to be done about one backup."""

    MARK = "mark"
    TAKE_BACK = "take back"
    PURGE = "purge"
    #: It is marked, and stays so for now.
    WAIT = "wait"


class Marked(Protocol):
    """A backup that is marked; times are the store's."""

    @property
    def goes_at(self) -> datetime:
        """When its grace is over."""

    @property
    def decision(self) -> Decision | None:
        """What was decided; None while nobody has."""


def next_steps(
    plan: Plan, marked: Mapping[str, Marked], *, store_now: datetime, untouched: Set[str] = frozenset()
) -> dict[str, Step]:
    """The step of each backup that has one, by id. `untouched` are those whose markers nobody can read.

    What was decided is carried out, whatever the plan says now. A pause takes no mark back and removes nothing.
    """
    verdicts = {verdict.backup.id: verdict for verdict in plan.verdicts}
    steps = {backup.id: Step.MARK for backup in plan.removed if backup.id not in marked}
    for backup_id, mark in marked.items():
        steps[backup_id] = _step_of_marked(verdicts.get(backup_id), mark, store_now)
    return {backup_id: step for backup_id, step in sorted(steps.items()) if backup_id not in untouched}


def _step_of_marked(verdict: Verdict | None, mark: Marked, store_now: datetime) -> Step:
    if mark.decision is not None:
        return Step.PURGE if mark.decision is Decision.PURGE else Step.TAKE_BACK
    # No verdict: its manifest is gone already.
    if verdict is not None and verdict.keep:
        return Step.WAIT if is_held_by_pause(verdict) else Step.TAKE_BACK
    return Step.PURGE if store_now >= mark.goes_at else Step.WAIT


def is_held_by_pause(verdict: Verdict) -> bool:
    """Whether nothing but a pause keeps the backup."""
    return verdict.keep and all(reason.rule in (Rule.PAUSED, Rule.SUSPENDED) for reason in verdict.reasons)


def unmarked(plan: Plan, marked: Set[str]) -> Plan:
    """The plan without what is marked: of those a person who looks at the plan has already been told."""
    return Plan(tuple(verdict for verdict in plan.verdicts if verdict.backup.id not in marked))
