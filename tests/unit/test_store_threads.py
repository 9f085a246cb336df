"""Threads for requests: in order, bounded, and never in the way of the process's end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import wait

import pytest

from resguardo.store.threads import RequestThreads


def test_calls_give_their_results_and_their_errors() -> None:
    threads = RequestThreads(2, name="test")
    good, bad = threads.submit(int, "7"), threads.submit(int, "seven")
    assert good.result(5) == 7
    with pytest.raises(ValueError, match="seven"):
        bad.result(5)
    threads.shutdown(wait=True)


def test_no_more_calls_run_at_once_than_there_are_threads() -> None:
    threads = RequestThreads(3, name="test")
    running, most, lock = 0, 0, threading.Lock()

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    wait([threads.submit(call) for _ in range(20)], timeout=10)
    threads.shutdown(wait=True)
    assert most == 3


def test_shutting_down_cancels_what_waits_and_lets_what_runs_end() -> None:
    threads = RequestThreads(1, name="test")
    gate, begun = threading.Event(), threading.Event()

    def call() -> str:
        begun.set()
        gate.wait(10)
        return "done"

    runs, waits = threads.submit(call), threads.submit(call)
    assert begun.wait(5)
    threads.shutdown()
    # concurrent.futures.wait must see a cancelled call as done, or an abort would wait for its whole patience.
    assert wait([waits], timeout=5).done == {waits}
    assert waits.cancelled()
    gate.set()
    assert runs.result(5) == "done"
    with pytest.raises(RuntimeError):
        threads.submit(call)


def test_a_call_that_hangs_does_not_hold_the_process() -> None:
    program = (
        "import time; from resguardo.store.threads import RequestThreads; "
        "RequestThreads(1, name='test').submit(time.sleep, 600)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
