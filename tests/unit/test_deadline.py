"""A stop or a deadline, at the worst moments: before, while and after a task commits."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta

import pytest

from resguardo.api.errors import DeadlineExceeded, ResguardoError, Stopped
from resguardo.jobs.task import Deadline


@pytest.fixture
def deadline() -> Deadline:
    return Deadline(datetime.now(UTC) + timedelta(hours=1), timedelta(hours=1))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_before_the_commit_is_raised_where_it_arrives(deadline: Deadline, number: signal.Signals) -> None:
    with pytest.raises(Stopped, match=number.name), deadline.enforced():
        signal.raise_signal(number)


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGTERM, Stopped), (signal.SIGALRM, DeadlineExceeded)],
    ids=lambda item: item.__name__ if isinstance(item, type) else item.name,
)
def test_what_is_due_before_the_commit_keeps_it_from_beginning(
    deadline: Deadline, number: signal.Signals, error: type[ResguardoError]
) -> None:
    begun = False
    with deadline.enforced():
        with pytest.raises(RuntimeError):
            _fail_to_commit(deadline, number)
        with pytest.raises(error), deadline.commit():
            begun = True
    assert not begun


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGALRM])
def test_nothing_is_raised_from_within_the_commit_on(deadline: Deadline, number: signal.Signals) -> None:
    with deadline.enforced():
        with deadline.commit():
            signal.raise_signal(number)
        signal.raise_signal(number)
        deadline.check()


def test_a_deadline_that_passes_after_the_commit_takes_nothing_back() -> None:
    deadline = Deadline(datetime.now(UTC) + timedelta(hours=1), timedelta(hours=1))
    with deadline.commit():
        deadline.at = datetime.now(UTC) - timedelta(seconds=1)
    deadline.check()


def test_a_stop_after_a_commit_that_failed_is_raised_again(deadline: Deadline) -> None:
    with deadline.enforced():
        with pytest.raises(RuntimeError):
            _fail_to_commit(deadline)
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGTERM)


def _fail_to_commit(deadline: Deadline, *numbers: signal.Signals) -> None:
    with deadline.commit():
        for number in numbers:
            signal.raise_signal(number)
        raise RuntimeError("the commit failed")
