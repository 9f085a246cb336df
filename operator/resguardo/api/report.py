"""The Report: what a pod says at its end, in its termination message. The newest one alone is enough to rebuild status.

The kubelet keeps the last 4096 bytes of a termination message, so a longer one would lose its head; it is made to fit by
dropping what can best be missed.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from resguardo.api.base import Exchanged, Moment, Whole
from resguardo.api.conditions import Reason
from resguardo.api.policy import BackupSummary, Inventory, PolicyWarning, RetentionSummary
from resguardo.api.request import RestoreCheck
from resguardo.api.text import printable, printable_lines

REPORT_FORMAT_VERSION = 1
REPORT_MAX_BYTES = 4096
NEWEST_JOBS_MAX = 4


class Task(StrEnum):
    """What a Job is for."""

    CHECK = "check"
    BACKUP = "backup"
    RESTORE = "restore"
    DROP_PREVIOUS = "drop-previous"
    RETENTION = "retention"


class Subject(Exchanged):
    """The policy or request that the pod carried, echoed."""

    uid: str = ""
    generation: Whole = 0
    hash: str = ""


class RestoreOutcome(Exchanged):
    """What a restore did, or had done when it ended."""

    database: str | None = Field(None, description="Under which name the restored database stands.")
    previous_database: str | None = None
    recovery_point_time: Moment | None = None
    checks: list[RestoreCheck] = []
    omitted: list[Annotated[str, AfterValidator(printable)]] = []


class Report(Exchanged):
    """How a pod's task ended."""

    format_version: int = REPORT_FORMAT_VERSION
    task: Task
    succeeded: bool
    reason: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z]+$")]
    message: Annotated[str, AfterValidator(printable_lines)]
    subject: Subject
    started_at: Moment
    completed_at: Moment
    #: Of this run: the backup that was made, or restored.
    backup: BackupSummary | None = None
    #: The newest good backup in the bucket, whoever made it.
    newest_backup: BackupSummary | None = None
    #: The Jobs that made the newest backups in the bucket, the newest first: of a run that left no Report they tell whether it made one,
    #: although another ran beside it.
    newest_jobs: Annotated[list[Annotated[str, Field(max_length=63)]], Field(max_length=NEWEST_JOBS_MAX)] = []
    inventory: Inventory | None = None
    #: What is odd and holds nothing up, as only a pod can see it.
    warnings: list[PolicyWarning] = []
    restore: RestoreOutcome | None = None
    #: Where a run of retention paused, its reason is the pause's word: see is_retention_enforced.
    retention: RetentionSummary | None = None

    @property
    def is_retention_enforced(self) -> bool:
        """Whether it is of a run of retention that did all that was to be done."""
        return self.task is Task.RETENTION and self.succeeded and self.reason == Reason.RETENTION_ENFORCED

    @classmethod
    def from_json(cls, text: str) -> Report | None:
        """The Report in a termination message; None where there is none that can be read."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None

    def to_message(self) -> str:
        """JSON of at most 4096 bytes. Texts and lists are cut before any fact that status needs."""
        for shorten in _SHORTENINGS:
            text = shorten(self).to_json()
            if len(text.encode()) <= REPORT_MAX_BYTES:
                return text
        raise AssertionError("a Report without texts and lists fits")


def cut_text(text: str, max_bytes: int) -> str:
    """The text, cut at a character's border to at most `max_bytes` bytes of UTF-8, with an ellipsis where it was cut."""
    encoded = text.encode()
    if len(encoded) <= max_bytes:
        return text
    return encoded[: max_bytes - 3].decode(errors="ignore") + "…"


def _shortened(
    max_text: int, max_omitted: int, max_checks: int, *, max_sentence: int = 120
) -> Callable[[Report], Report]:
    def shorten(report: Report) -> Report:
        warnings = [
            warning.model_copy(update={"message": cut_text(warning.message, max_sentence)})
            for warning in report.warnings[:max_checks]
        ]
        update: dict[str, object] = {"message": cut_text(report.message, max_text), "warnings": warnings}
        if report.restore is not None:
            omitted = report.restore.omitted
            kept = [cut_text(item, max_sentence) for item in omitted[:max_omitted]]
            if len(omitted) > max_omitted:
                kept.append(f"and {len(omitted) - max_omitted} more: see the pod's log")
            checks = [
                check.model_copy(update={"message": cut_text(check.message, max_text // 4)})
                for check in report.restore.checks[:max_checks]
            ]
            update["restore"] = report.restore.model_copy(update={"omitted": kept, "checks": checks})
        return report.model_copy(update=update)

    return shorten


_SHORTENINGS: list[Callable[[Report], Report]] = [
    # As long as status takes them: only what has no room is cut.
    _shortened(2048, 63, 32, max_sentence=512),
    _shortened(1024, 63, 32, max_sentence=256),
    _shortened(2048, 63, 32),
    _shortened(1024, 10, 32),
    _shortened(512, 3, 16),
    _shortened(256, 0, 8),
    _shortened(64, 0, 0),
]
