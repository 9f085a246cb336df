"""Tries what S3 has rights of its own for: to look at versions and remove them, to see locks and to lock. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from resguardo.rules.access import Right
from resguardo.rules.locks import Lock
from resguardo.store.s3_errors import FAILURES, Request, status_of, translate
from resguardo.store.s3_locks import lock_options

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectLockRetentionTypeDef

_DENIED = 403
#: Of no object's version, in every bucket.
_NO_VERSION = "null"


def special_rights(client: S3Client, place: Request) -> dict[Right, bool | None]:
    """By right, whether the keys have it, None where that could not be told; without those about versions and locks where the bucket has none. Nothing is at `place`."""
    return {**_about_versions(client, place), **_about_locks(client, place)}


def _about_versions(client: S3Client, place: Request) -> dict[Right, bool]:
    bucket = place.bucket
    answer = _try(lambda: client.get_bucket_versioning(Bucket=bucket), place)
    if answer is not None and "Status" not in answer:
        return {}
    listed = None if answer is None else _try(lambda: client.list_object_versions(Bucket=bucket, MaxKeys=1), place)
    removed = _try(lambda: client.delete_object(Bucket=bucket, Key=place.key, VersionId=_NO_VERSION), place)
    return {Right.SEE_VERSIONS: listed is not None, Right.REMOVE_VERSIONS: removed is not None}


def _about_locks(client: S3Client, place: Request) -> dict[Right, bool | None]:
    bucket = place.bucket
    answer = _try(lambda: client.get_object_lock_configuration(Bucket=bucket), place)
    if answer is not None and answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
        return {}
    seen = _try(lambda: client.get_object_retention(Bucket=bucket, Key=place.key), place) is not None
    held = _try(lambda: client.get_object_legal_hold(Bucket=bucket, Key=place.key), place) is not None
    return {
        Right.SEE_LOCKS: answer is not None and seen and held,
        Right.LOCK: _may_lock(client, place) if seen else False,
    }


def _may_lock(client: S3Client, place: Request) -> bool | None:
    """None where it could not be told: MinIO looks for the object before it looks for the right, and these keys may not write there."""
    until = datetime.now(UTC) + timedelta(days=1)
    retention: ObjectLockRetentionTypeDef = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
    extended = _try(lambda: client.put_object_retention(Bucket=place.bucket, Key=place.key, Retention=retention), place)
    if extended is None:
        return False
    if _may_begin(client, place, lock_options(Lock("Governance", until))):
        return True
    return False if _may_begin(client, place, {}) else None


def _may_begin(client: S3Client, place: Request, options: dict[str, Any]) -> bool:
    answer = _try(lambda: client.create_multipart_upload(Bucket=place.bucket, Key=place.key, **options), place)
    if answer is None:
        return False
    if "UploadId" in answer:
        _try(
            lambda: client.abort_multipart_upload(Bucket=place.bucket, Key=place.key, UploadId=answer["UploadId"]),
            place,
        )
    return True


def _try(request: Callable[[], Any], place: Request) -> dict[str, Any] | None:
    """The answer; None where the keys may not ask; an empty one where there is nothing to tell of. Raises StoreUnreachable."""
    try:
        return dict(request())
    except ClientError as error:
        if status_of(error) == _DENIED:
            return None
        if status_of(error) in (400, 404, 405, 409, 501):
            return {}
        raise translate(error, place) from error
    except FAILURES as error:
        raise translate(error, place) from error
