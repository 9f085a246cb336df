"""Run it and print the result; `--write` also puts it into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from bench.document import write_section
from bench.machine import facts
from resguardo.api.backup_id import new_backup_id
from tests.fixtures.history import PREFIX, History, manifest_of
from tests.fixtures.s3 import run_s3_server

DAY = timedelta(days=1)
#: Backups that no rule keeps.
GOING = 10


@dataclass
class Cost:
    """What one command took."""

    command: str
    seconds: float
    own_seconds: float
    peak_bytes: int


def main() -> int:
    """The exit status: 0 when everything ran."""
    parser = argparse.ArgumentParser(prog="python -m bench.retention", description=__doc__)
    parser.add_argument("--backups", type=int, default=5000, help="how many (default: 5000)")
    parser.add_argument("--objects", type=int, default=1_000_000, help="in all of them (default: a million)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    began = facts()
    with tempfile.TemporaryDirectory(prefix="resguardo-bench-") as folder:
        root = Path(folder)
        with run_s3_server(root) as server:
            spec = {"timeout": "1h", "retention": {"daily": f"{arguments.backups - GOING}d"}}
            history = History(server, server.make_bucket(), root, spec=spec)
            history.claim()
            began_at = time.monotonic()
            _fill(history, arguments.backups, arguments.objects // arguments.backups)
            print(f"bench: filled in {time.monotonic() - began_at:.0f} s", file=sys.stderr)
            costs = [
                _measure(history, "resguardo retention --dry-run", "retention", "--dry-run", "-o", "json"),
                _measure(history, "resguardo retention, which marks", "retention"),
            ]
            marked = len(history.marked)
            history.age_markers()
            costs.append(_measure(history, f"resguardo retention, which removes {marked}", "retention"))
            print(f"bench: {len(history.backups)} backups are left", file=sys.stderr)
    report = _render(began, arguments.backups, arguments.objects, costs)
    print(report)
    if arguments.write:
        write_section("retention", report)
    return 0


def _fill(history: History, backups: int, objects_each: int) -> None:
    """Behind the server's back, as empty files: a million requests would take half an hour."""
    place = history.server.folder / history.bucket / PREFIX / "backups"
    last = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    for number in reversed(range(backups)):
        backup_id = new_backup_id(last - number * DAY, f"{number:06x}")
        data = place / backup_id / "data"
        data.mkdir(parents=True)
        for part in range(objects_each - 1):
            (data / f"{part:06}").touch()
        body = manifest_of(last - number * DAY, backup_id=backup_id).to_json().encode()
        manifest = place / backup_id / "manifest.json"
        manifest.write_bytes(body)
        os.setxattr(manifest, "user.etag", f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'.encode())
        stored_at = (last - number * DAY).timestamp()
        os.utime(manifest, (stored_at, stored_at))


def _measure(history: History, told: str, *arguments: str) -> Cost:
    argv, environment = history.command_line(*arguments)
    began_at = time.monotonic()
    with (history.folder / "said").open("wb") as said:
        process = subprocess.Popen(argv, env=environment, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError((history.folder / "said").read_text()[-2000:])
    return Cost(told, time.monotonic() - began_at, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def _render(began: dict[str, str], backups: int, objects: int, costs: list[Cost]) -> str:
    lines = [
        f"A bucket of {objects:,} objects in {backups:,} backups, on versitygw on the same machine. Own time is the processor's, of",
        "the command alone, its start included; memory is its largest resident set.",
        "",
        *(f"- {name}: {text}" for name, text in began.items()),
        "",
        "| command | time | own time | peak memory |",
        "|---|---|---|---|",
        *(
            f"| {cost.command} | {cost.seconds:.1f} s | {cost.own_seconds:.1f} s | {cost.peak_bytes / 1e6:.0f} MB |"
            for cost in costs
        ),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
