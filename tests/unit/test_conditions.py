"""Conditions keep the time of their last transition, and fit into status."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from resguardo.api.conditions import MESSAGE_MAX, ConditionStatus
from resguardo.rules.conditions import Verdict, find, merge

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (Verdict(TRUE, "A", "a"), Verdict(TRUE, "B", "b"), False),
        (Verdict(FALSE, "A", "a"), Verdict(FALSE, "B", "b"), False),
        (Verdict(TRUE, "A", "a"), Verdict(FALSE, "A", "a"), True),
        (Verdict(UNKNOWN, "A", "a"), Verdict(FALSE, "A", "a"), True),
    ],
)
def test_only_another_status_is_a_transition(before: Verdict, after: Verdict, changed: bool) -> None:
    first = merge([], {"Ready": before}, generation=1, now=NOW)
    (second,) = merge(first, {"Ready": after}, generation=2, now=LATER)
    assert (second.last_transition_time > NOW) is changed
    assert (second.reason, second.message, second.observed_generation) == (after.reason, after.message, 2)


def test_a_time_is_as_it_will_be_read_back() -> None:
    (condition,) = merge([], {"Ready": Verdict(TRUE, "A", "a")}, generation=1, now=NOW)
    assert condition.last_transition_time.microsecond == 0


def test_what_is_not_named_any_more_is_dropped() -> None:
    first = merge([], {"Ready": Verdict(TRUE, "A", "a"), "Stalled": Verdict(TRUE, "A", "a")}, generation=1, now=NOW)
    second = merge(first, {"Ready": Verdict(TRUE, "A", "a"), "Stalled": None}, generation=1, now=NOW)
    assert [condition.type for condition in second] == ["Ready"]
    assert find(second, "Stalled") is None


def test_the_longest_message_fits() -> None:
    (condition,) = merge([], {"Ready": Verdict(TRUE, "R" * 100, "ü" * 5000)}, generation=1, now=NOW)
    assert len(condition.message) == MESSAGE_MAX
    assert len(condition.reason) == 64
