"""The one door for external commands: PostgreSQL's client programs, their streams, their exit status, their last words.

A child gets an environment made here and nothing of the parent's: no PG* or AWS* variable leaks in. It runs in a process
group of its own, and its stderr is read all the time, so that a chatty program can never block on it.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, cast

import structlog

from resguardo.api.errors import DeadlineExceeded, PostgresError, ToolMissing
from resguardo.postgres.last_words import last_words

log = structlog.get_logger()

PIPE: Final = subprocess.PIPE
DEVNULL: Final = subprocess.DEVNULL

#: How much of the end of stderr is kept for messages.
STDERR_TAIL_BYTES = 64 * 1024
#: How much of stdout `run` keeps; a program that says more than this is not one whose answer fits in memory.
STDOUT_MAX_BYTES = 64 * 1024 * 1024
#: How long a program may take to end after SIGTERM.
TERMINATION_SECONDS = 5.0
#: Where Debian's packages put the client programs of each major version, side by side: `15/bin/pg_dump`.
_DEBIAN_VERSIONS = "/usr/lib/postgresql"
#: Names another such folder, for client programs that were not installed.
FOLDER_VARIABLE = "RESGUARDO_POSTGRESQL"
_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def tool(name: str, *, major: int | None = None) -> str:
    """The path of a client program of the major version that fits: `major`, or the next newer one, or else the newest.

    A newer pg_dump reads an older server, but what it writes, and what a newer pg_restore says, an older server may not
    take: so no newer than is needed. Without `major`: the newest. Where Debian's packages put none side by side, the one
    on PATH. Raises ToolMissing.
    """
    installed = _installed(Path(os.environ.get(FOLDER_VARIABLE) or _DEBIAN_VERSIONS), name)
    if installed:
        fitting = [version for version in installed if major is not None and version >= major]
        return installed[min(fitting, default=max(installed))]
    if found := shutil.which(name):
        return found
    raise ToolMissing(f"{name} is not installed: install PostgreSQL's client programs in the server's major version")


@cache
def _installed(folder: Path, name: str) -> dict[int, str]:
    """By major version, the path of a client program."""
    return {
        int(programs.parent.name): str(programs / name)
        for programs in folder.glob("*/bin")
        if re.fullmatch(r"[0-9]+", programs.parent.name) and os.access(programs / name, os.X_OK)
    }


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """All that a child sees: where programs are, messages in English, a home; and what the caller gives."""
    return {
        "PATH": os.environ.get("PATH", _SEARCH_PATH),
        "HOME": os.environ.get("HOME", "/tmp"),  # noqa: S108 - a pod's HOME, where none is set
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        **extra,
    }


def seconds_until(deadline: datetime | float) -> float:
    """Seconds left, never below zero. A deadline is an aware datetime, or seconds of time.monotonic()."""
    if isinstance(deadline, datetime):
        return max(0.0, (deadline - datetime.now(UTC)).total_seconds())
    return max(0.0, deadline - time.monotonic())


class Process:
    """A running program. As a context manager it is killed when the block ends with an error, or before the program."""

    def __init__(self, argv: Sequence[str], popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.name = Path(argv[0]).name
        self._log = log.bind(program=self.name, pid=popen.pid)
        self._tail = bytearray()
        self._tail_lock = threading.Lock()
        self._reader = threading.Thread(target=self._read_stderr, name=f"stderr of {self.name}", daemon=True)
        self._reader.start()

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdin: int | IO[bytes] | None = None,
        stdout: int | IO[bytes] = PIPE,
        pass_fds: Sequence[int] = (),
    ) -> Process:
        """Start a program. `environment` is added to a clean one; stdin None is the null device, never the terminal.

        Raises ToolMissing where there is no such program.
        """
        try:
            popen = subprocess.Popen(
                list(argv),
                env=child_environment(environment),
                stdin=DEVNULL if stdin is None else stdin,
                stdout=stdout,
                stderr=PIPE,
                pass_fds=tuple(pass_fds),
                process_group=0,
            )
        except (FileNotFoundError, PermissionError) as error:
            raise ToolMissing(f"{argv[0]} cannot be started: {error.strerror}") from None
        return cls(argv, popen)

    @property
    def pid(self) -> int:
        """The program's process id, which is its process group too."""
        return self._popen.pid

    @property
    def stdin(self) -> IO[bytes]:
        """The stream that the program reads; only with stdin=PIPE."""
        if self._popen.stdin is None:
            raise ValueError(f"{self.name} was started without a pipe to its stdin")
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The stream that the program writes; only with stdout=PIPE. Read it to its end before wait()."""
        if self._popen.stdout is None:
            raise ValueError(f"{self.name} was started without a pipe from its stdout")
        return self._popen.stdout

    @property
    def exit_status(self) -> int | None:
        """The exit status; negative: the signal that ended it; None while it runs."""
        return self._popen.poll()

    @property
    def stderr_tail(self) -> str:
        """The last 64 KiB of what the program said on stderr."""
        with self._tail_lock:
            return self._tail.decode(errors="replace")

    def feed(self, chunks: Iterable[bytes]) -> None:
        """Write to stdin and close it. A program that stopped reading is no error here: its exit status tells why."""
        for chunk in chunks:
            try:
                self.stdin.write(chunk)
            except (BrokenPipeError, ValueError):  # ValueError: closed by kill(), from another thread
                break
        self.close_stdin()

    def close_stdin(self) -> None:
        """Close the program's stdin; also when it has already stopped reading."""
        with suppress(BrokenPipeError):
            self.stdin.close()

    def wait(self, deadline: datetime | float) -> int:
        """Wait for the end and give the exit status, with all of stderr read. Kills and raises DeadlineExceeded past it."""
        try:
            status = self._popen.wait(timeout=seconds_until(deadline))
        except subprocess.TimeoutExpired:
            self.kill()
            raise self.late() from None
        # A grandchild may have inherited stderr and keep it open: what matters has been said by then.
        self._reader.join(timeout=TERMINATION_SECONDS)
        if status == 0:
            self._log.debug("ended", exit_status=status)
        else:
            # All of it, since the Report gets only what quotes no data.
            self._log.warning("ended", exit_status=status, stderr=self.stderr_tail)
        return status

    def late(self) -> DeadlineExceeded:
        """The error of a program that was ended because its time was over."""
        return DeadlineExceeded(
            f"{self.name} was not done within the time allowed and was ended. Its last words: {words_to_tell(self, 1000)}"
        )

    def kill(self) -> None:
        """End the program and its children: SIGTERM, five seconds, SIGKILL. Does nothing once it has ended."""
        if self._popen.poll() is None:
            self._signal(signal.SIGTERM)
            try:
                self._popen.wait(timeout=TERMINATION_SECONDS)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._popen.wait()
        self._close_streams()
        self._reader.join(timeout=TERMINATION_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        # The leader has not been waited for, so its group cannot be anybody else's yet.
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, number)

    def _close_streams(self) -> None:
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream is not None:
                with suppress(OSError, ValueError):
                    stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.kill()

    def _read_stderr(self) -> None:
        stream = self._popen.stderr
        if stream is None:
            raise AssertionError("stderr is always a pipe")
        with stream:
            # Bounded, so that a line without an end cannot fill the memory.
            while line := stream.readline(STDERR_TAIL_BYTES):
                with self._tail_lock:
                    self._tail += line
                    del self._tail[:-STDERR_TAIL_BYTES]
                self._log.debug("stderr", line=line.decode(errors="replace").rstrip())


