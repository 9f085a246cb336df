"""What Kubernetes' controllers, its nodes and the time do."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.unit.machine.life import Life, picks, policy_names

#: What is left to see of a process: most leave a Report.
SAYS_ALL = ("report", "lost", "oom", "gone")
SAYS = st.sampled_from(["report", "report", *SAYS_ALL])


class ControlPlane(Life):
    """Jobs, pods, nodes, clocks."""

    @rule(name=policy_names, task=st.sampled_from(["backup", "retention"]))
    def schedule_fires(self, name: str, task: str) -> None:
        body = self.cluster.body("CronJob", f"{name}-{task}")
        if body and not body["spec"]["suspend"] and body["metadata"]["uid"] not in self.cluster.foreign:
            self.work.fire(f"{name}-{task}")

    @rule(
        name=policy_names,
        works=st.booleans(),
        comes_to=st.sampled_from(["waits", "hangs", "hangs for long", *SAYS_ALL]),
    )
    def retention_runs(self, name: str, works: bool, comes_to: str) -> None:
        # A schedule's minute comes only once.
        self.work.pass_time(timedelta(minutes=1))
        self.schedule_fires(name, "retention")
        for job in [job for job in self.work.running() if job.startswith(f"{name}-retention")]:
            if comes_to in SAYS_ALL:
                self._job_ends(job, works, comes_to, timedelta(seconds=1))
            elif job not in self.work.working():
                self.work.start(job, waits=comes_to == "waits")
                if comes_to != "waits":
                    self.work.lose_node(job, works=works)
        if comes_to == "hangs for long":
            self.work.pass_time(timedelta(hours=1))
            self.settle()

    @rule(pick=picks, waits=st.booleans())
    def pod_starts_or_waits(self, pick: int, waits: bool) -> None:
        if starting := sorted({*self.work.running()} - {*self.work.working()}):
            self.work.start(starting[pick % len(starting)], waits=waits)

    @rule(pick=picks, works=st.booleans(), says=SAYS, seconds=st.sampled_from([0, 1, 90]))
    def job_ends(self, pick: int, works: bool, says: str, seconds: int) -> None:
        if running := self.work.running():
            self._job_ends(running[pick % len(running)], works, says, timedelta(seconds=seconds))

    @rule(pick=picks, says_so=st.booleans())
    def pod_is_evicted(self, pick: int, says_so: bool) -> None:
        if working := self.work.working():
            self.work.pass_time(timedelta(seconds=1))
            self.work.evict(working[pick % len(working)], says_so=says_so)

    @rule(pick=picks, works=st.booleans())
    def node_is_lost(self, pick: int, works: bool) -> None:
        if working := self.work.working():
            self.work.lose_node(working[pick % len(working)], works=works)

    @rule(pick=picks, is_report_kept=st.booleans())
    def node_is_found(self, pick: int, is_report_kept: bool) -> None:
        if hanging := self.work.hanging():
            self.work.find_node(hanging[pick % len(hanging)], is_report_kept=is_report_kept)

    @rule(minutes=st.sampled_from([-60, 0, 60]))
    def nodes_clock_is_set(self, minutes: int) -> None:
        self.work.skew = timedelta(minutes=minutes)

    @rule(is_slow=st.booleans())
    def garbage_is_collected_slowly_or_at_once(self, is_slow: bool) -> None:
        self.cluster.collector_is_slow = is_slow
        if not is_slow:
            self.cluster.collect_garbage()

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
        self.work.pass_time(length)

    @rule(works=st.booleans(), says=SAYS, policy=policy_names)
    def a_night_goes_by(self, works: bool, says: str, policy: str) -> None:
        """Everything comes to rest, the schedule fires, what runs ends alike, and everything comes to rest again."""
        self.settle()
        for task in ("backup", "retention"):
            self.schedule_fires(policy, task)
        self._all_end(works, says)
        self.settle()

    @rule()
    def all_that_runs_succeeds(self) -> None:
        for _ in range(3):
            self.settle()
            self._all_end(works=True, says="report")
        self.settle()

    def _all_end(self, works: bool, says: str) -> None:
        for name in self.work.running():
            # One may have reached its deadline while another one ended.
            if name in self.work.running():
                self._job_ends(name, works, says, timedelta(seconds=1))

    def _job_ends(self, name: str, works: bool, says: str, after: timedelta) -> None:
        if name not in self.work.working():
            self.work.start(name, waits=False)
        self.work.pass_time(after)
        if name in self.work.running():
            self.work.end(name, works=works, says=says)
        self.work.pass_time(timedelta(seconds=1))
