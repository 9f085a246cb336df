"""What design.md promises of a policy's and a request's status, asked of objects as they stand."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from resguardo.api.documents import read_document
from resguardo.api.names import FROZEN_POLICY_ANNOTATION, TASK_LABEL
from resguardo.api.policy import BackupPolicyStatus
from resguardo.api.report import Task
from resguardo.api.request import RestoreRequest, RestoreRequestStatus
from resguardo.controller.runs import ENDING_SLACK, parse_time
from tests.unit.machine.workload import Workload, place_of
from tests.unit.small_cluster import Body

#: RFC 1123 label of at most 63 characters: a Job's name becomes a label of its pods; a CronJob's leaves 11 for the time.
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
#: A scheduled backup's Job, in an Event's message. (A manual one that a vandal deletes may be made again, of that name.)
BACKUP_JOB = re.compile(r"\b(?:portal|archive)-backup-\w+")
#: spec.timeout of the machine's policies, and the time in which a backup may still start.
LATE_AFTER = timedelta(minutes=30) + timedelta(hours=1)


def conditions(body: Body) -> dict[str, tuple[str, str]]:
    """Status and reason by type."""
    return {item["type"]: (item["status"], item["reason"]) for item in body.get("status", {}).get("conditions", [])}


def facts(policy: Body | None) -> dict[str, Any]:
    """What a status tells, without since when and in which words."""
    status = (policy or {}).get("status", {})
    run = status.get("lastRun") or {}
    told = {
        key: status.get(key)
        for key in (
            "observedGeneration",
            "place",
            "inventory",
            "inventoryAt",
            "lastBackup",
            "nextBackupAt",
            "retention",
        )
    }
    # Since when a policy without a backup is in force, only its status knew.
    late_at = status.get("lateAt") if "lastBackup" in status else None
    last_run = run.get("jobName"), run.get("succeeded")
    return told | {"lateAt": late_at, "conditions": conditions(policy or {}), "lastRun": last_run}


def fingerprint(request: Body) -> str:
    """What a request asks for."""
    document = read_document(request)
    assert isinstance(document, RestoreRequest)
    return document.fingerprint


def patience_ends_at(request: Body, timeout: timedelta) -> datetime:
    """Until when a request waits for what it needs."""
    not_after = request["spec"].get("notAfter")
    return parse_time(not_after) if not_after else parse_time(request["metadata"]["creationTimestamp"]) + timeout


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


def what_is_not_accepted_is_suspended(policy: Body, cron_job: Body | None, *, is_wanted: bool = True) -> None:
    """Of a CronJob that is the policy's own, and that it wants, or wanted once."""
    if cron_job is None or not _is_owned_by(policy, cron_job):
        return
    told = conditions(policy).get("Accepted", ("", ""))
    if told[0] == "True":
        assert cron_job["spec"]["suspend"] is (bool(policy["spec"].get("suspend", False)) or not is_wanted)
        assert cron_job["spec"]["schedule"] != "* * * * *", "what a vandal wrote stands"
    elif told[1] not in ("NewerOperator", "DocumentInvalid", "ObjectsRefused"):
        assert cron_job["spec"]["suspend"] is True, told


def _is_owned_by(policy: Body, body: Body) -> bool:
    owners = body["metadata"].get("ownerReferences", [])
    return any(owner["uid"] == policy["metadata"]["uid"] for owner in owners)


