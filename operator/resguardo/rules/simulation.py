"""What a policy will hold over time: its schedule played, and its retention after every backup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from resguardo.api.inventory import BackupFacts, Outcome
from resguardo.api.policy import Retention
from resguardo.api.schedule import next_time
from resguardo.rules.retention import plan_retention
from resguardo.rules.tiers import Tier


@dataclass(frozen=True)
class Holding:
    """What a bucket holds at one time."""

    at: datetime
    backups: int
    bytes: int
    #: How many stand for each tier; one may stand for several.
    by_tier: Counter[Tier]


def simulate(
    retention: Retention, schedule: str, *, zone: ZoneInfo, first: datetime, last: datetime, backup_bytes: int
) -> Iterator[Holding]:
    """What is held after each scheduled backup between two aware times, all of which succeed and take `backup_bytes`.

    What waits in the trash for its grace to pass is not counted. Raises ValueError where the schedule names no time.
    """
    held: list[BackupFacts] = []
    moment = next_time(schedule, zone.key, first - timedelta(seconds=1))
    while moment <= last:
        made = BackupFacts(
            id=f"{moment:%Y%m%dT%H%M%SZ}",
            started_at=moment,
            stored_at=moment,
            outcome=Outcome.SUCCEEDED,
            bytes=backup_bytes,
        )
        plan = plan_retention([*held, made], retention, zone=zone, now=moment)
        held = plan.kept
        yield Holding(
            at=moment,
            backups=len(held),
            bytes=sum(backup.bytes for backup in held),
            by_tier=Counter(tier for verdict in plan.verdicts for tier in verdict.tiers),
        )
        moment = next_time(schedule, zone.key, moment)
