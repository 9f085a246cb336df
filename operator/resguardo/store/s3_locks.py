"""A bucket's own locks: which object they hold, and for how much longer they are to (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from resguardo.api.base import print_time
from resguardo.api.durations import Span
from resguardo.api.errors import ObjectLockNotHonoured, StoreUnreachable
from resguardo.rules.locks import Lock
from resguardo.store.s3_errors import FAILURES, MISSING_CODES, Request, code_of, translate

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.literals import ObjectLockRetentionModeType
    from mypy_boto3_s3.type_defs import ObjectLockConfigurationTypeDef

#: An object without a lock of its own, in a bucket that has locks.
_NO_LOCK_CODES = frozenset({"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest"})

_MODES: dict[str, ObjectLockRetentionModeType] = {"Governance": "GOVERNANCE", "Compliance": "COMPLIANCE"}
_NAMES: dict[str, str] = {mode: name for name, mode in _MODES.items()}
_USE_ANOTHER = "Object lock is turned on when a bucket is made: use one that has it, or take store.s3.objectLock away"


def lock_options(lock: Lock) -> dict[str, Any]:
    """What tells S3 to lock an object that is being written."""
    return {"ObjectLockMode": _MODES[lock.mode], "ObjectLockRetainUntilDate": lock.until}


class S3Locks:
    """What of `protocol.Store` is about locks, for one bucket, which is asked once whether it has any at all."""

    def __init__(self, client: S3Client, place: Request) -> None:
        self._client, self._place, self._prefix = client, place, place.key
        self._has_locks: bool | None = None

    def is_locked(self, key: str, *, now: Callable[[], datetime]) -> bool:
        """Whether the object may not be deleted; `now` gives the store's time."""
        full = self._prefix + key
        if self._has_locks is None:
            self._has_locks = self._bucket_has_locks()
        if not self._has_locks:
            return False
        if self._is_held(full):
            return True
        retention = self._retention(full)
        return retention is not None and retention.until > now()

    def lock_of(self, key: str) -> Lock | None:
        """The retention of an object, as the store keeps it."""
        return self._retention(self._prefix + key)

    def extend_lock(self, key: str, lock: Lock) -> None:
        """Lock an object for longer than it is, if it is for less."""
        there = self.lock_of(key)
        if there is not None and there.holds(lock):
            return
        full, mode = self._prefix + key, there.mode if there is not None else lock.mode
        try:
            self._client.put_object_retention(
                Bucket=self._place.bucket,
                Key=full,
                Retention={"Mode": _MODES[mode], "RetainUntilDate": lock.until},
            )
        except FAILURES as error:
            raise translate(error, replace(self._place, action="s3:PutObjectRetention", key=full)) from error
        self.require(key, lock)

    def require(self, key: str, lock: Lock) -> None:
        """Raise ObjectLockNotHonoured where the store does not say that an object just written or extended is held so long."""
        there = self.lock_of(key)
        if there is None or not there.holds(lock):
            said = f"until {print_time(there.until)} only" if there is not None else "not at all"
            raise ObjectLockNotHonoured(
                f"object {self._prefix + key!r} in bucket {self._place.bucket} at {self._place.endpoint} was to be locked until "
                f"{print_time(lock.until)}, and is {said}. {_USE_ANOTHER}"
            )

    def default_lock(self) -> Span | None:
        """The retention that the bucket gives each new object; None where it gives none, or the keys may not see."""
        rule = self._configuration().get("Rule", {}).get("DefaultRetention", {})
        if days := rule.get("Days"):
            return Span(days, "d")
        years = rule.get("Years")
        return Span(years, "y") if years else None

    def _bucket_has_locks(self) -> bool:
        return self._configuration().get("ObjectLockEnabled") == "Enabled"

    def _configuration(self) -> ObjectLockConfigurationTypeDef:
        try:
            return self._client.get_object_lock_configuration(Bucket=self._place.bucket)["ObjectLockConfiguration"]
        except FAILURES as error:
            problem = translate(error, replace(self._place, action="s3:GetBucketObjectLockConfiguration"))
            # It has none, the server knows of none, or the keys may not see; only a store that does not answer is an error.
            if isinstance(error, ClientError) and not isinstance(problem, StoreUnreachable):
                return {}
            raise problem from error

    def _is_held(self, full: str) -> bool:
        try:
            answer = self._client.get_object_legal_hold(Bucket=self._place.bucket, Key=full)
        except FAILURES as error:
            if code_of(error) in _NO_LOCK_CODES:
                return False
            raise translate(error, replace(self._place, action="s3:GetObjectLegalHold", key=full)) from error
        return answer.get("LegalHold", {}).get("Status") == "ON"

    def _retention(self, full: str) -> Lock | None:
        try:
            answer = self._client.get_object_retention(Bucket=self._place.bucket, Key=full)
        except FAILURES as error:
            if code_of(error) in _NO_LOCK_CODES | MISSING_CODES:
                return None
            raise translate(error, replace(self._place, action="s3:GetObjectRetention", key=full)) from error
        retention = answer.get("Retention", {})
        if (until := retention.get("RetainUntilDate")) is None:
            return None
        return Lock(_NAMES.get(str(retention.get("Mode")), "Governance"), until)
