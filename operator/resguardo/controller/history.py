"""What came of the backup runs: the newest ended one, the newest good backup, and what the bucket holds.

What came before what, Kubernetes' times of the Jobs tell. Reports have the times of their pods, each by the clock of its
node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
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
    #: The moment of which these two speak.
    inventory_at: datetime | None
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
            update={
                "last_backup": None,
                "inventory": None,
                "inventory_at": None,
                "last_run": None,
                "retention": None,
            }
        )
    counted = [run for run in runs if place is None or _place(run.policy.get("spec", {})) == place]
    # Of ended Jobs only: what one pod of a disrupted run reported may be overtaken by the next one's.
    told = [_Told(run, run.report) for run in counted if run.report is not None and run.has_ended]
    last_backup, inventory, inventory_at = _bucket(told, counted, previous)
    backups = [run for run in counted if run.task == "backup" and run.ended_at is not None]
    newest = max(backups, key=lambda run: (run.ended_at or run.started_at, run.name), default=None)
    before = previous.last_run
    if before is not None and any(run.name == before.job_name for run in runs if run not in counted):
        before = None
    last_run = _newer(before, _summarise(newest, told) if newest else None)
    is_lost = newest is not None and last_run is not None and last_run.succeeded is None
    return History(
        last_run,
        last_backup,
        inventory,
        inventory_at,
        newest if is_lost else None,
        place or previous.place,
        tuple(counted),
        _retention(told, previous.retention),
    )


@dataclass(frozen=True)
class _Told:
    """A run that has ended, and what it reported."""

    run: Run
    report: Report

    @property
    def as_of(self) -> datetime:
        """What it tells of the bucket was so at this moment, or is newer: a look may have come at once after its beginning,
        a backup is there when its run has ended.
        """
        made_one = self.report.succeeded and self.report.backup is not None
        return (self.run.ended_at if made_one else None) or self.run.started_at

    @property
    def order(self) -> tuple[datetime, datetime]:
        """By which the newest one is found."""
        return self.as_of, self.run.ended_at or self.run.started_at


def _newer(before: RunSummary | None, now: RunSummary | None) -> RunSummary | None:
    if before is None or now is None:
        return now or before
    if before.job_name == now.job_name:
        # A pod that was removed meanwhile takes nothing back.
        return before if now.succeeded is None else now
    return now if now.ended_at >= before.ended_at else before


def _summarise(run: Run, told: Sequence[_Told]) -> RunSummary:
    succeeded, reason, message = _result(run, told)
    return RunSummary(
        job_name=run.name,
        started_at=run.started_at,
        ended_at=run.ended_at or run.started_at,
        succeeded=succeeded,
        reason=reason[:64],
        message=cut_text(message, 1024),
    )


def _result(run: Run, told: Sequence[_Told]) -> tuple[bool | None, str, str]:
    if run.report is not None:
        reason = Reason.BACKUP_SUCCEEDED if run.report.succeeded else run.report.reason
        return run.report.succeeded, reason, run.report.message
    ended_at = run.ended_at or run.started_at
    # One that began in the very second of the end may have looked before it.
    looks = [item for item in told if item.report.inventory is not None and item.run.started_at > ended_at]
    detail = f"Job {run.name} ended without a report" + (f" ({run.detail})" if run.detail else "")
    if not looks:
        return None, Reason.REPORT_LOST, f"{detail}; a check looks at the bucket for what came of it"
    seen = max(looks, key=lambda item: item.order).report
    found = seen.newest_backup
    if found is not None and _is_made_by(run, found):
        return True, Reason.BACKUP_SUCCEEDED, f"{detail}, but backup {found.id} of that time is in the bucket"
    if run.name in seen.newest_jobs:
        return True, Reason.BACKUP_SUCCEEDED, f"{detail}, but its backup is in the bucket, and another one beside it"
    return False, run.failure or Reason.REPORT_LOST, f"{detail}, and the bucket holds no backup of that time"


def _is_made_by(run: Run, backup: BackupSummary) -> bool:
    """Of a backup that names no Job, by hand or by a former version, only its time can tell."""
    if backup.job_name is not None:
        return backup.job_name == run.name
    return run.started_at <= backup.started_at <= (run.ended_at or run.started_at)


def _bucket(
    told: Sequence[_Told], runs: Sequence[Run], previous: BackupPolicyStatus
) -> tuple[BackupSummary | None, Inventory | None, datetime | None]:
    """The newest good backup, the inventory and since when they are known, from the newest run that tells of them."""
    telling = [item for item in told if item.report.inventory or (item.report.succeeded and item.report.backup)]
    newest = max(telling, key=lambda item: item.order, default=None)
    if newest is None or (previous.inventory_at is not None and previous.inventory_at > newest.as_of):
        return previous.last_backup, previous.inventory, previous.inventory_at
    report = newest.report
    # The inventory's word on the newest good one is the truth, None included; without inventory, what was just made.
    backup = report.newest_backup if report.inventory is not None else report.backup
    backup = backup or (report.backup if report.succeeded else None)
    return _as_seen(backup, runs, previous.last_backup), report.inventory or previous.inventory, newest.as_of


def _as_seen(backup: BackupSummary | None, runs: Sequence[Run], before: BackupSummary | None) -> BackupSummary | None:
    """A backup with its size for people, and with a start that lateness can be judged by."""
    if backup is None:
        return None
    started_at = next(
        (run.held_to(backup.started_at) for run in runs if run.name == backup.job_name),
        # Its Job is gone: as it was told while it was there.
        before.started_at if before is not None and before.id == backup.id else backup.started_at,
    )
    return backup.model_copy(update={"size": print_size(backup.bytes), "started_at": started_at})


def _retention(told: Sequence[_Told], before: RetentionSummary | None) -> RetentionSummary | None:
    """What the newest run of retention found, and when one last did all that was to be done."""
    last = max((item for item in told if item.report.retention), key=lambda item: item.order, default=None)
    newest = last.report.retention if last is not None else before
    if newest is None:
        return None
    enforced = [item.run.ended_at for item in told if item.run.ended_at and item.report.is_retention_enforced]
    known = [before.enforced_at] if before is not None and before.enforced_at is not None else []
    return newest.model_copy(update={"enforced_at": max([*enforced, *known], default=None)})


def _place(spec: Mapping[str, Any]) -> str:
    """Of which database, and where to: a run of another one says nothing about this one."""
    kind, store = next(iter((spec.get("store") or {}).items()), ("", None))
    postgres = (spec.get("source") or {}).get("postgres") or {}
    database = (postgres.get("pgDump") or {}).get("database")
    return canonical_hash([kind, *((store or {}).get(field) for field in _WHERE), database])


#: What of a store, of whichever kind, says where it is; the rest says how it is used.
_WHERE = ("endpoint", "account", "bucket", "container", "claimName", "prefix", "path")
