"""What the cluster shows of one resource, read when it is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resguardo.api.names import POLICY_KIND, POLICY_LABEL, REQUEST_KIND, REQUEST_LABEL
from resguardo.api.report import Task
from resguardo.controller.cluster import Cluster
from resguardo.controller.objects import cron_job_name, restore_job_name
from resguardo.controller.outcome import Refusal
from resguardo.controller.reconcile_policy import PolicySeen
from resguardo.controller.reconcile_request import RequestSeen
from resguardo.controller.runs import needs_events

Object = Mapping[str, Any]


def observe_policy(cluster: Cluster, resource: Object, refusal: Refusal | None) -> PolicySeen:
    """All that a policy's reconcile needs."""
    namespace, name = _identity(resource)
    jobs, pods = _jobs_and_pods(cluster, namespace, {POLICY_LABEL: name})
    return PolicySeen(
        cron_job=cluster.get("CronJob", namespace, cron_job_name(name)),
        retention_cron_job=cluster.get("CronJob", namespace, cron_job_name(name, Task.RETENTION)),
        jobs=jobs,
        pods=pods,
        events=_events(cluster, namespace, jobs, pods),
        refusal=refusal,
    )


def observe_request(cluster: Cluster, resource: Object, refusal: Refusal | None) -> RequestSeen:
    """All that a request's reconcile needs; of one that has ended, only what dropPrevious is about."""
    namespace, name = _identity(resource)
    status = resource.get("status") or {}
    if status.get("completedAt") and not resource["spec"].get("dropPrevious"):
        return RequestSeen()
    jobs, pods = _jobs_and_pods(cluster, namespace, {REQUEST_LABEL: name})
    # By its name, label or not: a Job that somebody edited is still the one that was claimed.
    job_name = (status.get("claim") or {}).get("jobName") or restore_job_name(name)
    job = cluster.get("Job", namespace, job_name)
    reference = (resource["spec"].get("from") or {}).get("policyRef") or {}
    policy = cluster.get(POLICY_KIND, namespace, reference["name"]) if reference.get("name") else None
    uid = resource["metadata"]["uid"]
    others = [] if status.get("claim") else cluster.list(REQUEST_KIND, namespace)
    return RequestSeen(
        policy=policy,
        job=job,
        jobs=jobs,
        pods=pods,
        events=_events(cluster, namespace, [*jobs, *([job] if job else [])], pods),
        others=[other for other in others if other["metadata"]["uid"] != uid],
        refusal=refusal,
    )


def _jobs_and_pods(
    cluster: Cluster, namespace: str, labels: Mapping[str, str]
) -> tuple[Sequence[Object], Sequence[Object]]:
    # Jobs first: a pod seen without its Job is passed over, a Job seen without its pod would look as if it had none.
    jobs = cluster.list("Job", namespace, labels=labels)
    return jobs, cluster.list("Pod", namespace, labels=labels) if jobs else []


def _events(
    cluster: Cluster, namespace: str, jobs: Sequence[Object], pods: Sequence[Object]
) -> dict[str, Sequence[Object]]:
    uids = {uid for job in jobs if (uid := needs_events(job, pods)) is not None}
    return {uid: cluster.list("Event", namespace, fields=f"involvedObject.uid={uid}") for uid in sorted(uids)}


def _identity(resource: Object) -> tuple[str, str]:
    return resource["metadata"]["namespace"], resource["metadata"]["name"]
