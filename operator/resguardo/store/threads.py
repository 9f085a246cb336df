"""Threads for requests to the store, of which a stuck one cannot keep the process from ending."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
A = TypeVar("A")
T = TypeVar("T")

#: Requests to a store that are made at the same time.
THREADS = 8


class RequestThreads(Executor):
    """As concurrent.futures.ThreadPoolExecutor, but of daemon threads.

    That one joins its threads when the interpreter exits. A request that hangs until its last retry has timed out would
    hold a pod there, whose deadline has passed and whose Report is written.
    """

    def __init__(self, count: int, name: str) -> None:
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._count, self._name = count, name
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run the call in one of the threads, in the order of submission."""
        if self._closed:
            raise RuntimeError("these threads were shut down")
        future: Future[T] = Future()
        self._tasks.put((future, lambda: fn(*args, **kwargs)))
        if len(self._threads) < self._count:
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = True) -> None:
        """Let the threads end after the call that each is at; those that wait are cancelled. Never waits unless told to."""
        self._closed = True
        while cancel_futures:
            try:
                waiting = self._tasks.get_nowait()
            except queue.Empty:
                break
            if waiting is not None and waiting[0].cancel():
                # Without this, concurrent.futures.wait takes a cancelled call for one that is under way.
                waiting[0].set_running_or_notify_cancel()
        for _ in self._threads:
            self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, call = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)
            # A thread that waits for its next task must not keep the last one's bytes alive.
            del future, call, task


def in_threads(work: Callable[[A], T], items: Iterable[A], *, name: str) -> list[T]:
    """What the work gives for each item, in their order; the first error is raised, and what has not begun never does."""
    threads = RequestThreads(THREADS, name=name)
    try:
        return [future.result() for future in [threads.submit(work, item) for item in items]]
    finally:
        threads.shutdown()