def words_to_tell(ended: Process | Finished, max_characters: int) -> str:
    """The end of what a program said on stderr, as far as it may leave the pod; the whole of it is in the log."""
    tail = ended.stderr_tail
    return last_words(tail, max_characters, is_whole=len(tail.encode()) < STDERR_TAIL_BYTES)


@dataclass(frozen=True)
class Finished:
    """A program that has ended by itself."""

    exit_status: int
    stdout: bytes
    stderr_tail: str


def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    deadline: datetime | float,
    input: Iterable[bytes] | None = None,  # noqa: A002 - the word that subprocess has taught everybody
    stdout_max_bytes: int = STDOUT_MAX_BYTES,
) -> Finished:
    """Run a program to its end, giving it `input` and keeping what it says. Never raises for an exit status.

    Raises DeadlineExceeded, ToolMissing, and PostgresError where stdout is longer than `stdout_max_bytes`. An error of the
    input's own iterator is raised as it is, after the program was ended: a program must never take half an input for all.
    """
    with Process.start(argv, environment=environment, stdin=None if input is None else PIPE) as process:
        is_late = threading.Event()

        def end_late() -> None:
            is_late.set()
            process.kill()

        # Both ends of the pipes may block for ever, so the deadline is kept by somebody who does not wait for them.
        alarm = threading.Timer(seconds_until(deadline), end_late)
        alarm.daemon = True
        alarm.start()
        try:
            answer = _Answer(process, stdout_max_bytes)
            if input is not None:
                process.feed(input)
            stdout = answer.read()
            status = process.wait(deadline)
        finally:
            alarm.cancel()
        if is_late.is_set():
            raise process.late()
        return Finished(status, stdout, process.stderr_tail)


class _Answer:
    """A thread that reads a program's stdout while its stdin is written."""

    def __init__(self, process: Process, max_bytes: int) -> None:
        self._process = process
        self._max_bytes = max_bytes
        self._bytes = bytearray()
        self._is_too_long = False
        self._thread = threading.Thread(target=self._read, name=f"stdout of {process.name}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        stdout = cast(io.BufferedReader, self._process.stdout)
        with suppress(OSError, ValueError):  # ValueError: closed by kill(), from another thread
            while chunk := stdout.read1(65536):
                self._bytes += chunk
                if len(self._bytes) > self._max_bytes:
                    self._is_too_long = True
                    self._process.kill()
                    return

    def read(self) -> bytes:
        self._thread.join()
        if self._is_too_long:
            raise PostgresError(f"{self._process.name} answered with more than {self._max_bytes} bytes")
        return bytes(self._bytes)
