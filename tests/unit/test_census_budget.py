"""How long a backup counts and waits, by its timeout."""

from __future__ import annotations

from datetime import timedelta

import pytest

from resguardo.rules.census_budget import census_budget, lock_timeout

S, M, H = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


@pytest.mark.parametrize(
    ("timeout", "budget", "lock"),
    [
        (10 * S, 10 * S, 10 * S),
        (99 * S, 10 * S, 10 * S),
        (100 * S, 10 * S, 10 * S),
        (110 * S, 11 * S, 11 * S),
        (50 * M, 5 * M, 5 * M),
        (51 * M, 5.1 * M, 5 * M),
        (6 * H, 36 * M, 5 * M),
        (168 * H, 16.8 * H, 5 * M),
    ],
)
def test_a_tenth_within_bounds(timeout: timedelta, budget: timedelta, lock: timedelta) -> None:
    assert census_budget(timeout) == budget
    assert lock_timeout(timeout) == lock
