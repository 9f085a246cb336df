"""One life of a cluster, without anything happening in it yet: what its people, Kubernetes and operators share."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from resguardo.controller.cluster import ClusterError
from resguardo.controller.effects import Refused
from resguardo.controller.operator import Controller
from resguardo.controller.outcome import Key
from resguardo.controller.settings import Settings
from tests.unit.machine import invariants
from tests.unit.machine.audited_cluster import AuditedCluster
from tests.unit.machine.workload import Workload
from tests.unit.small_cluster import SETTINGS

POLICIES, REQUESTS = ("portal", "archive"), ("first", "second", "third")
KEYS = [Key("BackupPolicy", "default", name) for name in POLICIES] + [
    Key("RestoreRequest", "default", name) for name in REQUESTS
]
OLD, CURRENT = SETTINGS, replace(SETTINGS, version="0.2.0", image="registry.example/resguardo:2")
#: Reconciles of everything until nothing is left to write.
REST_AFTER = 12

policy_names, request_names, keys = st.sampled_from(POLICIES), st.sampled_from(REQUESTS), st.sampled_from(KEYS)
#: Which of those that are there.
picks = st.integers(0, 20)


class Life(RuleBasedStateMachine):
    """Two policies, three requests for two databases, and whoever works on them."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = AuditedCluster()
        self.work = Workload(self.cluster)
        self.current, self.older = self.operator(CURRENT), self.operator(OLD)
        #: By how much the operators' clock goes before everybody else's.
        self.skew = timedelta()
        #: Times at which an operator may have told what it could not write down: killed, refused, or late.
        self.disturbances = 0

    def operator(self, settings: Settings) -> Controller:
        """One that has just started."""
        return Controller(self.cluster, settings, clock=self.operators_now)  # type: ignore[arg-type]

    def operators_now(self) -> datetime:
        """What operators take the time to be."""
        return self.cluster.now + self.skew

    def reconcile(self, operator: Controller, key: Key) -> datetime | None:
        """One step; gives when the operator wants to look again, by everybody else's clock."""
        self.cluster.version = tuple(int(part) for part in operator.settings.version.split("."))
        try:
            moment = operator.reconcile(key).look_again_at
        except (ClusterError, Refused):
            return self.cluster.now + timedelta(seconds=1)
        assert moment is None or moment > self.operators_now(), f"{key} wants to look again in the past"
        return moment - self.skew if moment else None

    def settle(self) -> datetime | None:
        """Everything that is to be done is done; gives when something is due next."""
        for _ in range(REST_AFTER):
            before = self.cluster.writes
            moments = [self.reconcile(self.current, key) for key in KEYS]
            if self.cluster.writes == before:
                self._at_rest()
                return min((moment for moment in moments if moment is not None), default=None)
        raise AssertionError("it never comes to rest")

    def _at_rest(self) -> None:
        for key in KEYS:
            body = self.cluster.body(key.kind, key.name)
            if body is None:
                continue
            invariants.events_are_few_and_none_is_told_twice(
                self.cluster.told(body["metadata"]["uid"]),
                most=self.cluster.changes[body["metadata"]["uid"]] + 3 * self.disturbances,
            )
            if key.kind == "BackupPolicy":
                invariants.ready_is_true_only_when_nothing_is_false(body)
                invariants.what_is_not_accepted_is_suspended(body, self.cluster.body("CronJob", f"{key.name}-backup"))
                retention = self.cluster.body("CronJob", f"{key.name}-retention")
                is_wanted = bool(body["spec"].get("retention"))
                invariants.what_is_not_accepted_is_suspended(body, retention, is_wanted=is_wanted)
                invariants.retained_is_what_a_run_came_to(body, retention, self.work)
                hanging = [job for name in self.work.hanging() if (job := self.cluster.body("Job", name))]
                invariants.no_retention_hangs(body, hanging, self.operators_now())
                invariants.late_is_told_to_the_second(body, self.operators_now())
                invariants.claims_are_true(body, self.work)

    def told(self) -> list[Any]:
        """Every status as it stands."""
        bodies = [self.cluster.body(key.kind, key.name) for key in KEYS]
        return [copy.deepcopy(body.get("status")) if body else None for body in bodies]
