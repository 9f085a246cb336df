"""A machine that makes up the life of a cluster: people, pods, nodes, clocks and several operators at once, against what
design.md promises. `make test-unit` plays a few lives; HYPOTHESIS_EXAMPLES=2000 in the environment plays more.
"""

from __future__ import annotations

import copy
import os
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from tests.unit.machine import invariants
from tests.unit.machine.control_plane import ControlPlane
from tests.unit.machine.life import CURRENT, POLICIES, REQUESTS
from tests.unit.machine.operators import Operators
from tests.unit.machine.people import People

#: spec.timeout of the machine's requests, which is also how long one waits for what it needs,
TIMEOUT = timedelta(hours=2)
#: and how long one may run: Kubernetes ends its Job five minutes later, and two more are for a node that is lost.
RUNS_FOR = TIMEOUT + timedelta(minutes=7)
#: What a step of the operator may take, or a name that a stranger has and that is looked at by the minute.
SLACK = timedelta(minutes=2)


class ClusterLife(People, ControlPlane, Operators):
    """All that happens, and what holds all the same."""

    def __init__(self) -> None:
        super().__init__()
        #: By uid: how a request ended.
        self.ended: dict[str, Any] = {}
        #: By fingerprint of a request: the uids of those that say that they restored it.
        self.restored: dict[str, set[str]] = {}
        self.nothing_answers_at_the_end = False

    @initialize(nothing_answers_at_the_end=st.booleans(), at_work=st.booleans())
    def begins(self, nothing_answers_at_the_end: bool, at_work: bool) -> None:
        """With a policy that is new, or one that has been accepted and made its first backup: nothing much befalls others."""
        self.nothing_answers_at_the_end = nothing_answers_at_the_end
        self.policy_is_applied("portal", "own-1", retains=True)
        self.settle()
        if at_work:
            self.all_that_runs_succeeds()
            self.a_night_goes_by(works=True, says="report", policy="portal")

    @rule(name=st.sampled_from(POLICIES))
    def status_is_what_the_cluster_shows(self, name: str) -> None:
        """Told anew by an operator that finds none, it is the same: wherever what it was told from is still there."""
        self.settle()
        body = self.cluster.body("BackupPolicy", name)
        if (
            body is None
            or body["metadata"]["uid"] in self.work.lost_evidence
            or self.work.running()
            or self.work.hanging()
        ):
            return
        if "lastBackup" not in body["status"] and invariants.conditions(body)["BackedUp"][1] == "Late":
            return  # since when the policy is in force, only its status knew
        other = copy.deepcopy(self)
        other.cluster.body("BackupPolicy", name)["status"] = {}  # type: ignore[index]
        created = len(other.cluster.created)
        other.current = other.operator(CURRENT)
        other.settle()
        assert other.cluster.created[created:] == [], "something was made again"
        assert invariants.facts(other.cluster.body("BackupPolicy", name)) == invariants.facts(body)

    @rule(name=st.sampled_from(REQUESTS))
    def a_lost_status_of_a_request_is_told_anew_by_its_job(self, name: str) -> None:
        """Whatever time it is, and whatever became of its policy."""
        self.settle()
        body = self.cluster.body("RestoreRequest", name)
        uid = body.get("status", {}).get("claim", {}).get("jobUid") if body else None
        job = self.cluster.body("Job", f"{name}-restore")
        if body is None or job is None or job["metadata"]["uid"] != uid:
            return
        other = copy.deepcopy(self)
        other.cluster.body("RestoreRequest", name)["status"] = {}  # type: ignore[index]
        other.current = other.operator(CURRENT)
        other.settle()
        assert other.cluster.created == self.cluster.created, "something was made again"
        if body["metadata"]["uid"] not in self.work.lost_evidence:
            told = invariants.conditions(other.cluster.body("RestoreRequest", name) or {})
            assert told["Succeeded"] == invariants.conditions(body)["Succeeded"]

    # --- what always holds

    @invariant()
    def objects_are_sound(self) -> None:
        for kind in ("BackupPolicy", "RestoreRequest"):
            for body in self.cluster.bodies(kind):
                invariants.status_is_a_status(body)
        for kind in ("Job", "CronJob"):
            for body in self.cluster.bodies(kind):
                invariants.names_fit(body)

    @invariant()
    def an_end_says_why_and_never_changes(self) -> None:
        for body in self.cluster.bodies("RestoreRequest"):
            if "completedAt" in body.get("status", {}):
                invariants.end_says_why(body)
                lasting = [item for item in body["status"]["conditions"] if item["type"] in ("Accepted", "Succeeded")]
                end = (lasting, body["status"]["completedAt"])
                assert self.ended.setdefault(body["metadata"]["uid"], end) == end

    @invariant()
    def nothing_is_restored_twice(self) -> None:
        for body in self.cluster.bodies("RestoreRequest"):
            if invariants.conditions(body).get("Succeeded", ("",))[0] == "True":
                uids = self.restored.setdefault(invariants.fingerprint(body), set())
                uids.add(body["metadata"]["uid"])
                assert len(uids) == 1

    @invariant()
    def a_database_is_restored_by_one_request_at_a_time(self) -> None:
        """By operators that act on what is so; one that slept meanwhile the server itself keeps apart."""
        claimed = [
            body["spec"]["target"]["postgres"]["database"]
            for body in self.cluster.bodies("RestoreRequest")
            if "claim" in body.get("status", {}) and "completedAt" not in body["status"]
        ]
        assert self.has_acted_late or len(set(claimed)) == len(claimed), claimed

    # --- the end

    def teardown(self) -> None:
        """People and vandals go home; the operators' clock is set right. What runs succeeds, or nothing ever answers any more."""
        self.cluster.fault, self.cluster.dies_after = None, None
        self.cluster.collect_garbage()
        self.skew = timedelta()
        for name in self.work.running() if self.nothing_answers_at_the_end else []:
            self.work.start(name, waits=False)
            self.work.lose_node(name, works=False)
        self._let_every_request_end()
        self.everything_is_told_and_nothing_is_left_to_do()

    def _let_every_request_end(self) -> None:
        """By the second that can be worked out beforehand: each waits for its time, then each runs for its own."""
        open_requests = [name for name in REQUESTS if not self._has_ended(name)]
        moments = [self._waits_until(name) for name in open_requests] + [self.cluster.now]
        end = max(moments) + (len(open_requests) + 1) * (RUNS_FOR + SLACK)
        for _ in range(3):
            self._let_what_runs_end()
        while self.cluster.now < end and not all(self._has_ended(name) for name in REQUESTS):
            self.work.pass_time(
                max(moments) - self.cluster.now if self.cluster.now < max(moments) else RUNS_FOR + SLACK
            )
            for _ in range(3):
                self._let_what_runs_end()
        assert all(self._has_ended(name) for name in REQUESTS), f"a request has not ended at {self.cluster.now}"

    def _let_what_runs_end(self) -> None:
        self.settle()
        for name in self.work.running():
            self.work.start(name, waits=False)
            if self.nothing_answers_at_the_end:
                self.work.lose_node(name, works=False)
            else:
                self.work.end(name, works=True, says="report")
        self.work.pass_time(timedelta(seconds=1))
        self.settle()

    def everything_is_told_and_nothing_is_left_to_do(self) -> None:
        self.settle()
        before = self.told()
        self.current = self.operator(CURRENT)
        writes = self.cluster.writes
        self.settle()
        assert self.cluster.writes == writes, "a new operator had something to write"
        assert self.told() == before
        self.objects_are_sound()
        self.an_end_says_why_and_never_changes()
        self.nothing_is_restored_twice()

    def _waits_until(self, name: str) -> datetime:
        body = self.cluster.body("RestoreRequest", name)
        assert body is not None
        return invariants.patience_ends_at(body, TIMEOUT)

    def _has_ended(self, name: str) -> bool:
        body = self.cluster.body("RestoreRequest", name)
        return body is None or "completedAt" in body.get("status", {})


TestClusterLife = ClusterLife.TestCase
TestClusterLife.settings = settings(
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "15")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
