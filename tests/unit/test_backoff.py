"""Waits: doubling, bounded, spread by the seed and the same each time they are asked for."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from resguardo.rules.backoff import delay

FIRST, MOST = timedelta(seconds=15), timedelta(minutes=5)


@given(attempt=st.integers(min_value=0, max_value=10**9), seed=st.text(max_size=40))
def test_a_wait_is_never_shorter_than_the_first_nor_longer_than_the_longest_and_a_fifth(
    attempt: int, seed: str
) -> None:
    assert FIRST <= delay(attempt, first=FIRST, most=MOST, seed=seed) <= MOST * 1.2


@given(attempt=st.integers(min_value=1, max_value=10**6), seed=st.text(max_size=40))
def test_the_same_question_has_the_same_answer(attempt: int, seed: str) -> None:
    asked = {delay(attempt, first=FIRST, most=MOST, seed=seed) for _ in range(2)}
    assert len(asked) == 1


def test_three_hundred_policies_do_not_come_back_at_once() -> None:
    waits = {delay(6, first=FIRST, most=MOST, seed=f"uid-{number}") for number in range(300)}
    assert len(waits) > 100
    assert max(waits) - min(waits) > timedelta(seconds=50)
