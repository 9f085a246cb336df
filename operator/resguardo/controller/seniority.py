"""An older operator beside a newer one: overruled once, it stands back, or the two would write by turns without end.

Nobody is asked whether a newer one lives: that it wrote a status again which this one had just written, shows it. So this
one has its say once after its start, and after each time that it stood back: when the newer one is gone for good, it serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from resguardo.api.names import POLICY_KIND
from resguardo.api.policy import BackupPolicyStatus
from resguardo.controller.outcome import Key, read_status
from resguardo.controller.ownership import is_newer

Object = Mapping[str, Any]

#: How long whoever lives may need to tell what came.
PATIENCE = timedelta(minutes=5)
#: Of a policy that promises no backup, nothing shows whether anybody looks after it.
WITHOUT_PROMISE = timedelta(days=1)


@dataclass
class Seniority:
    """What one process remembers of whether newer ones overruled it."""

    version: str
    _told: set[Key] = field(default_factory=set)
    _stands_back_until: dict[Key, datetime] = field(default_factory=dict)

    def stands_back_until(self, key: Key, resource: Object, now: datetime) -> datetime | None:
        """Until when a newer operator is left to work on a resource; None where this one works."""
        written_by = (resource.get("status") or {}).get("operatorVersion") or ""
        if not is_newer(str(written_by), self.version):
            self._stands_back_until.pop(key, None)
            return None
        if key in self._told:
            self._told.discard(key)
            self._stands_back_until[key] = _overdue_at(key, resource, now)
        until = self._stands_back_until.get(key)
        return until if until is not None and now < until else None

    def has_told(self, key: Key) -> None:
        """This operator has written the resource's status."""
        self._told.add(key)

    def forget(self, key: Key) -> None:
        """The resource is gone."""
        self._told.discard(key)
        self._stands_back_until.pop(key, None)


def _overdue_at(key: Key, resource: Object, now: datetime) -> datetime:
    """When a status that a living operator wrote would be another one. A request is waited for by somebody: soon."""
    if key.kind != POLICY_KIND:
        return now + PATIENCE
    next_backup_at = read_status(BackupPolicyStatus, resource).next_backup_at
    return max(next_backup_at, now) + PATIENCE if next_backup_at else now + WITHOUT_PROMISE
