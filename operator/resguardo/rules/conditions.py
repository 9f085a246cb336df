"""Conditions as lists: the time of a transition changes only when the status does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from resguardo.api.conditions import MESSAGE_MAX, Condition, ConditionStatus
from resguardo.api.text import printable_lines


@dataclass(frozen=True)
class Verdict:
    """What is so, without the time since when."""

    status: ConditionStatus
    reason: str
    message: str


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of a type, where there is one."""
    return next((condition for condition in conditions if condition.type == kind), None)


def merge(
    previous: Iterable[Condition], verdicts: dict[str, Verdict | None], *, generation: int, now: datetime
) -> list[Condition]:
    """The conditions of `verdicts` in its order; None leaves a type out, types that it does not name are dropped.

    A condition whose status stays keeps the time of its last transition (API conventions).
    """
    before = {condition.type: condition for condition in previous}
    return [
        Condition(
            type=kind,
            status=verdict.status,
            reason=verdict.reason[:64],
            message=_cut(printable_lines(verdict.message)),
            observed_generation=generation,
            last_transition_time=_since(before.get(kind), verdict, now),
        )
        for kind, verdict in verdicts.items()
        if verdict is not None
    ]


def _since(before: Condition | None, verdict: Verdict, now: datetime) -> datetime:
    if before is not None and before.status == verdict.status:
        return before.last_transition_time
    # As it will be read back: a time with fractions would differ from itself.
    return now.replace(microsecond=0)


def _cut(message: str) -> str:
    return message if len(message) <= MESSAGE_MAX else message[: MESSAGE_MAX - 1] + "…"
