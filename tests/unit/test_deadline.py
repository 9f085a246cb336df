"""A stop or a deadline, at the worst moments: before, while and after a task commits."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resguardo.api.errors import DeadlineExceeded, LockTimeout, ResguardoError, Stopped
from resguardo.api.report import Subject, Task
from resguardo.jobs.credentials import Credentials
from resguardo.jobs.progress import LogProgress
from resguardo.jobs.task import Context, Deadline, Interrupted, Outcome, perform

NUMBERS = [signal.SIGTERM, signal.SIGINT, signal.SIGALRM]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """A command ends with its task; this process goes on."""
    former = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.fixture
def deadline() -> Deadline:
    deadline = Deadline(datetime.now(UTC) + timedelta(hours=1), timedelta(hours=1))
    deadline.take_signals()
    return deadline


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_before_the_commit_is_raised_where_it_arrives(deadline: Deadline, number: signal.Signals) -> None:
    with pytest.raises(Stopped, match=number.name), deadline.enforced():
        signal.raise_signal(number)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_library_that_catches_every_error_does_not_take_it_for_one_of_its_own(number: signal.Signals) -> None:
    def work(context: Context) -> None:
        try:
            signal.raise_signal(number)
        except Exception:
            context.findings.message = "asked again"

    assert perform_it(work).report.reason in ("Stopped", "DeadlineExceeded")


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


@pytest.mark.parametrize("number", NUMBERS)
def test_what_comes_before_the_work_is_raised_once_it_begins(deadline: Deadline, number: signal.Signals) -> None:
    signal.raise_signal(number)
    with pytest.raises((Stopped, DeadlineExceeded)), deadline.enforced():
        pytest.fail("it began")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("fails", [False, True], ids=["work that succeeded", "work that failed"])
def test_what_comes_after_the_work_changes_neither_its_end_nor_its_cleaning_up(
    number: signal.Signals, fails: bool
) -> None:
    cleaned = []

    def work(context: Context) -> None:
        context.at_end.callback(lambda: (signal.raise_signal(number), cleaned.append("here")))
        context.findings.message = "done"
        if fails:
            raise LockTimeout("in the way")

    outcome = perform_it(work)
    signal.raise_signal(number)  # while the Report is written
    assert cleaned == ["here"]
    assert (outcome.exit_status == 0, outcome.report.message) == ((False, "in the way") if fails else (True, "done"))


def test_a_stop_is_one_error_and_what_follows_cuts_no_cleaning_up_short() -> None:
    cleaned = []

    def work(_context: Context) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            for number in NUMBERS:
                signal.raise_signal(number)
            cleaned.append("here")

    assert perform_it(work).report.reason == "Stopped"
    assert cleaned == ["here"]


def test_cleaning_up_that_fails_changes_nothing_of_how_the_work_ended() -> None:
    def work(context: Context) -> None:
        context.at_end.callback(lambda: 1 / 0)
        context.findings.message = "done"

    assert perform_it(work).report.message == "done"


def perform_it(work: Callable[[Context], None]) -> Outcome:
    return perform(
        Task.CHECK, Subject(), work,
        timeout=timedelta(hours=1), credentials=Credentials(Path("/nowhere"), {}), progress=LogProgress(),
    )  # fmt: skip


def test_a_deadline_that_passes_after_the_commit_takes_nothing_back() -> None:
    deadline = Deadline(datetime.now(UTC) + timedelta(hours=1), timedelta(hours=1))
    with deadline.commit():
        deadline.at = datetime.now(UTC) - timedelta(seconds=1)
    deadline.check()


def test_a_stop_after_a_commit_that_failed_is_raised_again(deadline: Deadline) -> None:
    with deadline.enforced():
        with pytest.raises(RuntimeError):
            _fail_to_commit(deadline)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)


def _fail_to_commit(deadline: Deadline, *numbers: signal.Signals) -> None:
    with deadline.commit():
        for number in numbers:
            signal.raise_signal(number)
        raise RuntimeError("the commit failed")
