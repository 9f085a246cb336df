"""Whether a bucket's own locks hold an object (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from resguardo.api.durations import Span
from resguardo.store.s3_errors import FAILURES, Request, code_of, status_of, translate

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectLockConfigurationTypeDef

#: An object without a lock of its own, in a bucket that has locks.
_NO_LOCK_CODES = frozenset({"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest"})


class S3Locks:
    """`protocol.Store.is_locked` for one bucket, which is asked once whether it has locks at all."""

    def __init__(self, client: S3Client, place: Request) -> None:
        self._client, self._place, self._prefix = client, place, place.key
        self._has_locks: bool | None = None

    def is_locked(self, key: str, *, now: Callable[[], datetime]) -> bool:
        """Whether the object may not be deleted; `now` gives the store's time."""
        full = self._prefix + key
        if self._has_locks is None:
            self._has_locks = self._bucket_has_locks()
        return self._has_locks and (self._is_held(full) or self._is_retained(full, now))

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
            answer = self._client.get_object_lock_configuration(Bucket=self._place.bucket)
        except ClientError as error:
            # It has none, the server knows of none, or the keys may not see; only a store that does not answer is an error.
            if status_of(error) in (429, 500) or status_of(error) > 501:
                raise translate(error, replace(self._place, action="s3:GetBucketObjectLockConfiguration")) from error
            return {}
        except FAILURES as error:
            raise translate(error, replace(self._place, action="s3:GetBucketObjectLockConfiguration")) from error
        return answer["ObjectLockConfiguration"]

    def _is_held(self, full: str) -> bool:
        try:
            answer = self._client.get_object_legal_hold(Bucket=self._place.bucket, Key=full)
        except FAILURES as error:
            if code_of(error) in _NO_LOCK_CODES:
                return False
            raise translate(error, replace(self._place, action="s3:GetObjectLegalHold", key=full)) from error
        return answer.get("LegalHold", {}).get("Status") == "ON"

    def _is_retained(self, full: str, now: Callable[[], datetime]) -> bool:
        try:
            answer = self._client.get_object_retention(Bucket=self._place.bucket, Key=full)
        except FAILURES as error:
            if code_of(error) in _NO_LOCK_CODES:
                return False
            raise translate(error, replace(self._place, action="s3:GetObjectRetention", key=full)) from error
        until = answer.get("Retention", {}).get("RetainUntilDate")
        return until is not None and until > now()
