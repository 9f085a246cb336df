"""A conditional write that was refused, and what stands where it was to be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from resguardo.api.errors import ObjectCorrupt
from resguardo.store.conflict import confirmed, may_be_ours
from resguardo.store.protocol import ObjectInfo, Stored

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "since", "is_ours"),
    [
        (0.0, 0.0, True),
        # Received at 04:59:58.999 and looked at at 05:00:00.000 of the store's: two seconds by its whole ones, and 1.001 in truth.
        (2.0, 1.001, True),
        (1.0, 0.0, False),
        (60.0, 59.001, True),
        (60.0, 59.0, False),
        (7 * 86400.0, 3600.0, False),
        # A clock that was set back.
        (-5.0, 0.0, True),
    ],
)
def test_what_the_store_received_since_it_was_opened_may_be_ours(age: float, since: float, is_ours: bool) -> None:
    """Both times of the store's are whole seconds: what is ours is never taken for older."""
    store: Any = SimpleNamespace(clock=lambda: NOW)
    stored = Stored(b"x", '"1"', NOW - timedelta(seconds=age))
    assert may_be_ours(store, stored, since=timedelta(seconds=since)) is is_ours


@pytest.mark.parametrize(
    ("there", "told"),
    [(None, "it is not there, although"), (ObjectInfo("x", 1, '"2"', NOW), "it is another object than the one")],
)
def test_what_is_not_there_as_it_was_written_is_corrupt(there: ObjectInfo | None, told: str) -> None:
    with pytest.raises(ObjectCorrupt, match=told):
        confirmed(there, '"1"', name="it")


def test_what_is_there_as_it_was_written_is_given() -> None:
    there = ObjectInfo("x", 1, '"1"', NOW)
    assert confirmed(there, "1", name="it") is there
