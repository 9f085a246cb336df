"""The operator as a process of its own, and what it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from bench.scale.ready import until_ready
from tests.fixtures.servers import free_port

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class OperatorProcess:
    """A running operator."""

    pid: int

    @property
    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_BYTES

    @property
    def peak_bytes(self) -> int:
        """The most that it ever held."""
        (line,) = (
            line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if line.startswith("VmHWM")
        )
        return int(line.split()[1]) * 1024

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def operator(kubeconfig: Path, log: Path) -> Iterator[OperatorProcess]:
    """For all namespaces. Ended by SIGTERM when the block is left."""
    port = free_port()
    with log.open("ab") as file:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "resguardo.controller", "--image", "example"),
                *("--liveness-port", str(port), "--metrics-port", str(free_port())),
            ],
            env={**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            with requests.Session() as session:
                until_ready(process, f"http://127.0.0.1:{port}/healthz", log, session)
            yield OperatorProcess(process.pid)
        finally:
            process.terminate()
            process.wait(60)
