"""One pipeline of processes, from its start to its last process's end: wall time, and the memory of the whole family."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.05


class RunFailed(Exception):
    """A process of the pipeline ended with something else than 0."""


@dataclass(frozen=True)
class Run:
    """What one run took. Memory is the largest sum of resident pages seen, of all processes and their children."""

    seconds: float
    peak_bytes: int


def measure(
    *pipeline: Sequence[str],
    environment: Mapping[str, str],
    stdin: Path | None = None,
    stdout: Path | None = None,
    limit_seconds: float,
) -> Run:
    """Run processes joined by pipes; the first reads `stdin`, the last writes `stdout`. Raises RunFailed."""
    began = time.monotonic()
    with (
        (stdin or Path("/dev/null")).open("rb") as first,
        (stdout or Path("/dev/null")).open("wb") as last,
        tempfile.TemporaryFile() as said,
    ):
        processes = _start(pipeline, environment, first.fileno(), last.fileno(), said.fileno())
        watch = _Watch([process.pid for process in processes])
        watch.start()
        try:
            for process in processes:
                process.wait(max(1, limit_seconds - (time.monotonic() - began)))
        finally:
            took = time.monotonic() - began
            watch.stop()
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        for argv, process in zip(pipeline, processes, strict=True):
            if process.returncode != 0:
                said.seek(0)
                words = said.read().decode(errors="replace")[-4000:]
                raise RunFailed(f"{' '.join(argv)} ended with {process.returncode}:\n{words}")
    return Run(took, watch.peak_bytes)


def _start(
    pipeline: Sequence[Sequence[str]], environment: Mapping[str, str], first: int, last: int, said: int
) -> list[subprocess.Popen[bytes]]:
    processes: list[subprocess.Popen[bytes]] = []
    for position, argv in enumerate(pipeline):
        before = processes[-1].stdout if processes else None
        is_last = position == len(pipeline) - 1
        processes.append(
            subprocess.Popen(
                list(argv),
                stdin=before or first,
                stdout=last if is_last else subprocess.PIPE,
                stderr=said,
                env=dict(environment),
            )
        )
        if before:
            before.close()  # so that a process hears it when the next one ends
    return processes


class _Watch(threading.Thread):
    """Looks at the family again and again; a peak between two looks is missed."""

    def __init__(self, roots: Sequence[int]) -> None:
        super().__init__(daemon=True)
        self._roots = roots
        self._done = threading.Event()
        self.peak_bytes = 0

    def run(self) -> None:
        """Until stopped."""
        while not self._done.wait(SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, sum(_proportional_bytes(pid) for pid in _family(self._roots)))

    def stop(self) -> None:
        """Stop looking."""
        self._done.set()
        self.join()


def _family(roots: Sequence[int]) -> Iterator[int]:
    for pid in roots:
        yield pid
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            yield from _family([child for child in map(int, _read(children).split()) if not _is_python(child)])


def _proportional_bytes(pid: int) -> int:
    """Of a page that several processes share each is given its part."""
    rollup = _read(Path(f"/proc/{pid}/smaps_rollup"))
    shares = [line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")]
    return int(shares[0]) * 1024 if shares else 0


def _is_python(pid: int) -> bool:
    """Of a child: that it has not become another program yet, and so is its parent's memory once more (vfork). None stays one."""
    try:
        return Path(f"/proc/{pid}/exe").samefile(sys.executable)
    except OSError:  # ended in between
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # ended in between
        return ""
