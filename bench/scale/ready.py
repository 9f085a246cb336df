"""Waiting for a server of the bench's own that was started a moment ago."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import requests

READY_SECONDS = 90


def until_ready(process: subprocess.Popen[bytes], url: str, log: Path, session: requests.Session) -> None:
    """Return when `url` answers 200. Raises RuntimeError, with the end of its log, where it ends before or takes too long."""
    give_up = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < give_up:
        try:
            if session.get(url, timeout=5).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer; the end of its server's log: {log.read_text()[-2000:]}")
