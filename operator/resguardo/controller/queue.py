"""The work queue: what is due when, one reconcile at a time for each resource, failures again after a growing wait.

There is no polling: it sleeps until the earliest time that it knows, or until something is told. Watch events come in
bursts, so that what they wake is due a moment later, once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice

from resguardo.controller.cluster import ClusterError
from resguardo.controller.effects import Refused
from resguardo.controller.outcome import Key
from resguardo.rules.backoff import delay

log = logging.getLogger(__name__)

#: A reconcile mostly waits for the API server, whose lists take some 30 ms each when many write.
WORKERS = 24
SETTLING = timedelta(milliseconds=200)
FIRST_RETRY = timedelta(seconds=1)
MOST_RETRY = timedelta(minutes=5)
#: A clock that is set back must not make anybody sleep for longer than this.
LONGEST_SLEEP = timedelta(minutes=5)
#: Every call has its own deadline, far shorter: who works for this long hangs.
STUCK_AFTER = timedelta(minutes=10)


@dataclass(frozen=True)
class Next:
    """When a resource is due again, if nothing wakes it, and which resources' changes wake it too."""

    look_again_at: datetime | None = None
    waits_for: tuple[Key, ...] = ()


@dataclass
class WorkQueue:
    """`work` is called for each resource that is due, never twice at once for the same one."""

    work: Callable[[Key], Awaitable[Next]]
    workers: int = WORKERS
    _due: dict[Key, datetime] = field(default_factory=dict)
    _busy: dict[Key, datetime] = field(default_factory=dict)
    _failures: dict[Key, int] = field(default_factory=dict)
    _waits_for: dict[Key, tuple[Key, ...]] = field(default_factory=dict)
    _told: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self, key: Key) -> None:
        """Something about a resource changed: it is due, and so is who waits for it."""
        moment = datetime.now(UTC) + SETTLING
        self._schedule(key, moment)
        for waiter, waited in self._waits_for.items():
            if key in waited:
                self._schedule(waiter, moment)

    async def run(self) -> None:
        """Work for ever; raises where a worker hangs, so that the process ends and is started again."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                now = datetime.now(UTC)
                due = (key for key, moment in self._due.items() if moment <= now and key not in self._busy)
                for key in list(islice(due, self.workers - len(self._busy))):
                    del self._due[key]
                    self._busy[key] = now
                    tasks.create_task(self._work(key))
                self._look_for_stuck(now)
                await self._sleep(now)

    async def _sleep(self, now: datetime) -> None:
        free = (
            []
            if len(self._busy) >= self.workers
            else [moment for key, moment in self._due.items() if key not in self._busy]
        )
        wait = min([LONGEST_SLEEP, *(moment - now for moment in free)])
        try:
            # Not wait_for: before Python 3.12 it forgets that it was cancelled, where what it waits for comes at that moment.
            async with asyncio.timeout(max(0.0, wait.total_seconds())):
                await self._told.wait()
        except TimeoutError:
            return
        self._told.clear()

    async def _work(self, key: Key) -> None:
        try:
            following = await self.work(key)
        except Exception as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            wait = delay(failures, first=FIRST_RETRY, most=MOST_RETRY, seed="/".join(key))
            log.warning(
                "%s %s/%s: again in %.0f s: %s",
                *key,
                wait.total_seconds(),
                error,
                exc_info=not isinstance(error, ClusterError | Refused),
            )
            self._schedule(key, datetime.now(UTC) + wait)
        else:
            self._failures.pop(key, None)
            self._waits_for.pop(key, None)
            if following.waits_for:
                self._waits_for[key] = following.waits_for
            if following.look_again_at is not None:
                self._schedule(key, following.look_again_at)
        finally:
            del self._busy[key]
            self._told.set()

    def _schedule(self, key: Key, moment: datetime) -> None:
        self._due[key] = min(moment, self._due.get(key, moment))
        self._told.set()

    def _look_for_stuck(self, now: datetime) -> None:
        for key, since in self._busy.items():
            if now - since > STUCK_AFTER:
                raise RuntimeError(f"{'/'.join(key)} has been worked on since {since}: something hangs")
