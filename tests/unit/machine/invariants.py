"""What design.md promises of a policy's and a request's status, asked of objects as they stand."""

from __future__ import annotations

import re
from typing import Any

from resguardo.api.policy import BackupPolicyStatus
from resguardo.api.request import RestoreRequestStatus
from tests.unit.machine.workload import Workload, place_of
from tests.unit.small_cluster import Body

#: RFC 1123 label of at most 63 characters: a Job's name becomes a label of its pods; a CronJob's leaves 11 for the time.
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def conditions(body: Body) -> dict[str, tuple[str, str]]:
    """Status and reason by type."""
    return {item["type"]: (item["status"], item["reason"]) for item in body.get("status", {}).get("conditions", [])}


def status_is_a_status(body: Body) -> None:
    """It can be read, and is written the same."""
    status = body.get("status")
    if not status:
        return
    model: Any = BackupPolicyStatus if body["kind"] == "BackupPolicy" else RestoreRequestStatus
    assert model.model_validate(status).model_dump(mode="json", by_alias=True, exclude_none=True) == status
    types = [item["type"] for item in status["conditions"]]
    assert len(set(types)) == len(types)
    assert all(
        len(item["message"]) <= 32768 and re.fullmatch(r"[A-Za-z]\w{0,63}", item["reason"])
        for item in status["conditions"]
    )


def names_fit(body: Body) -> None:
    """As Kubernetes wants them."""
    name = body["metadata"]["name"]
    assert NAME.fullmatch(name), name
    assert len(name) <= (52 if body["kind"] == "CronJob" else 63), name


def ready_is_true_only_when_nothing_is_false(policy: Body) -> None:
    """And never beside a condition that is."""
    told = conditions(policy)
    if told.get("Ready", ("",))[0] == "True":
        assert all(status != "False" for status, _ in told.values()), told
        assert told["Accepted"][0] == "True", told
        assert "Stalled" not in told and "Reconciling" not in told, told  # noqa: PT018


def claims_are_true(policy: Body, work: Workload) -> None:
    """lastBackup is in the bucket that the policy names, and lastRun made what it says."""
    status = policy.get("status", {})
    if backup := status.get("lastBackup"):
        held = [item.id for item in work.buckets.get(place_of(policy["spec"]), [])]
        assert backup["id"] in held, f"lastBackup is {backup['id']}, the bucket holds {held}"
    run = status.get("lastRun")
    if run and run.get("succeeded") is not None and run["jobName"] in work.made_backup:
        assert run["succeeded"] == work.made_backup[run["jobName"]], run


def what_is_not_accepted_is_suspended(policy: Body, cron_job: Body | None) -> None:
    """Of a CronJob that is the policy's own."""
    if cron_job is None or not any(
        o["uid"] == policy["metadata"]["uid"] for o in cron_job["metadata"].get("ownerReferences", [])
    ):
        return
    told = conditions(policy).get("Accepted", ("", ""))
    if told[0] == "True":
        assert cron_job["spec"]["suspend"] is bool(policy["spec"].get("suspend", False))
    elif told[1] not in ("NewerOperator", "DocumentInvalid", "ObjectsRefused"):
        assert cron_job["spec"]["suspend"] is True, told


def end_says_why(request: Body) -> None:
    """A terminal state, with a reason and words."""
    status = request["status"]
    succeeded = next(item for item in status["conditions"] if item["type"] == "Succeeded")
    assert succeeded["status"] in ("True", "False")
    assert succeeded["reason"]
    assert len(succeeded["message"]) > 5
    if succeeded["status"] == "True":
        assert succeeded["reason"] in ("Restored", "RestoredUnverified")
