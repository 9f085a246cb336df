"""A machine that makes up the life of a cluster: people, pods, clocks and several operators at once, against what
design.md promises. `make test-unit` plays a few lives; HYPOTHESIS_EXAMPLES=2000 in the environment plays more.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from resguardo.api.base import print_time
from resguardo.controller.cluster import ClusterError
from resguardo.controller.effects import Refused, carry_out
from resguardo.controller.observation import observe_policy, observe_request
from resguardo.controller.operator import Controller
from resguardo.controller.outcome import Key
from resguardo.controller.reconcile_policy import reconcile_policy
from resguardo.controller.reconcile_request import reconcile_request
from tests.fixtures.specs import POLICY, REQUEST
from tests.unit.machine import invariants
from tests.unit.machine.audited_cluster import AuditedCluster
from tests.unit.machine.workload import Workload
from tests.unit.small_cluster import SETTINGS, Killed

POLICIES, REQUESTS = ("portal", "archive"), ("first", "second", "third")
KEYS = [Key("BackupPolicy", "default", name) for name in POLICIES] + [
    Key("RestoreRequest", "default", name) for name in REQUESTS
]
OLD, CURRENT = SETTINGS, replace(SETTINGS, version="0.2.0", image="registry.example/resguardo:2")
#: Steps of a reconcile until nothing is left to write.
REST_AFTER = 12
#: Looks until the end of every request, at each moment that the operator asks for, then by the hour.
LOOKS_CLOSELY, LOOKS_MAX = 60, 600
LONG = timedelta(days=40)

policy_names, request_names, keys = st.sampled_from(POLICIES), st.sampled_from(REQUESTS), st.sampled_from(KEYS)
picks = st.integers(0, 20)


class ClusterLife(RuleBasedStateMachine):
    """Two policies, three requests for two databases, and whoever works on them."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = AuditedCluster()
        self.work = Workload(self.cluster)
        self.current = self._operator(CURRENT)
        self.paused: tuple[dict[str, Any], Any, datetime] | None = None
        self.ended: dict[str, Any] = {}
        self.clock_was_set_back = False

    @initialize()
    def begins(self) -> None:
        self.policy_is_applied("portal", edited=False)
        self._settle()

    # --- people

    @rule(name=policy_names, edited=st.booleans())
    def policy_is_applied(self, name: str, edited: bool) -> None:
        if self.cluster.body("BackupPolicy", name):
            return
        body = copy.deepcopy(POLICY)
        body["metadata"]["name"] = name
        body["spec"]["store"]["s3"]["bucket"] = f"{name}-2" if edited else f"{name}-1"
        self.cluster.put(body)

    @rule(name=request_names, policy=policy_names, replaces=st.booleans(), hours=st.sampled_from([0, 1, 200]))
    def request_is_applied(self, name: str, policy: str, replaces: bool, hours: int) -> None:
        if self.cluster.body("RestoreRequest", name):
            return
        body = copy.deepcopy(REQUEST)
        body["metadata"]["name"] = name
        body["spec"]["from"]["policyRef"]["name"] = policy
        body["spec"]["timeout"] = "2h"
        body["spec"]["target"]["postgres"]["database"] = "agepar" if name != "third" else "other"
        if replaces:
            body["spec"]["target"]["postgres"]["onExisting"] = "Replace"
            body["spec"]["notAfter"] = print_time(self.cluster.now + timedelta(hours=hours))
        self.cluster.put(body)

    @rule(key=keys)
    def resource_is_deleted(self, key: Key) -> None:
        if self.cluster.body(key.kind, key.name):
            self.cluster.delete(key.kind, key.name)

    @rule(name=policy_names, value=st.sampled_from(["1", "2"]), field=st.sampled_from(["bucket", "database"]))
    def policy_moves(self, name: str, value: str, field: str) -> None:
        if self.cluster.body("BackupPolicy", name):
            if field == "bucket":
                self.cluster.edit("BackupPolicy", name, spec__store__s3__bucket=f"{name}-{value}")
            else:
                self.cluster.edit("BackupPolicy", name, spec__source__postgres__pgDump__database=f"agepar{value}")

    @rule(name=policy_names, suspend=st.booleans())
    def policy_is_suspended_or_resumed(self, name: str, suspend: bool) -> None:
        if self.cluster.body("BackupPolicy", name):
            self.cluster.edit("BackupPolicy", name, spec__suspend=suspend)

    @rule(name=policy_names, minutes=st.sampled_from([0, 1, 7]))
    def schedule_is_changed_near_its_own_minute(self, name: str, minutes: int) -> None:
        if self.cluster.body("BackupPolicy", name):
            moment = self.cluster.now + timedelta(minutes=minutes)
            self.cluster.edit(
                "BackupPolicy", name, spec__schedule=f"{moment.minute} {moment.hour} * * *", spec__timeZone="UTC"
            )

    @rule(name=policy_names, value=st.sampled_from(["now", "nonsense", "2026-11-23T14:00:00Z"]))
    def backup_is_asked_for(self, name: str, value: str) -> None:
        if self.cluster.body("BackupPolicy", name):
            moment = print_time(self.cluster.now) if value == "now" else value
            self.cluster.annotate("BackupPolicy", name, "resguardo.dev/backup-requested-at", moment)

    @rule(name=request_names)
    def previous_database_may_go(self, name: str) -> None:
        if self.cluster.body("RestoreRequest", name):
            self.cluster.edit("RestoreRequest", name, spec__dropPrevious=True)

    @rule(kind=st.sampled_from(["CronJob", "Job", "Pod"]), pick=picks, delete=st.booleans())
    def vandal(self, kind: str, pick: int, delete: bool) -> None:
        ours = [body for body in self.cluster.bodies(kind) if body["metadata"]["uid"] not in self.cluster.foreign]
        if not ours:
            return
        name = ours[pick % len(ours)]["metadata"]["name"]
        if delete:
            self.cluster.delete(kind, name)
        elif kind == "CronJob":
            self.cluster.edit(kind, name, spec__suspend=False, spec__schedule="* * * * *")
        elif kind == "Job":
            self.cluster.edit(kind, name, metadata__labels__stranger="yes")

    @rule(name=st.sampled_from(["archive-backup", "second-restore", "third-restore"]))
    def stranger_takes_a_name(self, name: str) -> None:
        kind = "CronJob" if name.endswith("-backup") else "Job"
        if self.cluster.body(kind, name) is None:
            made = self.cluster.put(
                {
                    "apiVersion": "batch/v1",
                    "kind": kind,
                    "metadata": {"name": name, "namespace": "default"},
                    "spec": {"suspend": True, "template": {}},
                }
            )
            self.cluster.foreign.add(made["metadata"]["uid"])

    @rule(kind=st.sampled_from(["CronJob", "Job"]), pick=picks)
    def stranger_leaves(self, kind: str, pick: int) -> None:  # noqa: ARG002
        for body in self.cluster.bodies(kind):
            if body["metadata"]["uid"] in self.cluster.foreign:
                self.cluster.delete(kind, body["metadata"]["name"])

    # --- Kubernetes

    @rule(name=policy_names)
    def schedule_fires(self, name: str) -> None:
        body = self.cluster.body("CronJob", f"{name}-backup")
        if body is None or body["spec"]["suspend"] or body["metadata"]["uid"] in self.cluster.foreign:
            return
        own = [job for job in self.cluster.bodies("Job") if body["metadata"]["uid"] in str(job["metadata"])]
        is_forbidden = any(job["metadata"]["name"] in self.work.running() for job in own)
        name_now = f"{name}-backup-{int(self.cluster.now.timestamp() / 60)}"
        if not is_forbidden and self.cluster.body("Job", name_now) is None:
            self.cluster.tick_cron_job(f"{name}-backup")

    @rule(pick=picks, waits=st.booleans())
    def pod_starts(self, pick: int, waits: bool) -> None:
        if running := self.work.running():
            name = running[pick % len(running)]
            pods = [pod for pod in self.cluster.names("Pod") if pod.startswith(name + "-")]
            for pod in pods:
                self.cluster.delete("Pod", pod)
            waiting = {"reason": "CreateContainerConfigError", "message": "secret not found"}
            pending = {"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]}
            self.cluster.start(name, pod_status=pending if waits else None)

    @rule(
        pick=picks,
        works=st.booleans(),
        says=st.sampled_from(["report", "report", "report", "lost", "oom", "gone", "deadline"]),
        seconds=st.sampled_from([0, 1, 90]),
    )
    def job_ends(self, pick: int, works: bool, says: str, seconds: int) -> None:
        if running := self.work.running():
            name = running[pick % len(running)]
            if not (self.cluster.body("Job", name) or {}).get("status", {}).get("startTime"):
                self.cluster.start(name)
            self.time_passes(timedelta(seconds=seconds))
            self.work.end(name, works=works, says=says)
            self.time_passes(timedelta(seconds=1))

    @rule(
        length=st.sampled_from(
            [
                timedelta(seconds=1),
                timedelta(seconds=40),
                timedelta(minutes=6),
                timedelta(hours=3),
                timedelta(hours=26),
                timedelta(weeks=2),
            ]
        )
    )
    def time_passes(self, length: timedelta) -> None:
        self.cluster.now += length

    @rule()
    def clock_is_set_back(self) -> None:
        self.cluster.now -= timedelta(hours=1)
        self.clock_was_set_back = True

    @rule(works=st.booleans(), says=st.sampled_from(["report", "report", "lost", "oom"]), policy=policy_names)
    def a_night_goes_by(self, works: bool, says: str, policy: str) -> None:
        """Everything comes to rest, the schedule fires, what runs ends alike, and everything comes to rest again."""
        self._settle()
        self.schedule_fires(policy)
        for _ in self.work.running():
            self.job_ends(0, works, says, 1)
        self._settle()

    @rule()
    def all_that_runs_succeeds(self) -> None:
        for _ in range(3):
            self._settle()
            for _ in self.work.running():
                self.job_ends(0, True, "report", 1)
        self._settle()

    # --- operators

    @rule(key=keys, times=st.integers(1, 3))
    def operator_works(self, key: Key, times: int) -> None:
        for _ in range(times):
            self._reconcile(self.current, key)

    @rule(key=keys, writes=st.integers(0, 4))
    def operator_is_killed(self, key: Key, writes: int) -> None:
        self.cluster.dies_after = writes
        try:
            for _ in range(4):
                self._reconcile(self.current, key)
        except Killed:
            self.current = self._operator(CURRENT)
        self.cluster.dies_after = None

    @rule(key=keys, after=st.integers(0, 3), status=st.sampled_from([0, 403, 409, 422, 500]), done=st.booleans())
    def api_server_fails(self, key: Key, after: int, status: int, done: bool) -> None:
        self.cluster.fault = (after, status, done and status in (0, 500))
        for _ in range(4):
            self._reconcile(self.current, key)
        self.cluster.fault = None

    @rule(key=keys)
    def older_operator_works(self, key: Key) -> None:
        self._reconcile(self._operator(OLD), key)

    @rule(key=keys)
    def operator_pauses_before_it_acts(self, key: Key) -> None:
        resource = self.cluster.get(*key)
        if resource is None:
            return
        decide: Callable[..., Any] = reconcile_policy if key.kind == "BackupPolicy" else reconcile_request
        observe: Callable[..., Any] = observe_policy if key.kind == "BackupPolicy" else observe_request
        now = self.cluster.now
        self.paused = (dict(resource), decide(resource, observe(self.cluster, resource, None), CURRENT, now), now)

    @precondition(lambda self: self.paused is not None)
    @rule()
    def operator_acts_late(self) -> None:
        assert self.paused is not None
        resource, outcome, now = self.paused
        self.paused = None
        self.cluster.version, self.cluster.is_late = (0, 2, 0), True
        try:
            carry_out(self.cluster, resource, outcome, now)  # type: ignore[arg-type]
        except (ClusterError, Refused):
            pass
        finally:
            self.cluster.is_late = False

    @rule()
    def everything_comes_to_rest(self) -> None:
        self._settle()

    def _settle(self) -> datetime | None:
        """Everything that is to be done is done; gives when something is due next."""
        moments = []
        for _ in range(REST_AFTER):
            before = self.cluster.writes
            moments = [self._reconcile(self.current, key) for key in KEYS]
            if self.cluster.writes == before:
                break
        else:
            raise AssertionError("it never comes to rest")
        self._at_rest()
        return min((moment for moment in moments if moment is not None), default=None)

    @rule()
    def nothing_is_missed_while_it_sleeps(self) -> None:
        due = self._settle()
        if due is None or due - self.cluster.now < timedelta(seconds=2):
            return
        self.cluster.now = min(due - timedelta(seconds=1), self.cluster.now + LONG)
        before = [self._told(key) for key in KEYS]
        self._settle()
        assert [self._told(key) for key in KEYS] == before, "something changed with time, and no look was asked for"

    # --- what always holds

    @invariant()
    def objects_are_sound(self) -> None:
        for key in KEYS:
            body = self.cluster.body(key.kind, key.name)
            if body is not None:
                invariants.status_is_a_status(body)
        for kind in ("Job", "CronJob"):
            for body in self.cluster.bodies(kind):
                invariants.names_fit(body)

    @invariant()
    def an_end_never_changes(self) -> None:
        for name in REQUESTS:
            body = self.cluster.body("RestoreRequest", name)
            if body and body.get("status", {}).get("completedAt"):
                invariants.end_says_why(body)
                lasting = [item for item in body["status"]["conditions"] if item["type"] in ("Accepted", "Succeeded")]
                end = (lasting, body["status"]["completedAt"])
                assert self.ended.setdefault(body["metadata"]["uid"], end) == end

    @invariant()
    def no_request_restores_twice(self) -> None:
        assert all(len(jobs) == 1 for jobs in self.work.restored.values())

    def _at_rest(self) -> None:
        for name in POLICIES:
            if body := self.cluster.body("BackupPolicy", name):
                invariants.ready_is_true_only_when_nothing_is_false(body)
                invariants.what_is_not_accepted_is_suspended(body, self.cluster.body("CronJob", f"{name}-backup"))
                if not self.clock_was_set_back:
                    invariants.claims_are_true(body, self.work)

    def teardown(self) -> None:
        """The world goes quiet: what runs succeeds, and every request gets to its end."""
        self.cluster.fault, self.cluster.dies_after = None, None
        for look in range(LOOKS_MAX):
            due = self._settle()
            running = self.work.running()
            for name in running:
                self.cluster.start(name)
                self.work.end(name, works=True, says="report")
            if not running and all(self._has_ended(name) for name in REQUESTS):
                break
            # A name that a stranger has is looked at every minute, for as long as its request may wait.
            step = timedelta(hours=1) if look > LOOKS_CLOSELY else timedelta(seconds=5)
            self.cluster.now = max(self.cluster.now + step, due if due and not running else self.cluster.now)
        else:
            raise AssertionError("a request has no end")
        self._settle()
        before = [self._told(key) for key in KEYS]
        self.current = self._operator(CURRENT)
        writes = self.cluster.writes
        self._settle()
        assert self.cluster.writes == writes, "a new operator had something to write"
        assert [self._told(key) for key in KEYS] == before
        self.objects_are_sound()
        self.an_end_never_changes()
        self.no_request_restores_twice()

    # --- how

    def _operator(self, settings: Any) -> Controller:
        return Controller(self.cluster, settings, clock=lambda: self.cluster.now)  # type: ignore[arg-type]

    def _reconcile(self, operator: Controller, key: Key) -> datetime | None:
        self.cluster.version = tuple(int(part) for part in operator.settings.version.split("."))  # type: ignore[assignment]
        try:
            following = operator.reconcile(key)
        except (ClusterError, Refused):
            return self.cluster.now + timedelta(seconds=1)
        moment = following.look_again_at
        assert moment is None or moment > self.cluster.now, f"{key} wants to look again in the past"
        return moment

    def _told(self, key: Key) -> Any:
        body = self.cluster.body(key.kind, key.name)
        return copy.deepcopy(body.get("status")) if body else None

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
