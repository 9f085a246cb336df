"""Which records of failed attempts nobody needs any more."""

from __future__ import annotations

from collections.abc import Sequence

from resguardo.api.inventory import BackupFacts, Outcome
from resguardo.api.policy import Retention
from resguardo.rules.retention import tier_spans


def forgotten_attempts(backups: Sequence[BackupFacts], retention: Retention) -> list[BackupFacts]:
    """The failed ones that are older than the longest tier, measured from the newest good backup."""
    reference = max((backup.started_at for backup in backups if backup.is_good), default=None)
    if reference is None:
        return []
    horizon = min(span.before(reference) for span in tier_spans(retention).values())
    return [backup for backup in backups if backup.outcome is Outcome.FAILED and backup.made_at < horizon]
