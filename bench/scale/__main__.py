"""Run it and print the result; `--write` also puts it into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import structlog

from bench.document import write_section
from bench.machine import facts
from bench.scale.control_plane import control_plane
from bench.scale.operator_process import OperatorProcess, operator
from bench.scale.world import World

IDLE_SECONDS = 60
BACKUPS = 10
AIM_BYTES = 400e6


@dataclass
class Result:
    """What was seen with so many policies."""

    policies: int
    seconds_to_cron_jobs: float
    seconds_to_ready: float
    idle_bytes: int = 0
    idle_cpu_seconds: float = 0
    idle_requests: dict[str, int] = field(default_factory=dict)
    seconds_to_status: list[float] = field(default_factory=list)
    restart_seconds: float = 0
    restart_peak_bytes: int = 0


def main() -> int:
    """The exit status: 0 when everything ran; the aims are for people to look at."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--policies", type=int, nargs="+", default=[1, 1000, 5000], help="steps (default: 1 1000 5000)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    arguments = parser.parse_args()
    kube = os.environ.get("RIG_KUBE")
    if not kube:
        print("bench: RIG_KUBE is not set; `make bench-operator` sets it", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")  # a certificate of the bench's own, on loopback
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    began = facts()
    with (
        tempfile.TemporaryDirectory(prefix="resguardo-bench-") as folder,
        control_plane(kube, Path(folder)) as plane,
    ):
        world, log = World(plane), Path(folder) / "operator.log"
        world.install()
        results: list[Result] = []
        with operator(plane.kubeconfig, log) as running:
            for count in arguments.policies:
                before = results[-1].policies if results else 0
                results.append(_step(world, running, before, count))
        for_all = results[-1]
        began_at, requests_before = time.monotonic(), sum(world.requests_by_verb().values())
        with operator(plane.kubeconfig, log) as restarted:
            _until_quiet(world, requests_before)
            for_all.restart_seconds = time.monotonic() - began_at - _QUIET_SECONDS
            for_all.restart_peak_bytes = restarted.peak_bytes
    report = _render(began, results)
    print(report)
    if arguments.write:
        write_section("operator", report)
    return 0


def _step(world: World, running: OperatorProcess, before: int, count: int) -> Result:
    began = time.monotonic()
    world.add_policies(range(before, count))
    world.until("every policy has its CronJob", lambda: len(world.cron_jobs()) >= count, pause=0.5)
    to_cron_jobs = time.monotonic() - began
    _say(f"{count} policies: CronJobs after {to_cron_jobs:.1f} s")

    def all_ready() -> bool:
        world.pass_checks()
        return sum(_is_ready(policy) for policy in world.policies()) >= count

    world.until("every policy is Ready", all_ready, pause=0.5)
    result = Result(count, to_cron_jobs, time.monotonic() - began)
    _say(f"{count} policies: Ready after {result.seconds_to_ready:.1f} s")
    _until_quiet(world, -1)
    verbs, cpu = world.requests_by_verb(), running.cpu_seconds
    time.sleep(IDLE_SECONDS)
    result.idle_requests = {
        verb: number - verbs.get(verb, 0) for verb, number in world.requests_by_verb().items() if number > verbs.get(verb, 0)
    }  # fmt: skip
    result.idle_cpu_seconds, result.idle_bytes = running.cpu_seconds - cpu, running.resident_bytes
    _say(
        f"{count} policies: idle {result.idle_bytes / 1e6:.0f} MB, {result.idle_cpu_seconds:.2f} s, {result.idle_requests}"
    )
    result.seconds_to_status = [_time_to_status(world, count - 1) for _ in range(BACKUPS)]
    _say(f"{count} policies: a Job's end is in status after {median(result.seconds_to_status):.2f} s")
    return result


def _is_ready(policy: dict[str, object]) -> bool:
    status = policy.get("status")
    conditions = status.get("conditions", []) if isinstance(status, dict) else []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _time_to_status(world: World, number: int) -> float:
    time.sleep(1.1)  # Kubernetes' times are whole seconds, and no two backups end in one
    world.ask_for_backup(number)
    job = world.until("the backup's Job is made", lambda: world.backup_job(number), seconds=60)
    if job is None:
        raise AssertionError("until() gives what it waited for")
    name, began = job["metadata"]["name"], time.monotonic()
    world.end_backup(number, job)
    world.until(
        "status tells of it",
        lambda: (world.status_of(number).get("lastRun") or {}).get("jobName") == name,
        seconds=60,
        pause=0.02,
    )
    return time.monotonic() - began


_QUIET_SECONDS = 5.0


def _until_quiet(world: World, before: int) -> None:
    """Until requests came and then none came for some seconds (the bench's own look counts no objects)."""
    last, since = before, time.monotonic()

    def is_quiet() -> bool:
        nonlocal last, since
        now = sum(world.requests_by_verb().values())
        if now != last:
            last, since = now, time.monotonic()
        return now != before and time.monotonic() - since >= _QUIET_SECONDS

    world.until("the operator comes to rest", is_quiet, pause=0.5)


def _render(machine: dict[str, str], results: list[Result]) -> str:
    return "\n".join(
        [
            "An operator beside an API server of its own; Job controller and kubelet are played. Memory is resident.",
            f"Idle is {IDLE_SECONDS} s without anything happening; aims: at most {AIM_BYTES / 1e6:.0f} MB, no request but its",
            f"watches, a Job's end in status within 2 s ({BACKUPS} backups each: median, largest).",
            "",
            *(f"- {name}: {fact}" for name, fact in machine.items()),
            "",
            "| policies | to their CronJobs | to Ready | idle memory | idle CPU | idle requests | Job's end to status |",
            "|---|---|---|---|---|---|---|",
            *(
                f"| {result.policies} | {result.seconds_to_cron_jobs:.1f} s | {result.seconds_to_ready:.1f} s |"
                f" {result.idle_bytes / 1e6:.0f} MB | {result.idle_cpu_seconds / IDLE_SECONDS:.1%} |"
                f" {_verbs(result.idle_requests)} |"
                f" {median(result.seconds_to_status):.2f} s, {max(result.seconds_to_status):.2f} s |"
                for result in results
            ),
            "",
            _restarted(results[-1]),
        ]
    )


def _restarted(result: Result) -> str:
    return (
        f"Started anew with {result.policies} policies: every one looked at after {result.restart_seconds:.1f} s, "
        f"{result.restart_peak_bytes / 1e6:.0f} MB at its peak."
    )


def _verbs(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {verb}" for verb, number in sorted(counts.items())) or "none"


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
