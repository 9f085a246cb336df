"""What came of the backup runs: the newest ended one, the newest good backup, and what the bucket holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resguardo.api.base import canonical_hash
from resguardo.api.conditions import Reason
from resguardo.api.policy import (
    BackupPolicy,
    BackupPolicyStatus,
    BackupSummary,
    Inventory,
    RetentionSummary,
    RunSummary,
)
from resguardo.api.report import Report, cut_text
from resguardo.api.sizes import print_size
from resguardo.controller.runs import Run


@dataclass(frozen=True)
class History:
    """Told from the Jobs that are seen, and from the last status for those that are gone."""

    last_run: RunSummary | None
    last_backup: BackupSummary | None
    inventory: Inventory | None
    #: The newest ended run, where it left no Report and no look at the bucket has told what came of it.
    lost_run: Run | None
    #: What all of this is about; None where the document cannot be read.
    place: str | None
    #: The runs that are about it, ended or not, the oldest first.
    runs: tuple[Run, ...] = ()
    #: What the newest run of retention that reported did and found.
    retention: RetentionSummary | None = None


def read_history(policy: BackupPolicy | None, runs: Sequence[Run], previous: BackupPolicyStatus) -> History:
    """The history of a policy. Without a valid document (`policy` None) every run of it counts."""
    place = _place(policy.spec.model_dump(mode="json", by_alias=True, exclude_none=True)) if policy else None
    if place is not None and previous.place not in (None, place):
        # What another bucket holds is no backup here: until a check has looked, nothing is known.
        previous = previous.model_copy(
            update={"last_backup": None, "inventory": None, "last_run": None, "retention": None}
        )
    counted = [run for run in runs if place is None or _place(run.policy.get("spec", {})) == place]
    # Of ended Jobs only: what one pod of a disrupted run reported may be overtaken by the next one's.
    reports = [run.report for run in counted if run.report is not None and run.has_ended]
    last_backup, inventory = _bucket(reports, previous)
    backups = [run for run in counted if run.task == "backup" and run.ended_at is not None]
    newest = max(backups, key=lambda run: (run.ended_at or run.started_at, run.name), default=None)
    before = previous.last_run
    if before is not None and any(run.name == before.job_name for run in runs if run not in counted):
        before = None
    last_run = _newer(before, _summarise(newest, reports) if newest else None)
    is_lost = newest is not None and last_run is not None and last_run.succeeded is None
    return History(
        last_run,
        last_backup,
        inventory,
        newest if is_lost else None,
        place or previous.place,
        tuple(counted),
        _retention(reports, previous.retention),
    )


def _newer(before: RunSummary | None, now: RunSummary | None) -> RunSummary | None:
    if before is None or now is None:
        return now or before
    if before.job_name == now.job_name:
        # A pod that was removed meanwhile takes nothing back.
        return before if now.succeeded is None else now
    return now if now.ended_at >= before.ended_at else before


def _summarise(run: Run, reports: Sequence[Report]) -> RunSummary:
    succeeded, reason, message = _result(run, reports)
    return RunSummary(
        job_name=run.name,
        started_at=run.started_at,
        ended_at=run.ended_at or run.started_at,
        succeeded=succeeded,
        reason=reason[:64],
        message=cut_text(message, 1024),
    )


def _result(run: Run, reports: Sequence[Report]) -> tuple[bool | None, str, str]:
    if run.report is not None:
        reason = Reason.BACKUP_SUCCEEDED if run.report.succeeded else run.report.reason
        return run.report.succeeded, reason, run.report.message
    ended_at = run.ended_at or run.started_at
    looks = [report for report in reports if report.inventory is not None and report.started_at >= ended_at]
    detail = f"Job {run.name} ended without a report" + (f" ({run.detail})" if run.detail else "")
    if not looks:
        return None, Reason.REPORT_LOST, f"{detail}; a check looks at the bucket for what came of it"
    found = max(looks, key=lambda report: report.completed_at).newest_backup
    if found is not None and run.started_at <= found.started_at <= ended_at:
        return True, Reason.BACKUP_SUCCEEDED, f"{detail}, but backup {found.id} of that time is in the bucket"
    return False, run.failure or Reason.REPORT_LOST, f"{detail}, and the bucket holds no backup of that time"


def _bucket(reports: Sequence[Report], previous: BackupPolicyStatus) -> tuple[BackupSummary | None, Inventory | None]:
    """The newest good backup and the inventory, from the newest Report that knows of them."""
    telling = [report for report in reports if report.inventory is not None or (report.succeeded and report.backup)]
    newest = max(telling, key=lambda report: report.completed_at, default=None)
    before = previous.last_backup
    if newest is None or (before is not None and before.completed_at > newest.completed_at):
        return before, previous.inventory
    # The inventory's word on the newest good one is the truth, None included; without inventory, what was just made.
    backup = newest.newest_backup if newest.inventory is not None else newest.backup
    backup = backup or (newest.backup if newest.succeeded else None)
    sized = backup.model_copy(update={"size": print_size(backup.bytes)}) if backup else None
    return sized, newest.inventory or previous.inventory


def _retention(reports: Sequence[Report], before: RetentionSummary | None) -> RetentionSummary | None:
    """What the newest run of retention found, and when one last did all that was to be done."""
    told = max((report for report in reports if report.retention), key=lambda report: report.completed_at, default=None)
    newest = told.retention if told is not None else before
    if newest is None:
        return None
    enforced = [report.completed_at for report in reports if report.is_retention_enforced]
    known = [before.enforced_at] if before is not None and before.enforced_at is not None else []
    return newest.model_copy(update={"enforced_at": max([*enforced, *known], default=None)})


def _place(spec: Mapping[str, Any]) -> str:
    """Of which database, and where to: a run of another one says nothing about this one."""
    s3 = (spec.get("store") or {}).get("s3") or {}
    postgres = (spec.get("source") or {}).get("postgres") or {}
    database = (postgres.get("pgDump") or {}).get("database")
    return canonical_hash([s3.get("endpoint"), s3.get("bucket"), s3.get("prefix"), database])
