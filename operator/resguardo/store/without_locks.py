"""The part of a store about locks, for one that a policy cannot tell to lock."""

from __future__ import annotations

from typing import NoReturn

from resguardo.api.durations import Span
from resguardo.api.errors import ObjectLockNotHonoured
from resguardo.rules.locks import Lock


class WithoutLocks:
    """See `protocol.Store`. A store whose operators may lock what is in it says so in an `is_locked` of its own."""

    def locking(self, lock: Lock) -> NoReturn:  # noqa: ARG002
        """Never."""
        raise ObjectLockNotHonoured("this store cannot lock objects")

    def lock_of(self, key: str) -> Lock | None:  # noqa: ARG002
        """None."""
        return None

    def extend_lock(self, key: str, lock: Lock) -> None:
        """Never."""
        raise ObjectLockNotHonoured(f"this store cannot lock objects: {key!r} was to be locked until {lock.until}")

    def is_locked(self, key: str) -> bool:  # noqa: ARG002
        """No."""
        return False

    def default_lock(self) -> Span | None:
        """None."""
        return None
