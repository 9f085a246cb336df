"""Tries the rights that only S3 has: to look at versions and remove them, and to see locks. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from resguardo.rules.access import Right
from resguardo.store.s3_errors import Request, status_of, translate

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_DENIED = 403
#: Of no object's version, in every bucket.
_NO_VERSION = "null"


def special_rights(client: S3Client, place: Request) -> dict[Right, bool]:
    """By right, whether the keys have it; without those about versions and locks where the bucket has none. Nothing is at `place`."""
    return _about_versions(client, place) | _about_locks(client, place)


def _about_versions(client: S3Client, place: Request) -> dict[Right, bool]:
    bucket = place.bucket
    answer = _try(lambda: client.get_bucket_versioning(Bucket=bucket), place)
    if answer is not None and "Status" not in answer:
        return {}
    listed = None if answer is None else _try(lambda: client.list_object_versions(Bucket=bucket, MaxKeys=1), place)
    removed = _try(lambda: client.delete_object(Bucket=bucket, Key=place.key, VersionId=_NO_VERSION), place)
    return {Right.SEE_VERSIONS: listed is not None, Right.REMOVE_VERSIONS: removed is not None}


def _about_locks(client: S3Client, place: Request) -> dict[Right, bool]:
    bucket = place.bucket
    answer = _try(lambda: client.get_object_lock_configuration(Bucket=bucket), place)
    if answer is not None and answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
        return {}
    seen = answer is not None and all(
        _try(lambda ask=ask: ask(Bucket=bucket, Key=place.key), place) is not None  # type: ignore[misc]
        for ask in (client.get_object_retention, client.get_object_legal_hold)
    )
    return {Right.SEE_LOCKS: seen}


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
    except BotoCoreError as error:
        raise translate(error, place) from error
