"""One task from start to Report: its deadline, a polite stop, and an end that can be read, whatever happens.

Deadline (SIGALRM) and stop (SIGTERM, SIGINT) are raised as Interrupted in the main thread, wherever it is and once, so that
every context manager on the way cleans up: uploads are aborted, processes ended. What must not be left half done, such as a
temporary database, goes at the end (Context.at_end), when nothing is raised any more.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import FrameType

import structlog

from resguardo.api.durations import print_duration
from resguardo.api.errors import NO_ROOM, DeadlineExceeded, DiskFull, ResguardoError, Stopped
from resguardo.api.policy import BackupPolicy, BackupSummary, Inventory, PolicyWarning, RetentionSummary
from resguardo.api.report import Report, RestoreOutcome, Subject, Task
from resguardo.api.request import RestoreRequest
from resguardo.jobs.credentials import Credentials
from resguardo.jobs.progress import Progress

log = structlog.get_logger()

INTERNAL_ERROR = "InternalError"


class Interrupted(BaseException):
    """A stop or a deadline, on its way from where it came to where the task ends.

    No Exception: botocore takes each of those that comes during a request for one of the request's, and asks again.
    """

    def __init__(self, error: DeadlineExceeded | Stopped) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class Findings:
    """What a task has learned so far; a Report carries it even when the task fails after."""

    backup: BackupSummary | None = None
    newest_backup: BackupSummary | None = None
    newest_jobs: list[str] = field(default_factory=list)
    inventory: Inventory | None = None
    warnings: list[PolicyWarning] = field(default_factory=list)
    restore: RestoreOutcome | None = None
    retention: RetentionSummary | None = None
    #: The reason and message of success.
    reason: str = "Succeeded"
    message: str = ""


@dataclass(frozen=True)
class Outcome:
    """A task's Report and the exit status that goes with it."""

    report: Report
    exit_status: int


@dataclass
class Deadline:
    """When a task must be done. What it commits is never taken back, nor reported as stopped or late."""

    at: datetime
    timeout: timedelta
    _enforced: bool = field(default=False, init=False)
    _held: bool = field(default=False, init=False)
    _committed: bool = field(default=False, init=False)
    _pending: DeadlineExceeded | Stopped | None = field(default=None, init=False)

    @contextmanager
    def commit(self) -> Iterator[None]:
        """Let nothing interrupt the block: for the one write that makes a backup count, and the one rename.

        Raises what is due before the block. Once the block has succeeded nothing is raised any more: what is left to do
        is short, each call has its own deadline, and a signal between two lines must not make a failure of what stands.
        """
        self.check()
        self._held = True
        try:
            yield
            self._committed = True
        finally:
            self._held = False

    def check(self) -> None:
        """Raise what is due: DeadlineExceeded when the time is over. Nothing once something was committed."""
        if self._committed:
            return
        if self._pending is not None:
            raise self._pending
        if datetime.now(UTC) >= self.at:
            raise self._exceeded()

    def _exceeded(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"not done within {print_duration(self.timeout)}, the timeout; nothing was committed. "
            "Raise spec.timeout, or look in the log for what takes the time"
        )

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        stopped = Stopped(f"told to stop by {name}; nothing was committed")
        error = self._exceeded() if number == signal.SIGALRM else stopped
        if self._held or self._committed or not self._enforced:
            self._pending = error
            return
        # A second signal must not cut the clean-up short; the kubelet's SIGKILL is the bound of that.
        self._enforced = False
        raise Interrupted(error)

    def take_signals(self) -> None:
        """Let no signal end the process from now on, to its end: outside enforced() they are noted. Only in the main thread.

        So a Report is written whatever comes, and nothing that was done is told as stopped.
        """
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """Interrupt the block when a deadline or stop is due, once, and raise DeadlineExceeded or Stopped. After take_signals()."""
        try:
            # Within the block, so that nothing which comes between two lines gets past it, and ends the process without a Report.
            self._enforced = True
            signal.setitimer(signal.ITIMER_REAL, max(0.001, (self.at - datetime.now(UTC)).total_seconds()))
            self.check()  # one that came just before
            yield
        except Interrupted as interrupted:
            raise interrupted.error from interrupted
        finally:
            self._enforced = False
            signal.setitimer(signal.ITIMER_REAL, 0)


@dataclass(frozen=True)
class Context:
    """What every task is given: credentials to use, a place for findings, its deadline, somebody to tell.

    `at_end` is left once the work has ended, however it did: by then no stop and no deadline interrupts any more.
    """

    credentials: Credentials
    findings: Findings
    deadline: Deadline
    progress: Progress
    at_end: ExitStack


def perform(
    task: Task,
    subject: Subject,
    work: Callable[[Context], None],
    *,
    timeout: timedelta,
    credentials: Credentials,
    progress: Progress,
) -> Outcome:
    """Run a task and say how it ended; the process is to end after it, since it takes no more signals.

    Never raises: an unexpected error is a Report of InternalError, and is logged.
    """
    started_at = datetime.now(UTC)
    findings = Findings()
    deadline = Deadline(started_at + timeout, timeout)
    at_end = ExitStack()
    reason, message, exit_status = "", "", 0
    deadline.take_signals()
    try:
        with deadline.enforced(), _disk_errors():
            work(Context(credentials, findings, deadline, progress, at_end))
        reason, message = findings.reason, findings.message
    except ResguardoError as error:
        reason, message, exit_status = error.reason, str(error), error.exit_status
        log.error("failed", task=task, reason=reason, message=message)  # noqa: TRY400 - the message says it all
    except Exception as unexpected:
        log.exception("unexpected error", task=task)
        reason, exit_status = INTERNAL_ERROR, 1
        message = f"{type(unexpected).__name__}: {unexpected}; this is a defect, please report it with the pod's log"
    try:
        at_end.close()
    except Exception:
        # What was done is done, and what failed has its reason.
        log.exception("not everything could be cleaned up", task=task)
    report = Report(
        task=task,
        succeeded=exit_status == 0,
        reason=reason,
        message=message,
        subject=subject,
        started_at=started_at,
        completed_at=datetime.now(UTC),
        backup=findings.backup,
        newest_backup=findings.newest_backup,
        newest_jobs=findings.newest_jobs,
        inventory=findings.inventory,
        warnings=findings.warnings,
        restore=findings.restore,
        retention=findings.retention,
    )
    return Outcome(report, exit_status)


@contextmanager
def _disk_errors() -> Iterator[None]:
    """A disk that is full is nobody's defect: say so, and where."""
    try:
        yield
    except OSError as error:
        # tempfile tries /tmp, /var/tmp and the rest, and says it with the errno of a file that is not there.
        if error.errno in NO_ROOM or "No usable temporary directory" in str(error):
            raise DiskFull.of(error) from error
        raise


def subject_of(document: BackupPolicy | RestoreRequest) -> Subject:
    """Who a policy or request is, for the Report to echo."""
    return Subject(
        uid=document.metadata.uid,
        generation=document.metadata.generation,
        hash=document.hash if isinstance(document, BackupPolicy) else document.fingerprint,
    )


def failure_report(task: Task, error: ResguardoError) -> Report:
    """The Report of a task that could not begin, since its document cannot be read."""
    now = datetime.now(UTC)
    return Report(
        task=task,
        succeeded=False,
        reason=error.reason,
        message=str(error),
        subject=Subject(),
        started_at=now,
        completed_at=now,
    )
