"""An older operator and a newer one at work on the same resources: for a while, or because somebody went back to the older."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from resguardo.api.base import canonical_hash, print_time
from resguardo.api.policy import BackupPolicy
from resguardo.api.report import Task
from resguardo.controller.operator import Controller
from resguardo.controller.outcome import Key
from tests.unit.small_cluster import NIGHT, POLICY_KEY, REQUEST_KEY, SETTINGS, World

#: More turns than any way to rest takes.
TURNS = 12

_hash_of_today = BackupPolicy.hash.fget


@contextmanager
def _as_an_older_version_reads_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its models have other fields, so that a policy has another hash to it, and its checks other names."""
    with monkeypatch.context() as patched:
        patched.setattr(
            BackupPolicy, "hash", property(lambda policy: canonical_hash(["older", _hash_of_today(policy)]))
        )
        yield


class Both(World):
    """An operator of today, and one of a former version beside it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.controller = self.newer()
        self.older = self.an_older()
        self._monkeypatch = monkeypatch

    def newer(self) -> Controller:
        return self.new_controller(replace(SETTINGS, version="0.10.0", image="newer"))

    def an_older(self) -> Controller:
        return self.new_controller(replace(SETTINGS, version="0.9.5", image="older"))

    def older_works(self, key: Key) -> Any:
        with _as_an_older_version_reads_it(self._monkeypatch):
            return self.older.reconcile(key)

    def take_turns(self, key: Key) -> int:
        """Each is woken by what the other writes; gives the number of turns until neither writes."""
        for turn in range(TURNS):
            before = self.cluster.writes
            self.older_works(key)
            self.controller.reconcile(key)
            if self.cluster.writes == before:
                return turn
        raise AssertionError("they write by turns without end")

    def older_settles(self, key: Key) -> None:
        for _ in range(TURNS):
            before = self.cluster.writes
            self.older_works(key)
            if self.cluster.writes == before:
                return
        raise AssertionError("the older one never comes to rest")


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Both:
    return Both(monkeypatch)


class TestAPolicy:
    def test_they_come_to_rest_and_the_newer_one_has_the_last_word(self, both: Both) -> None:
        both.accepted_policy()
        both.take_turns(POLICY_KEY)
        assert both.condition("Ready") == ("True", "PromiseKept")
        assert both.status()["operatorVersion"] == "0.10.0"
        assert len(both.cluster.names("Job")) == 1

    def test_also_while_a_check_runs_and_after_each_change(self, both: Both) -> None:
        both.policy()
        both.take_turns(POLICY_KEY)
        for schedule in ("0 3 * * *", "0 4 * * *"):
            both.cluster.edit("BackupPolicy", "portal-prod", spec__schedule=schedule)
            both.take_turns(POLICY_KEY)
        assert both.condition("Accepted") == ("Unknown", "Checking")
        both.check_passes()
        both.take_turns(POLICY_KEY)
        assert both.condition("Ready") == ("True", "PromiseKept")
        assert len(both.cluster.names("Job")) == 1

    @pytest.mark.parametrize("field", [{"spec__suspend": True}, {"spec__timeZone": "Nowhere/Land"}])
    def test_also_where_no_backup_is_promised(self, both: Both, field: dict[str, Any]) -> None:
        both.accepted_policy()
        both.cluster.edit("BackupPolicy", "portal-prod", **field)
        both.take_turns(POLICY_KEY)
        assert both.status()["operatorVersion"] == "0.10.0"

    def test_each_start_of_the_older_one_is_told_once(self, both: Both) -> None:
        both.accepted_policy()
        both.take_turns(POLICY_KEY)
        for _ in range(2):
            both.older = both.an_older()
            both.take_turns(POLICY_KEY)
        assert both.told().count("NewerOperator") <= 3

    def test_the_older_one_looks_again_when_the_next_backup_ought_to_have_been_told(self, both: Both) -> None:
        both.accepted_policy()
        both.take_turns(POLICY_KEY)
        assert both.older_works(POLICY_KEY).look_again_at == NIGHT + timedelta(minutes=5)

    def test_it_serves_once_the_newer_one_is_gone(self, both: Both) -> None:
        both.accepted_policy()
        both.take_turns(POLICY_KEY)
        both.cluster.now = NIGHT + timedelta(minutes=5)
        both.older_settles(POLICY_KEY)
        assert both.condition("Ready") == ("False", "NewerOperator")

    def test_going_back_to_the_older_one_for_good_is_told_at_once(self, both: Both) -> None:
        both.accepted_policy()
        both.older_settles(POLICY_KEY)
        assert both.condition("Ready") == ("False", "NewerOperator")
        both.cluster.delete("CronJob", "portal-prod-backup")
        both.older_settles(POLICY_KEY)
        assert both.status()["operatorVersion"] == "0.9.5"
        assert both.condition("Accepted") == ("Unknown", "Checking")

    def test_going_forward_the_newer_one_takes_over_at_once(self, both: Both) -> None:
        both.policy()
        both.older_settles(POLICY_KEY)
        both.settle(POLICY_KEY)
        both.check_passes()
        assert both.condition("Ready") == ("True", "PromiseKept")


class TestARequest:
    def test_they_come_to_rest_at_each_step_and_restore_once(self, both: Both) -> None:
        both.policy()
        both.request()
        both.take_turns(REQUEST_KEY)
        both.cluster.start("dr-2026-11-23-restore")
        both.take_turns(REQUEST_KEY)
        both.cluster.finish("dr-2026-11-23-restore", both.report(Task.RESTORE))
        both.take_turns(REQUEST_KEY)
        assert both.condition("Succeeded", REQUEST_KEY) == ("True", "Restored")
        assert both.cluster.created == ["dr-2026-11-23-restore"]
        assert both.told() == ["Restored", "Running"]

    def test_the_older_one_ends_it_within_five_minutes_once_the_newer_one_is_gone(self, both: Both) -> None:
        both.policy()
        both.request(spec__notAfter=print_time(both.cluster.now + timedelta(hours=1)))
        both.take_turns(REQUEST_KEY)
        both.cluster.finish("dr-2026-11-23-restore", both.report(Task.RESTORE))
        both.pass_time(minutes=5)
        both.older_settles(REQUEST_KEY)
        assert both.condition("Succeeded", REQUEST_KEY) == ("True", "Restored")
