"""A backup's id: its UTC start and six random hex digits, so that a listing sorts by time."""

from __future__ import annotations

import re
from datetime import UTC, datetime

BACKUP_ID_PATTERN = r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}$"

_ID = re.compile(BACKUP_ID_PATTERN)
_FORMAT = "%Y%m%dT%H%M%SZ"


def new_backup_id(started_at: datetime, random_hex: str) -> str:
    """The id of a backup that starts at an aware time; `random_hex` is six hex digits.

    >>> new_backup_id(datetime(2026, 11, 23, 5, 0, tzinfo=UTC), "3f9a1c")
    '20261123T050000Z-3f9a1c'
    """
    backup_id = f"{started_at.astimezone(UTC).strftime(_FORMAT)}-{random_hex}"
    parse_start(backup_id)
    return backup_id


def is_backup_id(text: str) -> bool:
    """Whether the text is a backup's id, its time included."""
    try:
        parse_start(text)
    except ValueError:
        return False
    return True


def parse_start(backup_id: str) -> datetime:
    """The UTC start that an id carries; ValueError when the text is no id.

    >>> parse_start("20261123T050000Z-3f9a1c")
    datetime.datetime(2026, 11, 23, 5, 0, tzinfo=datetime.timezone.utc)
    """
    if not _ID.match(backup_id) or backup_id.endswith("\n"):
        raise ValueError(f"{backup_id!r} is not a backup's id, such as 20261123T050000Z-3f9a1c")
    return datetime.strptime(backup_id.partition("-")[0], _FORMAT).replace(tzinfo=UTC)
