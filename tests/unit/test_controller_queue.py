"""The queue: one at a time for each resource, when it is due, and again after failures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from resguardo.controller import queue as queue_module
from resguardo.controller.outcome import Key
from resguardo.controller.queue import Next, WorkQueue

A, B = Key("BackupPolicy", "default", "a"), Key("BackupPolicy", "default", "b")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "SETTLING", timedelta(milliseconds=10))
    monkeypatch.setattr(queue_module, "FIRST_RETRY", timedelta(milliseconds=10))


def _run(work: Callable[[Key], Awaitable[Next]], scene: Callable[[WorkQueue], Awaitable[None]]) -> None:
    async def play() -> None:
        queue = WorkQueue(work)
        running = asyncio.create_task(queue.run())
        await scene(queue)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(play())


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.005)


def test_a_burst_of_events_is_one_piece_of_work() -> None:
    done: list[Key] = []

    async def work(key: Key) -> Next:
        done.append(key)
        return Next()

    async def scene(queue: WorkQueue) -> None:
        for _ in range(20):
            queue.wake(A)
        await asyncio.sleep(0.1)

    _run(work, scene)
    assert done == [A]


def test_the_same_resource_is_never_worked_on_twice_at_once_and_no_event_is_lost() -> None:
    at_once, most, done = 0, 0, 0

    async def work(key: Key) -> Next:
        nonlocal at_once, most, done
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.05)
        at_once -= 1
        done += 1
        return Next()

    async def scene(queue: WorkQueue) -> None:
        queue.wake(A)
        await _until(lambda: at_once == 1)
        queue.wake(A)
        await _until(lambda: done == 2)

    _run(work, scene)
    assert (most, done) == (1, 2)


@pytest.mark.parametrize("steps", range(4))
def test_it_ends_when_it_is_told_to_whatever_it_is_told_at_the_same_moment(steps: int) -> None:
    """Else an operator that is told to stop would wait for the kubelet to kill it."""

    async def work(key: Key) -> Next:
        return Next()

    async def play() -> bool:
        queue = WorkQueue(work)
        running = asyncio.create_task(queue.run())
        await asyncio.sleep(0.01)
        queue.wake(A)
        for _ in range(steps):
            await asyncio.sleep(0)
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=1)
        running.cancel()
        return running in done

    assert asyncio.run(play())


def test_a_failure_is_tried_again_and_holds_up_nobody_else() -> None:
    done: list[Key] = []

    async def work(key: Key) -> Next:
        done.append(key)
        if key == A and done.count(A) < 3:
            raise RuntimeError("not yet")
        return Next()

    async def scene(queue: WorkQueue) -> None:
        queue.wake(A)
        queue.wake(B)
        await _until(lambda: len(done) == 4)

    _run(work, scene)
    assert (done.count(A), done.count(B)) == (3, 1)


def test_it_sleeps_until_the_time_that_was_asked_for() -> None:
    moments: list[datetime] = []

    async def work(key: Key) -> Next:
        moments.append(datetime.now(UTC))
        return Next(look_again_at=moments[0] + timedelta(milliseconds=150)) if len(moments) == 1 else Next()

    async def scene(queue: WorkQueue) -> None:
        queue.wake(A)
        await _until(lambda: len(moments) == 2)

    _run(work, scene)
    assert moments[1] - moments[0] >= timedelta(milliseconds=150)


def test_who_waits_for_another_is_woken_with_it() -> None:
    done: list[Key] = []

    async def work(key: Key) -> Next:
        done.append(key)
        return Next(waits_for=(B,)) if key == A and done.count(A) == 1 else Next()

    async def scene(queue: WorkQueue) -> None:
        queue.wake(A)
        await _until(lambda: done == [A])
        # Who waits is written down when the work has ended.
        await asyncio.sleep(0.05)
        queue.wake(B)
        await _until(lambda: len(done) == 3)
        queue.wake(B)
        await _until(lambda: len(done) == 4)
        await asyncio.sleep(0.05)

    _run(work, scene)
    assert (done.count(A), done.count(B)) == (2, 2)


def test_work_that_hangs_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "STUCK_AFTER", timedelta(milliseconds=50))

    begun: list[Key] = []

    async def work(key: Key) -> Next:
        begun.append(key)
        await asyncio.sleep(60)
        return Next()

    async def play() -> None:
        queue = WorkQueue(work)
        queue.wake(A)
        running = asyncio.create_task(queue.run())
        await _until(lambda: begun == [A])
        await asyncio.sleep(0.1)
        queue.wake(B)
        await asyncio.wait_for(running, 10)

    with pytest.raises(ExceptionGroup, match="unhandled errors") as raised:
        asyncio.run(play())
    assert raised.group_contains(RuntimeError, match="something hangs")
