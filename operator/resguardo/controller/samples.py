"""What one policy or request says, as numbers for Prometheus: absolute times and bytes, so that they hold while no operator runs.

Names are promises; docs/metrics.md has a row for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from resguardo.api.conditions import Condition, ConditionStatus, RequestCondition
from resguardo.api.policy import BackupPolicyStatus
from resguardo.api.request import RestoreRequestStatus
from resguardo.controller.outcome import read_status
from resguardo.rules.conditions import find

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """A gauge with one value for each policy, or one for each combination of `labels` beside namespace and policy."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


class Sample(NamedTuple):
    """A value of a metric, with those of the metric's own labels."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


SUSPENDED = Metric("resguardo_policy_suspended", "1 where spec.suspend is true, else 0.")
CONDITION = Metric(
    "resguardo_policy_condition",
    "1 for the status and reason that each condition has now.",
    ("type", "status", "reason"),
)
LAST_SUCCESS = Metric(
    "resguardo_backup_last_success_timestamp_seconds", "When the newest backup in the bucket was complete."
)
LAST_SIZE = Metric("resguardo_backup_last_size_bytes", "Bytes that the newest backup takes in the bucket.")
LAST_DURATION = Metric("resguardo_backup_last_duration_seconds", "How long the newest backup took.")
LAST_ATTEMPT = Metric("resguardo_backup_last_attempt_timestamp_seconds", "When the newest ended run ended.")
LAST_ATTEMPT_SUCCEEDED = Metric(
    "resguardo_backup_last_attempt_succeeded",
    "1 where the newest ended run made a backup, 0 where not; absent while nobody knows.",
)
NEXT = Metric(
    "resguardo_backup_next_timestamp_seconds",
    "When the schedule starts the next backup; absent while suspended or not accepted.",
)
LATE = Metric(
    "resguardo_backup_late_timestamp_seconds",
    "From when on the policy is late, unless there is a newer good backup by then; absent while suspended.",
)
BACKUPS = Metric("resguardo_inventory_backups", "Backups in the bucket.")
BYTES = Metric("resguardo_inventory_bytes", "Bytes that all backups take in the bucket.")
OLDEST = Metric("resguardo_inventory_oldest_timestamp_seconds", "When the oldest backup started.")
NEWEST = Metric("resguardo_inventory_newest_timestamp_seconds", "When the newest backup started.")
TIER_BACKUPS = Metric(
    "resguardo_tier_backups", "Backups that stand for a tier, by the last run of retention.", ("tier",)
)
TIER_BYTES = Metric("resguardo_tier_bytes", "Bytes that they take; one may stand for several tiers.", ("tier",))
RETENTION_SUCCESS = Metric(
    "resguardo_retention_last_success_timestamp_seconds",
    "When a run of retention last ended that had done all that was to be done.",
)
MARKED = Metric("resguardo_retention_marked_backups", "Backups that are marked and go when their grace is over.")
NEXT_REMOVAL = Metric("resguardo_retention_next_removal_timestamp_seconds", "When the first marked backup may go.")

POLICY_METRICS = (
    SUSPENDED,
    CONDITION,
    LAST_SUCCESS,
    LAST_SIZE,
    LAST_DURATION,
    LAST_ATTEMPT,
    LAST_ATTEMPT_SUCCEEDED,
    NEXT,
    LATE,
    BACKUPS,
    BYTES,
    OLDEST,
    NEWEST,
    TIER_BACKUPS,
    TIER_BYTES,
    RETENTION_SUCCESS,
    MARKED,
    NEXT_REMOVAL,
)


def policy_samples(resource: Object) -> tuple[Sample, ...]:
    """All that a BackupPolicy tells; what is not known has no sample. A status that somebody spoilt tells nothing."""
    status = read_status(BackupPolicyStatus, resource)
    suspended = bool((resource.get("spec") or {}).get("suspend"))
    return (
        Sample(SUSPENDED, (), float(suspended)),
        *_conditions(status.conditions),
        *_about_backups(status),
        *_about_retention(status),
    )


def _conditions(conditions: list[Condition]) -> Iterator[Sample]:
    for condition in conditions:
        yield Sample(CONDITION, (condition.type, condition.status.value, condition.reason), 1.0)


def _about_backups(status: BackupPolicyStatus) -> Iterator[Sample]:
    if backup := status.last_backup:
        yield Sample(LAST_SUCCESS, (), backup.completed_at.timestamp())
        yield Sample(LAST_SIZE, (), float(backup.bytes))
        yield Sample(LAST_DURATION, (), float(backup.duration_seconds))
    if run := status.last_run:
        yield Sample(LAST_ATTEMPT, (), run.ended_at.timestamp())
        if run.succeeded is not None:
            yield Sample(LAST_ATTEMPT_SUCCEEDED, (), float(run.succeeded))
    yield from _moment(NEXT, status.next_backup_at)
    yield from _moment(LATE, status.late_at)
    if inventory := status.inventory:
        yield Sample(BACKUPS, (), float(inventory.backups))
        yield Sample(BYTES, (), float(inventory.bytes))
        yield from _moment(OLDEST, inventory.oldest)
        yield from _moment(NEWEST, inventory.newest)


def _about_retention(status: BackupPolicyStatus) -> Iterator[Sample]:
    if retention := status.retention:
        for tier, count in retention.by_tier.items():
            yield Sample(TIER_BACKUPS, (tier,), float(count))
        for tier, size in retention.bytes_by_tier.items():
            yield Sample(TIER_BYTES, (tier,), float(size))
        yield Sample(MARKED, (), float(retention.marked))
        yield from _moment(RETENTION_SUCCESS, retention.enforced_at)
        yield from _moment(NEXT_REMOVAL, retention.next_removal_at)


def _moment(metric: Metric, moment: datetime | None) -> Iterator[Sample]:
    if moment is not None:
        yield Sample(metric, (), moment.timestamp())


class Phase(StrEnum):
    """How far a RestoreRequest has got."""

    #: Nothing has begun.
    WAITING = "Waiting"
    #: Its Job is made, or about to be.
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


def phase_of(resource: Object) -> Phase:
    """The phase of a RestoreRequest, by its condition Succeeded and its claim."""
    status = read_status(RestoreRequestStatus, resource)
    succeeded = find(status.conditions, RequestCondition.SUCCEEDED)
    if succeeded is not None and succeeded.status is not ConditionStatus.UNKNOWN:
        return Phase.SUCCEEDED if succeeded.status is ConditionStatus.TRUE else Phase.FAILED
    return Phase.RUNNING if status.claim is not None else Phase.WAITING