def retained_is_what_a_run_came_to(policy: Body, cron_job: Body | None, work: Workload) -> None:
    """Readable, whatever became of the runs; True only of a run that was, and of one that is wanted."""
    told = conditions(policy).get("Retained")
    if told is None:
        return
    status, reason = told
    spec, enforced_at = policy["spec"], policy["status"].get("retention", {}).get("enforcedAt")
    if enforced_at is not None:
        assert enforced_at in work.enforced.get(place_of(spec), set()), f"{enforced_at}: {work.enforced}"
    if not spec.get("retention"):
        assert told == ("Unknown", "NotEnforced")
    elif spec.get("suspend"):
        # What is not ours runs on as its owner likes, suspended or not.
        is_in_the_way = cron_job is not None and not _is_owned_by(policy, cron_job)
        assert told == (("False", "NameTaken") if is_in_the_way else ("Unknown", "Suspended"))
    elif status == "True":
        assert reason == "RetentionEnforced"
        assert enforced_at is not None
    if reason == "CreateContainerConfigError":
        running = [work.cluster.body("Job", name) for name in work.running()]
        tasks = [job["spec"]["template"]["metadata"]["labels"][TASK_LABEL] for job in running if job]
        assert Task.RETENTION in tasks, "it waits, and no run does"
    if spec.get("retention") and conditions(policy)["Accepted"][0] == "True":
        assert cron_job is not None, "nothing carries retention out"


def no_retention_hangs(policy: Body, jobs: Sequence[Body], now: datetime) -> None:
    """A run on a lost node is removed once it is given up: Forbid would keep the next ones from running."""
    for job in jobs:
        owner = json.loads(job["spec"]["template"]["metadata"]["annotations"][FROZEN_POLICY_ANNOTATION])["metadata"]
        if job["metadata"]["labels"].get(TASK_LABEL) != Task.RETENTION or owner["uid"] != policy["metadata"]["uid"]:
            continue
        told = [item for item in job["status"].get("conditions", []) if item["type"] == "FailureTarget"]
        assert not told or now < parse_time(told[0]["lastTransitionTime"]) + ENDING_SLACK, job["metadata"]["name"]


def late_from(policy: Body) -> datetime | None:
    """The second from which a policy's promise of a newer backup is broken; None while it promises none."""
    spec, status = policy["spec"], policy.get("status", {})
    accepted = next((item for item in status.get("conditions", []) if item["type"] == "Accepted"), None)
    if backup := status.get("lastBackup"):
        since = parse_time(backup["startedAt"])
    elif accepted and accepted["status"] == "True":
        since = parse_time(accepted["lastTransitionTime"])
    else:
        return None
    if spec.get("suspend"):
        return None
    # Each schedule here names one minute of every day.
    minute, hour = (int(number) for number in spec["schedule"].split()[:2])
    after = since.astimezone(ZoneInfo(spec["timeZone"]))
    asked_for = after.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return (asked_for if asked_for > after else asked_for + timedelta(days=1)) + LATE_AFTER


def late_is_told_to_the_second(policy: Body, now: datetime) -> None:
    """Not before, and from then on unless something worse is told."""
    if "BackedUp" not in conditions(policy):
        return
    (status, reason), moment = conditions(policy)["BackedUp"], late_from(policy)
    if reason == "Late":
        assert moment is not None, "Late, and nothing was promised"
        assert now >= moment, f"Late at {now}, {moment - now} too early"
    elif moment is not None and status != "False":
        assert now < moment, f"{status} {reason} at {now}, Late by {now - moment}"


def events_are_few_and_none_is_told_twice(events: Sequence[Body], *, most: int) -> None:
    """Of one resource: not many more than its conditions changed, and what one backup came to only once."""
    assert len(events) <= most, [(event["reason"], event["message"]) for event in events]
    results = Counter(
        (event["reason"], job[0])
        for event in events
        if event["reason"] != "BackupRequested" and (job := BACKUP_JOB.search(event["message"]))
    )
    assert not results or max(results.values()) == 1, results


def end_says_why(request: Body) -> None:
    """A terminal state, with a reason and words."""
    status = request["status"]
    succeeded = next(item for item in status["conditions"] if item["type"] == "Succeeded")
    assert succeeded["status"] in ("True", "False")
    assert succeeded["reason"]
    assert len(succeeded["message"]) > 5
    if succeeded["status"] == "True":
        assert succeeded["reason"] in ("Restored", "RestoredUnverified")
