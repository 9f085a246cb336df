"""What operators do, and what befalls them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from resguardo.controller.cluster import ClusterError
from resguardo.controller.effects import Refused, carry_out
from resguardo.controller.observation import observe_policy, observe_request
from resguardo.controller.outcome import Key, Outcome
from resguardo.controller.reconcile_policy import reconcile_policy
from resguardo.controller.reconcile_request import reconcile_request
from tests.unit.machine import invariants
from tests.unit.machine.audited_cluster import Fault
from tests.unit.machine.life import CURRENT, OLD, POLICIES, REST_AFTER, Life, keys
from tests.unit.small_cluster import Killed

#: As long as anybody would wait for an operator to look.
LONG = timedelta(days=40)


class Operators(Life):
    """The one of today, one that is killed, one that is late, one of an older version."""

    def __init__(self) -> None:
        super().__init__()
        #: What an operator has decided and not done yet.
        self.paused: tuple[dict[str, Any], Outcome, datetime] | None = None
        self.has_acted_late = False

    @rule(key=keys, times=st.integers(1, 3))
    def operator_works(self, key: Key, times: int) -> None:
        for _ in range(times):
            self.reconcile(self.current, key)

    @rule(key=keys, writes=st.integers(0, 4))
    def operator_is_killed(self, key: Key, writes: int) -> None:
        self.disturbances += 1
        self.cluster.dies_after = writes
        try:
            for _ in range(4):
                self.reconcile(self.current, key)
        except Killed:
            self.current = self.operator(CURRENT)
        self.cluster.dies_after = None

    @rule(key=keys, after=st.integers(0, 3), status=st.sampled_from([0, 403, 409, 422, 500]), done=st.booleans())
    def api_server_fails(self, key: Key, after: int, status: int, done: bool) -> None:
        self.disturbances += 1
        self.cluster.fault = Fault(after, status, takes_effect=done and status in (0, 500))
        for _ in range(4):
            self.reconcile(self.current, key)
        self.cluster.fault = None

    @rule(key=keys, is_new=st.booleans())
    def older_operator_works(self, key: Key, is_new: bool) -> None:
        self.disturbances += 1
        self.older = self.operator(OLD) if is_new else self.older
        self.reconcile(self.older, key)

    @rule(key=keys)
    def older_and_newer_operator_wake_each_other(self, key: Key) -> None:
        """Until neither has anything to write."""
        for _ in range(REST_AFTER):
            self.disturbances += 1
            before = self.cluster.writes
            self.reconcile(self.older, key)
            self.reconcile(self.current, key)
            if self.cluster.writes == before:
                return
        raise AssertionError("an older and a newer operator write by turns without end")

    @rule(key=keys)
    def operator_pauses_before_it_acts(self, key: Key) -> None:
        resource = self.cluster.get(*key)
        if resource is None:
            return
        decide: Callable[..., Outcome] = reconcile_policy if key.kind == "BackupPolicy" else reconcile_request
        observe: Callable[..., Any] = observe_policy if key.kind == "BackupPolicy" else observe_request
        now = self.operators_now()
        self.paused = (dict(resource), decide(resource, observe(self.cluster, resource, None), CURRENT, now), now)

    @precondition(lambda self: self.paused is not None)
    @rule()
    def operator_acts_late(self) -> None:
        assert self.paused is not None
        self.disturbances += 1
        resource, outcome, now = self.paused
        self.paused = None
        self.has_acted_late = True
        self.cluster.version, self.cluster.is_late = (0, 2, 0), True
        try:
            carry_out(self.cluster, resource, outcome, now)  # type: ignore[arg-type]
        except (ClusterError, Refused):
            pass
        finally:
            self.cluster.is_late = False

    @rule(hours=st.sampled_from([-1, 0, 1]))
    def operators_clock_is_set(self, hours: int) -> None:
        self.skew = timedelta(hours=hours)

    @rule()
    def everything_comes_to_rest(self) -> None:
        self.settle()

    @rule()
    def nothing_is_missed_while_it_sleeps(self) -> None:
        self.cluster.collect_garbage()
        due = self.settle()
        moment = min(due - timedelta(seconds=1) if due else self.cluster.now + LONG, self.cluster.now + LONG)
        if moment <= self.cluster.now or self.work.running() or self.work.hanging():
            return
        before = self.told()
        self.work.pass_time(moment - self.cluster.now)
        self.settle()
        assert self.told() == before, "something changed with time, and no look was asked for"

    @rule(name=st.sampled_from(POLICIES))
    def the_second_comes_at_which_a_backup_is_late(self, name: str) -> None:
        self.settle()
        body = self.cluster.body("BackupPolicy", name)
        moment = invariants.late_from(body) if body else None
        if moment is None or moment - timedelta(seconds=1) <= self.operators_now():
            return
        self.work.pass_time(moment - timedelta(seconds=1) - self.operators_now())
        self.settle()
        self.work.pass_time(timedelta(seconds=1))
        self.settle()
