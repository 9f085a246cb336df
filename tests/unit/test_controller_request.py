"""The life of a request: carried out once, and ended in a state that a person can read, whatever dies on the way."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from resguardo.api.base import print_time
from resguardo.api.report import RestoreOutcome, Task
from resguardo.api.request import CheckStatus, RestoreCheck, RestoreRequestStatus
from resguardo.controller.outcome import Key
from tests.unit.small_cluster import REQUEST_KEY, Killed, World

JOB = "dr-2026-11-23-restore"
SECOND = Key("RestoreRequest", "default", "second")


@pytest.fixture
def world() -> World:
    world = World()
    world.policy()
    return world


def _run(world: World) -> None:
    """A request whose Job runs."""
    world.request()
    world.settle(REQUEST_KEY)
    world.cluster.start(JOB)
    world.settle(REQUEST_KEY)


def _carry_out(world: World) -> None:
    for _ in range(10):
        world.controller.reconcile(REQUEST_KEY)
        if "jobUid" in world.status(REQUEST_KEY)["claim"]:
            world.cluster.finish(JOB, world.report(Task.RESTORE))


def _is_terminal(world: World) -> bool:
    return "completedAt" in world.status(REQUEST_KEY)


class TestClaim:
    def test_the_claim_is_in_status_before_there_is_a_job(self, world: World) -> None:
        world.request()
        world.controller.reconcile(REQUEST_KEY)
        assert world.status(REQUEST_KEY)["claim"] == {"jobName": JOB, "claimedAt": "2026-11-23T12:00:00Z"}
        assert world.cluster.names("Job") == []

    def test_the_job_comes_next_and_then_its_uid(self, world: World) -> None:
        world.request()
        world.controller.reconcile(REQUEST_KEY)
        world.controller.reconcile(REQUEST_KEY)
        assert world.cluster.names("Job") == [JOB]
        assert "jobUid" not in world.status(REQUEST_KEY)["claim"]
        world.controller.reconcile(REQUEST_KEY)
        assert world.status(REQUEST_KEY)["claim"]["jobUid"] == world.cluster.the_job(JOB)["metadata"]["uid"]
        assert world.condition("Succeeded", REQUEST_KEY) == ("Unknown", "Running")
        assert world.condition("Accepted", REQUEST_KEY) == ("True", "Claimed")

    @pytest.mark.parametrize("writes", range(6))
    def test_an_operator_killed_at_any_write_makes_no_second_job_and_ends_the_same(
        self, world: World, writes: int
    ) -> None:
        world.request()
        world.cluster.dies_after = writes
        with pytest.raises(Killed):
            _carry_out(world)
        world.cluster.dies_after = None
        world.restart()
        world.settle(REQUEST_KEY)
        if not _is_terminal(world):
            world.cluster.finish(JOB, world.report(Task.RESTORE))
            world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("True", "Restored")
        assert world.cluster.created == [JOB]

    def test_two_operators_at_once_make_one_job(self, world: World) -> None:
        world.request()
        other = world.new_controller()
        for _ in range(4):
            world.controller.reconcile(REQUEST_KEY)
            other.reconcile(REQUEST_KEY)
        world.cluster.finish(JOB, world.report(Task.RESTORE))
        world.controller.reconcile(REQUEST_KEY)
        other.reconcile(REQUEST_KEY)
        assert world.cluster.created == [JOB]
        assert world.told() == ["Restored", "Running"]

    def test_a_claimed_job_that_is_gone_is_interrupted_and_never_made_again(self, world: World) -> None:
        _run(world)
        world.cluster.delete("Job", JOB)
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("False", "Interrupted")
        assert "agepar_restore_" in world.message("Succeeded", REQUEST_KEY)
        world.pass_time(days=1)
        world.settle(REQUEST_KEY)
        assert world.cluster.created == [JOB]

    def test_a_job_of_the_same_name_made_by_hand_does_not_stand_in_for_it(self, world: World) -> None:
        _run(world)
        copy = world.cluster.the_job(JOB)
        world.cluster.delete("Job", JOB)
        world.cluster.put({**copy, "metadata": {**copy["metadata"], "uid": "another"}})
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("False", "Interrupted")

    def test_a_policy_that_became_unreadable_meanwhile_changes_nothing(self, world: World) -> None:
        _run(world)
        world.cluster.edit("BackupPolicy", "portal-prod", spec__store={})
        world.cluster.finish(JOB, world.report(Task.RESTORE))
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("True", "Restored")

    def test_an_edited_restore_job_is_left_alone(self, world: World) -> None:
        _run(world)
        world.cluster.edit("Job", JOB, metadata__labels={}, spec__activeDeadlineSeconds=5)
        world.settle(REQUEST_KEY)
        assert world.cluster.the_job(JOB)["spec"]["activeDeadlineSeconds"] == 5
        assert world.condition("Succeeded", REQUEST_KEY) == ("Unknown", "Running")


class TestBeforeTheClaim:
    def test_past_not_after_it_expires(self, world: World) -> None:
        world.request(spec__notAfter=print_time(world.cluster.now))
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("False", "Expired")
        assert _is_terminal(world)
        assert world.cluster.names("Job") == []

    def test_a_second_before_it_begins(self, world: World) -> None:
        world.request(spec__notAfter=print_time(world.cluster.now + timedelta(seconds=1)))
        world.settle(REQUEST_KEY)
        assert world.cluster.names("Job") == [JOB]

    def test_what_runs_already_does_not_expire(self, world: World) -> None:
        world.request(spec__notAfter=print_time(world.cluster.now + timedelta(seconds=1)))
        world.settle(REQUEST_KEY)
        world.pass_time(hours=1)
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("Unknown", "Running")

    def test_what_was_claimed_and_never_seen_to_run_expires_all_the_same(self, world: World) -> None:
        """An operator that comes back after a month must not replay what was meant for then."""
        world.request(spec__notAfter=print_time(world.cluster.now + timedelta(seconds=1)))
        world.controller.reconcile(REQUEST_KEY)
        world.pass_time(days=30)
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("False", "Expired")
        assert world.cluster.names("Job") == []

    def test_a_missing_policy_is_waited_for(self, world: World) -> None:
        world.cluster.delete("BackupPolicy", "portal-prod")
        world.request()
        following = world.controller.reconcile(REQUEST_KEY)
        assert following.waits_for == (Key("BackupPolicy", "default", "portal-prod"),)
        assert world.condition("Accepted", REQUEST_KEY) == ("False", "PolicyNotFound")
        assert world.condition("Succeeded", REQUEST_KEY) == ("Unknown", "Waiting")
        world.policy()
        world.settle(REQUEST_KEY)
        assert world.cluster.names("Job") == [JOB]

    @pytest.mark.parametrize(("seconds", "ended"), [(-1, False), (0, True)])
    def test_for_as_long_as_it_might_have_run(self, world: World, seconds: int, ended: bool) -> None:
        world.cluster.delete("BackupPolicy", "portal-prod")
        world.request()
        due = world.settle(REQUEST_KEY)
        assert due == world.cluster.now + timedelta(hours=6)
        world.cluster.now = due + timedelta(seconds=seconds)
        world.settle(REQUEST_KEY)
        assert _is_terminal(world) is ended
        if ended:
            assert world.condition("Succeeded", REQUEST_KEY) == ("False", "PolicyNotFound")

    def test_a_store_needs_no_policy(self, world: World) -> None:
        store = world.cluster.get("BackupPolicy", "default", "portal-prod")["spec"]["store"]  # type: ignore[index]
        world.cluster.delete("BackupPolicy", "portal-prod")
        world.request(spec__from={"store": store})
        world.settle(REQUEST_KEY)
        pod = world.cluster.the_job(JOB)["spec"]["template"]
        assert pod["spec"]["containers"][0]["args"] == ["restore", "-f", "/etc/resguardo/documents/request.json"]

    @pytest.mark.parametrize(
        "field", [{"spec__timeZone": "Nowhere/Land"}, {"spec__suspend": True}, {"spec__schedule": "0 0 31 2 *"}]
    )
    def test_a_policy_that_is_not_ready_never_blocks_a_restore(self, world: World, field: dict[str, Any]) -> None:
        world.cluster.edit("BackupPolicy", "portal-prod", **field)
        world.request()
        world.settle(REQUEST_KEY)
        assert world.cluster.names("Job") == [JOB]

    def test_a_policy_whose_store_cannot_be_read_is_told(self, world: World) -> None:
        world.cluster.edit("BackupPolicy", "portal-prod", spec__store={})
        world.request()
        world.settle(REQUEST_KEY)
        assert world.condition("Accepted", REQUEST_KEY) == ("False", "DocumentInvalid")
        assert "spec.store" in world.message("Accepted", REQUEST_KEY)

    def test_a_request_that_the_models_refuse_ends_at_once(self, world: World) -> None:
        world.request(spec__target__postgres__database="ü" * 40)
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("False", "DocumentInvalid")
        assert _is_terminal(world)

    def test_a_strangers_job_under_its_name_is_told(self, world: World) -> None:
        world.cluster.put({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": JOB, "namespace": "default"}})
        world.request()
        world.settle(REQUEST_KEY)
        assert world.condition("Accepted", REQUEST_KEY) == ("False", "NameTaken")
        world.cluster.delete("Job", JOB)
        world.settle(REQUEST_KEY)
        assert world.cluster.created == [JOB]

    def test_the_job_of_a_deleted_request_of_this_name_is_waited_for(self, world: World) -> None:
        _run(world)
        left = world.cluster.the_job(JOB)
        world.cluster.delete("RestoreRequest", "dr-2026-11-23")
        world.cluster.put(left)
        world.request()
        assert world.settle(REQUEST_KEY) == world.cluster.now + timedelta(seconds=5)
        assert world.condition("Succeeded", REQUEST_KEY) == ("Unknown", "Waiting")


class TestALostStatus:
    """Its Job is still there, and tells what became of the request, whatever would now stand in the way of a new one."""

    @pytest.fixture(
        params=["nothing", "past notAfter", "no policy", "an unreadable policy", "a rival", "past its patience"]
    )
    def obstacle(self, request: pytest.FixtureRequest, world: World) -> None:
        world.request(spec__notAfter=print_time(world.cluster.now + timedelta(hours=1)))
        world.settle(REQUEST_KEY)
        world.cluster.start(JOB)
        match request.param:
            case "past notAfter":
                world.pass_time(hours=2)
            case "no policy":
                world.cluster.delete("BackupPolicy", "portal-prod")
            case "an unreadable policy":
                world.cluster.edit("BackupPolicy", "portal-prod", spec__store={})
            case "a rival":
                world.cluster.edit("RestoreRequest", "dr-2026-11-23", status={})
                world.request("second")
                world.settle(SECOND)
            case "past its patience":
                world.cluster.delete("BackupPolicy", "portal-prod")
                world.pass_time(days=400)
        world.cluster.edit("RestoreRequest", "dr-2026-11-23", status={})

    @pytest.mark.usefixtures("obstacle")
    def test_one_that_runs_runs(self, world: World) -> None:
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("Unknown", "Running")
        assert world.condition("Accepted", REQUEST_KEY) == ("True", "Claimed")
        assert world.status(REQUEST_KEY)["claim"] == {
            "jobName": JOB,
            "claimedAt": "2026-11-23T12:00:00Z",
            "jobUid": world.cluster.the_job(JOB)["metadata"]["uid"],
        }

    @pytest.mark.usefixtures("obstacle")
    @pytest.mark.parametrize("reason", [None, "RestoreFailed"])
    def test_one_that_has_ended_ended_as_its_report_says(self, world: World, reason: str | None) -> None:
        world.cluster.finish(JOB, world.report(Task.RESTORE, reason=reason))
        ended_at = print_time(world.cluster.now)
        world.pass_time(days=1)
        world.settle(REQUEST_KEY)
        status = world.status(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == (("False", reason) if reason else ("True", "Restored"))
        assert (status["startedAt"], status["completedAt"]) == ("2026-11-23T12:00:00Z", ended_at)
        assert world.cluster.created.count(JOB) == 1

    def test_a_job_of_a_former_request_of_this_name_tells_nothing(self, world: World) -> None:
        _run(world)
        left = world.cluster.the_job(JOB)
        world.cluster.finish(JOB, world.report(Task.RESTORE))
        world.cluster.delete("RestoreRequest", "dr-2026-11-23")
        world.cluster.put(left)
        world.request(spec__notAfter=print_time(world.cluster.now))
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("False", "Expired")


class TestRivals:
    def test_the_later_of_two_for_one_database_waits_for_the_end_of_the_earlier(self, world: World) -> None:
        world.request()
        world.pass_time(seconds=1)
        world.request("second")
        world.settle(SECOND)
        assert world.condition("Succeeded", SECOND) == ("Unknown", "Waiting")
        assert "dr-2026-11-23" in world.message("Succeeded", SECOND)
        world.settle(REQUEST_KEY)
        assert world.controller.reconcile(SECOND).waits_for == (REQUEST_KEY,)
        world.cluster.finish(JOB, world.report(Task.RESTORE))
        world.settle(REQUEST_KEY, SECOND)
        assert world.cluster.created == [JOB, "second-restore"]

    def test_one_that_cannot_begin_holds_nobody_up(self, world: World) -> None:
        world.request(spec__from={"policyRef": {"name": "missing"}})
        world.settle(REQUEST_KEY)
        world.pass_time(seconds=1)
        world.request("second")
        world.settle(SECOND)
        assert world.cluster.created == ["second-restore"]

    def test_nor_does_it_begin_beside_the_one_that_went_ahead(self, world: World) -> None:
        world.request(spec__from={"policyRef": {"name": "later"}})
        world.settle(REQUEST_KEY)
        world.pass_time(seconds=1)
        world.request("second")
        world.settle(SECOND)
        later = world.cluster.get("BackupPolicy", "default", "portal-prod")
        assert later is not None
        world.cluster.put({**later, "metadata": {"name": "later", "namespace": "default"}})
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("Unknown", "Waiting")
        assert world.cluster.created == ["second-restore"]
        world.cluster.finish("second-restore", world.report(Task.RESTORE))
        world.settle(SECOND, REQUEST_KEY)
        assert world.cluster.created == ["second-restore", JOB]

    def test_another_database_is_no_rival(self, world: World) -> None:
        world.request()
        world.request("second", spec__target__postgres__database="other")
        world.settle(SECOND, REQUEST_KEY)
        assert world.cluster.created == ["second-restore", JOB]


class TestEnds:
    def test_restored(self, world: World) -> None:
        _run(world)
        world.pass_time(minutes=10)
        backup = world.backup_of_now(days=1)
        check = RestoreCheck(name="rows", status=CheckStatus.PASSED, message="12 tables")
        found = RestoreOutcome(
            database="agepar",
            previous_database="agepar_before_1",
            recovery_point_time=datetime.fromisoformat("2026-11-22T12:00:00Z"),
            checks=[check],
            omitted=["subscription s"],
        )
        world.cluster.finish(JOB, world.report(Task.RESTORE, backup=backup, restore=found))
        world.settle(REQUEST_KEY)
        status = world.status(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("True", "Restored")
        assert status["backup"]["id"] == backup.id
        assert status["startedAt"] == "2026-11-23T12:00:00Z"
        assert status["completedAt"] == "2026-11-23T12:10:00Z"
        assert status["recoveryTimeSeconds"] == 600
        assert status["recoveryPointTime"] == "2026-11-22T12:00:00Z"
        assert status["duration"] == "1s"
        assert status["checks"][0]["name"] == "rows"
        assert status["omitted"] == ["subscription s"]
        assert status["previousDatabase"] == "agepar_before_1"
        assert world.told() == ["Restored", "Running"]

    def test_more_left_out_than_a_report_holds_is_cut_and_counted_within_the_bounds_of_status(
        self, world: World
    ) -> None:
        sentences = [f'{n}: privileges on "ção d\'água" \\ %s, '.ljust(500, "é") for n in range(100)]
        _run(world)
        world.cluster.finish(JOB, world.report(Task.RESTORE, restore=RestoreOutcome(omitted=sentences)))
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("True", "Restored")
        *told, count = world.status(REQUEST_KEY)["omitted"]
        assert told
        for sentence, whole in zip(told, sentences, strict=False):
            assert sentence.endswith("…")
            assert whole.startswith(sentence.removesuffix("…"))
        assert count == f"and {100 - len(told)} more: see the pod's log"
        RestoreRequestStatus.model_validate(world.status(REQUEST_KEY))

    @pytest.mark.parametrize(
        "reason",
        [
            "TargetNotEmpty",
            "RestoreBlocked",
            "RestoredUnverified",
            "BackupNotFound",
            "ObjectCorrupt",
            "AlreadyRestored",
        ],
    )
    def test_a_reported_failure(self, world: World, reason: str) -> None:
        _run(world)
        world.cluster.finish(JOB, world.report(Task.RESTORE, reason=reason, message="what to do"))
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("False", reason)
        assert world.message("Succeeded", REQUEST_KEY) == "what to do"
        assert _is_terminal(world)

    @pytest.mark.parametrize(
        ("how", "reason"),
        [
            ({"exit_status": 1, "keep_pod": False}, "Interrupted"),
            ({"exit_status": 137, "killed": "OOMKilled"}, "Interrupted"),
            ({"exit_status": 1, "job_reason": "DeadlineExceeded", "keep_pod": False}, "DeadlineExceeded"),
            ({"exit_status": 0, "keep_pod": False}, "ReportLost"),
        ],
    )
    def test_without_a_report_it_says_what_to_look_for(self, world: World, how: dict[str, Any], reason: str) -> None:
        _run(world)
        world.cluster.finish(JOB, None, **how)
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("False", reason)
        assert "agepar_restore_" in world.message("Succeeded", REQUEST_KEY)
        assert _is_terminal(world)

    def test_a_node_that_is_lost_ends_it(self, world: World) -> None:
        _run(world)
        world.cluster.tell_to_end(JOB)
        due = world.settle(REQUEST_KEY)
        assert due == world.cluster.now + timedelta(minutes=2)
        world.cluster.now = due
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("False", "Interrupted")
        assert "node-1" in world.message("Succeeded", REQUEST_KEY)

    def test_an_operator_whose_clock_is_ahead_does_not_call_it_interrupted_while_it_runs(self, world: World) -> None:
        _run(world)
        world.pass_time(hours=8)
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("Unknown", "Running")
        world.cluster.finish(JOB, world.report(Task.RESTORE))
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("True", "Restored")

    def test_what_its_pod_waited_for_is_in_its_end(self, world: World) -> None:
        world.request()
        world.settle(REQUEST_KEY)
        pod = world.cluster.start(JOB, pod_status={"phase": "Pending"})
        world.cluster.warn(pod, "FailedMount", 'secret "db-prod-restore" not found')
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("Unknown", "FailedMount")
        world.cluster.finish(JOB, None, exit_status=1, job_reason="DeadlineExceeded", keep_pod=False)
        world.settle(REQUEST_KEY)
        assert world.condition("Succeeded", REQUEST_KEY) == ("False", "DeadlineExceeded")
        assert 'secret "db-prod-restore" not found' in world.message("Succeeded", REQUEST_KEY)

    def test_an_end_is_an_end(self, world: World) -> None:
        _run(world)
        world.cluster.finish(JOB, world.report(Task.RESTORE))
        world.settle(REQUEST_KEY)
        before = world.status(REQUEST_KEY)
        world.cluster.delete("Job", JOB)
        world.cluster.delete("BackupPolicy", "portal-prod")
        world.pass_time(days=400)
        world.restart()
        assert world.settle(REQUEST_KEY) is None
        assert world.status(REQUEST_KEY) == before


class TestDropPrevious:
    def _replaced(self, world: World) -> None:
        _run(world)
        found = RestoreOutcome(database="agepar", previous_database="agepar_before_1")
        world.cluster.finish(JOB, world.report(Task.RESTORE, restore=found))
        world.settle(REQUEST_KEY)

    def test_nothing_is_dropped_until_it_is_asked_for(self, world: World) -> None:
        self._replaced(world)
        world.pass_time(days=400)
        world.settle(REQUEST_KEY)
        assert world.cluster.created == [JOB]

    def test_it_is_dropped_once(self, world: World) -> None:
        self._replaced(world)
        world.cluster.edit("RestoreRequest", "dr-2026-11-23", spec__dropPrevious=True)
        world.settle(REQUEST_KEY)
        job = world.cluster.the_job("-drop")
        assert (
            '"previousDatabase":"agepar_before_1"'
            in job["spec"]["template"]["metadata"]["annotations"]["resguardo.dev/request"]
        )
        world.cluster.finish("dr-2026-11-23-drop", world.report(Task.DROP_PREVIOUS))
        world.settle(REQUEST_KEY)
        assert world.status(REQUEST_KEY)["previousDropped"] is True
        assert world.condition("PreviousDropped", REQUEST_KEY) == ("True", "PreviousDropped")
        world.cluster.delete("Job", "dr-2026-11-23-drop")
        world.settle(REQUEST_KEY)
        assert world.cluster.created == [JOB, "dr-2026-11-23-drop"]
        assert "PreviousDropped" in world.told()

    def test_a_failure_is_told_and_tried_again(self, world: World) -> None:
        self._replaced(world)
        world.cluster.edit("RestoreRequest", "dr-2026-11-23", spec__dropPrevious=True)
        world.settle(REQUEST_KEY)
        world.cluster.finish("dr-2026-11-23-drop", world.report(Task.DROP_PREVIOUS, reason="TargetBusy"))
        due = world.settle(REQUEST_KEY)
        assert due is not None
        assert "PreviousNotDropped" in world.told()
        assert world.condition("Succeeded", REQUEST_KEY) == ("True", "Restored")
        assert world.condition("PreviousDropped", REQUEST_KEY) == ("False", "TargetBusy")
        world.cluster.now = due
        world.settle(REQUEST_KEY)
        assert world.condition("PreviousDropped", REQUEST_KEY) == ("False", "TargetBusy")
        assert [name for name in world.cluster.names("Job") if "-drop" in name] == ["dr-2026-11-23-drop-2"]

    def test_nothing_is_dropped_after_a_restore_that_failed(self, world: World) -> None:
        _run(world)
        found = RestoreOutcome(previous_database="agepar_before_1")
        world.cluster.finish(JOB, world.report(Task.RESTORE, reason="RestoreFailed", restore=found))
        world.settle(REQUEST_KEY)
        world.cluster.edit("RestoreRequest", "dr-2026-11-23", spec__dropPrevious=True)
        world.settle(REQUEST_KEY)
        assert world.cluster.created == [JOB]
