"""Removes objects from a bucket, and in a versioned one their bytes too.

A delete without a version leaves the bytes and lays a delete marker over them
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeletingObjectVersions.html).
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from resguardo.api.errors import BucketNotFound, StoreError, StoreUnreachable
from resguardo.store.listings import each_once, within
from resguardo.store.s3_errors import FAILURES, MISSING_CODES, Request, translate

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: The most that one DeleteObjects takes.
KEYS_MAX = 1000


@dataclass(frozen=True)
class _Version:
    """What one delete is about; without a version id, the object as it stands."""

    key: str
    version_id: str | None = None

    def to_delete(self) -> dict[str, str]:
        """As DeleteObjects names it."""
        return {"Key": self.key} | ({"VersionId": self.version_id} if self.version_id else {})


def _add_md5(request: Any, **_: Any) -> None:
    """Older servers take no DeleteObjects without Content-MD5, which boto3 sends no more since 1.36; AWS takes both."""
    if "Content-MD5" not in request.headers:
        digest = hashlib.md5(request.body, usedforsecurity=False).digest()
        request.headers["Content-MD5"] = b64encode(digest).decode()


def _latest_last(page: Any) -> list[Any]:
    """The versions on a page by their keys: as long as the latest is there, what lies below it does not show."""
    there = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    return sorted(there, key=lambda version: (version["Key"], version["IsLatest"]))


def _print_version(version: Any) -> str:
    return f"{version['Key']} {version['VersionId']}"


class S3Eraser:
    """`protocol.Store.erase` for one bucket; `place` is any request there, whose key is the prefix."""

    def __init__(self, client: S3Client, place: Request) -> None:
        self._client, self._place, self._prefix = client, place, place.key
        self._is_versioned: bool | None = None
        client.meta.events.register("before-sign.s3.DeleteObjects", _add_md5)

    def erase(self, *paths: str, but: str | None = None) -> dict[str, StoreError]:
        """Remove objects, and folders' objects, with their versions; what could not be removed, by key."""
        spared = None if but is None else self._prefix + but
        found = (version for path in paths for version in self._find(self._prefix + path) if version.key != spared)
        problems: dict[str, StoreError] = {}
        while batch := list(islice(found, KEYS_MAX)):
            problems |= self._delete(batch)
        return problems

    def _find(self, full: str) -> Iterator[_Version]:
        if self._looks_at_versions():
            yield from self._versions(full)
        elif full.endswith("/"):
            yield from self._objects(full)
        else:
            yield _Version(full)

    def _looks_at_versions(self) -> bool:
        if self._is_versioned is None:
            try:
                self._is_versioned = self._ask_for_versions()
            except (StoreUnreachable, BucketNotFound):
                raise
            except StoreError:
                # The keys may not, or the server does not know of versions.
                self._is_versioned = False
        return self._is_versioned

    def _ask_for_versions(self) -> bool:
        with self._translated("s3:GetBucketVersioning", self._prefix):
            # Absent where versions were never turned on; suspended, there may still be some.
            if "Status" not in self._client.get_bucket_versioning(Bucket=self._place.bucket):
                return False
        with self._translated("s3:ListBucketVersions", self._prefix):
            self._client.list_object_versions(Bucket=self._place.bucket, Prefix=self._prefix, MaxKeys=1)
        return True

    def _versions(self, full: str) -> Iterator[_Version]:
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._place.bucket, Prefix=full)
        asked = replace(self._place, action="s3:ListBucketVersions", key=full)
        with self._translated(asked.action, full):
            for found in each_once(map(_latest_last, pages), _print_version, asked):
                key = within(full, found["Key"], asked)
                if key == full or full.endswith("/"):
                    yield _Version(key, found["VersionId"])

    def _objects(self, full: str) -> Iterator[_Version]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._place.bucket, Prefix=full)
        asked = replace(self._place, action="s3:ListBucket", key=full)
        with self._translated(asked.action, full):
            for found in each_once((page.get("Contents", []) for page in pages), lambda found: found["Key"], asked):
                yield _Version(within(full, found["Key"], asked))

    def _delete(self, batch: Sequence[_Version]) -> dict[str, StoreError]:
        objects: list[Any] = [version.to_delete() for version in batch]
        action = "s3:DeleteObjectVersion" if "VersionId" in objects[0] else "s3:DeleteObject"
        with self._translated(action, objects[0]["Key"]):
            answer = self._client.delete_objects(Bucket=self._place.bucket, Delete={"Objects": objects, "Quiet": True})
        # 200 says only that the request was understood.
        return {
            error["Key"].removeprefix(self._prefix): self._problem(action, error)
            for error in answer.get("Errors", [])
            if error.get("Code") not in MISSING_CODES
        }

    def _problem(self, action: str, error: Any) -> StoreError:
        told = ClientError(
            {"Error": {"Code": error.get("Code", ""), "Message": error.get("Message", "")}, "ResponseMetadata": {}},  # type: ignore[typeddict-item]
            "DeleteObjects",
        )
        return translate(told, replace(self._place, action=action, key=error["Key"]))

    @contextmanager
    def _translated(self, action: str, full_key: str) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            raise translate(error, replace(self._place, action=action, key=full_key)) from error
