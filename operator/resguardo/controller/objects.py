"""The Jobs and CronJobs that a policy or request stands for. Pure: models in, manifests out.

Each carries the hash of what was wanted and the version that wanted it, so that a change, an edit by hand and a newer
operator's work can be told apart.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from resguardo.api.base import canonical_hash
from resguardo.api.durations import parse_duration
from resguardo.api.names import (
    API_VERSION,
    FROZEN_POLICY_ANNOTATION,
    FROZEN_REQUEST_ANNOTATION,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    POLICY_HASH_ANNOTATION,
    POLICY_KIND,
    POLICY_LABEL,
    REQUEST_KIND,
    REQUEST_LABEL,
    TASK_LABEL,
    WANTED_HASH_ANNOTATION,
    WRITER_VERSION_ANNOTATION,
)
from resguardo.api.policy import BackupPolicy
from resguardo.api.report import Task
from resguardo.api.request import RestoreRequest
from resguardo.api.roles import Role
from resguardo.api.store import Store
from resguardo.controller.documents import freeze_policy, freeze_request
from resguardo.controller.pod import pod_template
from resguardo.controller.settings import Settings

#: The process ends itself at the timeout and cleans up; Kubernetes deletes pod and message with it, so it comes later.
DEADLINE_SLACK = timedelta(minutes=5)
#: A check looks and claims, it moves nothing (the command line ends it after this long, or sooner).
CHECK_TIMEOUT = timedelta(minutes=5)
DROP_TIMEOUT = timedelta(minutes=10)
#: How late the CronJob controller may still start a backup.
STARTING_DEADLINE = timedelta(hours=1)
#: Ended manual Jobs go after a week, when the history has long been told by status.
MANUAL_TTL = timedelta(days=7)
HISTORY = 3

Manifest = dict[str, Any]


def cron_job_name(policy_name: str, task: Task = Task.BACKUP) -> str:
    """A policy's one CronJob for a task."""
    return f"{policy_name}-{task.value}"


def check_job_name(policy: BackupPolicy, attempt: int) -> str:
    """One attempt to check one policy's one content. The uid is in the hash: a policy made anew meets no old Job."""
    suffix = f"-{attempt}" if attempt > 1 else ""
    return f"{policy.metadata.name}-check-{_hash8(policy.metadata.uid, policy.hash)}{suffix}"


def manual_job_name(policy: BackupPolicy, requested_at: str) -> str:
    """The one backup that a value of the annotation stands for."""
    return f"{policy.metadata.name}-manual-{_hash8(policy.metadata.uid, requested_at)}"


def restore_job_name(request_name: str) -> str:
    """A request's one restore Job."""
    return f"{request_name}-restore"


def drop_job_name(request_name: str, attempt: int) -> str:
    """One attempt to drop the database that a Replace kept."""
    return f"{request_name}-drop" + (f"-{attempt}" if attempt > 1 else "")


def build_cron_job(policy: BackupPolicy, settings: Settings, *, suspend: bool) -> Manifest:
    """The nightly backup."""
    labels = _policy_labels(policy, Task.BACKUP)
    body = _object("CronJob", cron_job_name(policy.metadata.name), policy, labels)
    body["spec"] = _cron_job_spec(
        policy, policy.spec.schedule, labels, _backup_job_spec(policy, settings), suspend=suspend
    )
    return _stamped(body, settings)


def build_retention_cron_job(policy: BackupPolicy, settings: Settings, *, suspend: bool) -> Manifest:
    """Retention once a day. At which minute, the policy's uid says: not all policies of a cluster at once."""
    labels = _policy_labels(policy, Task.RETENTION)
    body = _object("CronJob", cron_job_name(policy.metadata.name, Task.RETENTION), policy, labels)
    minute = int(_hash8(policy.metadata.uid, Task.RETENTION.value), 16) % (24 * 60)
    body["spec"] = _cron_job_spec(
        policy,
        f"{minute % 60} {minute // 60} * * *",
        labels,
        _job_spec(
            _policy_pod(policy, settings, Task.RETENTION), parse_duration(policy.spec.timeout), ignore_disruptions=True
        ),
        suspend=suspend,
    )
    return _stamped(body, settings)


def build_manual_job(policy: BackupPolicy, settings: Settings, *, requested_at: str) -> Manifest:
    """One backup now."""
    body = _object(
        "Job",
        manual_job_name(policy, requested_at),
        policy,
        _policy_labels(policy, Task.BACKUP),
        {POLICY_HASH_ANNOTATION: policy.hash},
    )
    body["spec"] = _backup_job_spec(policy, settings) | {"ttlSecondsAfterFinished": int(MANUAL_TTL.total_seconds())}
    return _stamped(body, settings)


def build_check_job(policy: BackupPolicy, settings: Settings, *, attempt: int) -> Manifest:
    """One attempt to keep the policy: log in, look at rights, write, claim the prefix, read the inventory."""
    body = _object(
        "Job",
        check_job_name(policy, attempt),
        policy,
        _policy_labels(policy, Task.CHECK),
        {POLICY_HASH_ANNOTATION: policy.hash},
    )
    timeout = min(parse_duration(policy.spec.timeout), CHECK_TIMEOUT)
    body["spec"] = _job_spec(_policy_pod(policy, settings, Task.CHECK), timeout, ignore_disruptions=True)
    return _stamped(body, settings)


