"""What befalls retention as the operator lets it run: its CronJob, its Jobs and their pods in people's hands.

What breaks inside a run is tests/data's (test_retention_faults.py); a lost node is in test_pods.py.
"""

from __future__ import annotations

import time

import pytest

from tests.fixtures.cluster import DEADLINES, PATIENCE, condition, has_condition
from tests.fixtures.holding import back_up, events, make_ready
from tests.fixtures.portal import Portal

pytestmark = pytest.mark.fault

RETENTION = {"daily": "30d"}
CRON_JOB = "portal-retention"


def run_retention(portal: Portal, job: str) -> None:
    """As a person would."""
    portal.cluster.kubectl("create", "job", f"--from=cronjob/{CRON_JOB}", job, "-n", portal.namespace)


def retain(portal: Portal, job: str) -> None:
    """A run that works: the one after a fault."""
    run_retention(portal, job)
    portal.cluster.kubectl(
        "wait", "--for=condition=Complete", f"job/{job}", "-n", portal.namespace, "--timeout=120s", timeout=130
    )
    portal.cluster.wait_for(
        "bp", "portal", portal.namespace, has_condition("Retained", "True", "RetentionEnforced"), until="backup done"
    )


def test_its_cronjob_edited_or_deleted_by_hand_is_put_right(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    make_ready(portal, retention=RETENTION)
    before = cluster.get("cronjob", CRON_JOB, namespace)
    assert before is not None
    wanted = before["spec"]
    edit = '{"spec":{"suspend":true,"schedule":"* * * * *","concurrencyPolicy":"Allow"},"metadata":{"labels":{"resguardo.dev/task":"x"}}}'
    cluster.kubectl("patch", "cronjob", CRON_JOB, "-n", namespace, "--type=merge", "-p", edit)
    healed = cluster.wait_for(
        "cronjob", CRON_JOB, namespace, lambda found: found["spec"] == wanted, until="object made"
    )
    assert healed["metadata"]["labels"]["resguardo.dev/task"] == "retention"
    cluster.kubectl("delete", "cronjob", CRON_JOB, "-n", namespace)
    made = cluster.wait_for("cronjob", CRON_JOB, namespace, lambda found: found["spec"] == wanted, until="object made")
    assert made["metadata"]["uid"] != before["metadata"]["uid"]
    back_up(portal, "first")
    retain(portal, "again")


def test_its_job_suspended_or_deleted_and_its_pod_deleted_end_readably(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    make_ready(portal, retention=RETENTION)
    back_up(portal, "first")
    retain(portal, "works")

    # A Job that somebody suspends is told, and goes on when it is resumed; its deletion takes nothing back
    run_retention(portal, "suspended")
    cluster.kubectl("patch", "job", "suspended", "-n", namespace, "-p", '{"spec":{"suspend":true}}')
    policy = cluster.get("bp", "portal", namespace)
    if not _has_ended(portal, "suspended"):
        policy = cluster.wait_for(
            "bp", "portal", namespace, has_condition("Retained", "False", "JobSuspended"), until="condition shows"
        )
        assert "Job suspended" in condition(policy, "Retained")["message"]
    cluster.kubectl("delete", "job", "suspended", "-n", namespace, "--cascade=foreground", timeout=130)
    cluster.wait_for(
        "bp", "portal", namespace, has_condition("Retained", "True", "RetentionEnforced"), until="condition shows"
    )

    # A pod that is deleted has ended before, or was told to stop, or left no word
    run_retention(portal, "without-pod")
    cluster.kubectl("delete", "pod", _pod_of(portal, "without-pod"), "-n", namespace, timeout=130)
    told = cluster.wait_for("bp", "portal", namespace, lambda _: _has_ended(portal, "without-pod"), until="backup done")
    told = cluster.wait_for(
        "bp", "portal", namespace,
        lambda policy: condition(policy, "Retained")["reason"] in ("RetentionEnforced", "Stopped", "ReportLost"),
        until="condition shows",
    )  # fmt: skip
    assert condition(told, "Retained")["message"]
    retain(portal, "again")
    assert len(events(portal, "BackupSucceeded")) == 1


def _has_ended(portal: Portal, job: str) -> bool:
    found = portal.cluster.get("job", job, portal.namespace)
    conditions = (found or {}).get("status", {}).get("conditions", [])
    return any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)


def _pod_of(portal: Portal, job: str) -> str:
    deadline = time.monotonic() + DEADLINES["object made"] * PATIENCE
    while time.monotonic() < deadline:
        if pods := portal.cluster.list("pods", portal.namespace, f"batch.kubernetes.io/job-name={job}"):
            return str(pods[0]["metadata"]["name"])
        time.sleep(0.2)
    pytest.fail(f"Job {job} has no pod\n" + portal.cluster.explain(None, portal.namespace))
