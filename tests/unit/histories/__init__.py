"""Histories of backups for the tests of rules/: short to write, and generated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from resguardo.api.inventory import BackupFacts

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    """A time in UTC: `at("2026-11-23")`, `at("2026-11-23T02:00")`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def backup(started_at: datetime, **facts: Any) -> BackupFacts:
    """A good scheduled backup that took ten minutes, unless the facts say otherwise."""
    given = {
        "id": f"{started_at:%Y%m%dT%H%M%SZ}-000000",
        "started_at": started_at,
        "stored_at": started_at + timedelta(minutes=10),
        "outcome": "Succeeded",
    }
    return BackupFacts(**(given | facts))


def every(step: timedelta, *, first: datetime, last: datetime, **facts: Any) -> list[BackupFacts]:
    """Good scheduled backups from the first time to the last, both included."""
    count = (last - first) // step
    return [backup(first + number * step, **facts) for number in range(count + 1)]