def build_restore_job(
    request: RestoreRequest, policy: BackupPolicy | None, settings: Settings, *, name: str
) -> Manifest:
    """The one restore of a request; `policy` is the one that it refers to, None where it names a store itself.

    A disruption ends it: starting again is a person's decision, with a new request.
    """
    documents = {FROZEN_REQUEST_ANNOTATION: freeze_request(request, cluster_id=settings.cluster_id)}
    store: Store | None = request.spec.from_.store
    if policy is not None:
        documents[FROZEN_POLICY_ANNOTATION] = freeze_policy(policy, cluster_id=settings.cluster_id)
        store = policy.spec.store
    timeout = parse_duration(request.spec.timeout)
    return _request_job(
        request, settings, task=Task.RESTORE, name=name, documents=documents, store=store, timeout=timeout
    )


def build_drop_job(
    request: RestoreRequest, settings: Settings, *, previous_database: str | None, attempt: int
) -> Manifest:
    """One attempt to drop what Replace kept."""
    frozen = freeze_request(request, cluster_id=settings.cluster_id, previous_database=previous_database)
    name = drop_job_name(request.metadata.name, attempt)
    documents = {FROZEN_REQUEST_ANNOTATION: frozen}
    return _request_job(
        request, settings, task=Task.DROP_PREVIOUS, name=name, documents=documents, store=None, timeout=DROP_TIMEOUT
    )


def _request_job(
    request: RestoreRequest,
    settings: Settings,
    *,
    task: Task,
    name: str,
    documents: dict[str, str],
    store: Store | None,
    timeout: timedelta,
) -> Manifest:
    target = request.spec.target.postgres
    labels = {MANAGED_BY_LABEL: MANAGED_BY, REQUEST_LABEL: request.metadata.name, TASK_LABEL: task.value}
    body = _object("Job", name, request, labels)
    template = pod_template(
        arguments=[task.value],
        labels=labels,
        documents=documents,
        database=target.connection if target else None,
        store=store,
        role=Role.READER,
        jobs=request.spec.jobs,
        image=settings.image,
        # The one pod that may open a backup.
        decryption=request.spec.decryption if task is Task.RESTORE else None,
    )
    body["spec"] = _job_spec(template, timeout, ignore_disruptions=False)
    return _stamped(body, settings)


def _cron_job_spec(
    policy: BackupPolicy, schedule: str, labels: dict[str, str], job_spec: Manifest, *, suspend: bool
) -> Manifest:
    return {
        "schedule": schedule,
        "timeZone": policy.spec.time_zone,
        "suspend": suspend,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": int(STARTING_DEADLINE.total_seconds()),
        "successfulJobsHistoryLimit": HISTORY,
        "failedJobsHistoryLimit": HISTORY,
        "jobTemplate": {
            "metadata": {"labels": labels, "annotations": {POLICY_HASH_ANNOTATION: policy.hash}},
            "spec": job_spec,
        },
    }


def _backup_job_spec(policy: BackupPolicy, settings: Settings) -> Manifest:
    template = _policy_pod(policy, settings, Task.BACKUP)
    return _job_spec(template, parse_duration(policy.spec.timeout), ignore_disruptions=True)


def _policy_pod(policy: BackupPolicy, settings: Settings, task: Task) -> Manifest:
    source = policy.spec.source.postgres
    return pod_template(
        arguments=[task.value],
        labels=_policy_labels(policy, task),
        documents={FROZEN_POLICY_ANNOTATION: freeze_policy(policy, cluster_id=settings.cluster_id)},
        # Retention looks at the bucket alone: its pods are given nothing of the database.
        database=source.connection if source and task is not Task.RETENTION else None,
        store=policy.spec.store,
        role=Role.PRUNER if task is Task.RETENTION else Role.WRITER,
        jobs=policy.spec.jobs,
        image=settings.image,
        # What makes no backup needs no key to sign one.
        signing=policy.spec.signing if task is not Task.RETENTION else None,
    )


def _job_spec(template: Manifest, timeout: timedelta, *, ignore_disruptions: bool) -> Manifest:
    spec: Manifest = {
        "activeDeadlineSeconds": int((timeout + DEADLINE_SLACK).total_seconds()),
        "backoffLimit": 0,
        "suspend": False,
        "template": template,
    }
    if ignore_disruptions:
        drained = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
        spec["podFailurePolicy"] = {"rules": [drained]}
    return spec


def _policy_labels(policy: BackupPolicy, task: Task) -> dict[str, str]:
    return {MANAGED_BY_LABEL: MANAGED_BY, POLICY_LABEL: policy.metadata.name, TASK_LABEL: task.value}


def _object(
    kind: str,
    name: str,
    owner: BackupPolicy | RestoreRequest,
    labels: dict[str, str],
    annotations: dict[str, str] | None = None,
) -> Manifest:
    return {
        "apiVersion": "batch/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": owner.metadata.namespace,
            "labels": labels,
            "annotations": annotations or {},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": POLICY_KIND if isinstance(owner, BackupPolicy) else REQUEST_KIND,
                    "name": owner.metadata.name,
                    "uid": owner.metadata.uid,
                    "controller": True,
                    # True would make foreground deletion wait, and needs a right on the owner's finalizers.
                    "blockOwnerDeletion": False,
                }
            ],
        },
    }


def _stamped(body: Manifest, settings: Settings) -> Manifest:
    stamps = {WANTED_HASH_ANNOTATION: canonical_hash(body), WRITER_VERSION_ANNOTATION: settings.version}
    metadata = body["metadata"] | {"annotations": body["metadata"]["annotations"] | stamps}
    return body | {"metadata": metadata}


def _hash8(*parts: str) -> str:
    return canonical_hash(list(parts), length=8)
