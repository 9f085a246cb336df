"""The Store over S3, AWS' or a compatible server's."""

from __future__ import annotations

import hashlib
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError

from resguardo.api import s3 as spec
from resguardo.api.durations import Span
from resguardo.api.errors import ObjectCorrupt, ObjectMissing, StoreAccessDenied, StoreError, WriteConflict
from resguardo.rules.access import Right
from resguardo.rules.locks import Lock
from resguardo.store.again import again
from resguardo.store.body import part_body
from resguardo.store.conflict import confirmed, may_be_ours, settle
from resguardo.store.listings import each_once, within
from resguardo.store.protocol import Availability, ObjectInfo, Stored
from resguardo.store.s3_classes import S3Archive
from resguardo.store.s3_client import (
    ABORT_ATTEMPTS,
    ATTEMPTS,
    COMPLETE_SECONDS,
    PATIENT_ATTEMPTS,
    READ_SECONDS,
    endpoint_of,
    make_client,
)
from resguardo.store.s3_encryption import S3Encryption
from resguardo.store.s3_erase import S3Eraser
from resguardo.store.s3_errors import (
    DAMAGED_CODES,
    FAILURES,
    RACE_CODE,
    BodyBrokeOff,
    Request,
    code_of,
    date_of,
    translate,
)
from resguardo.store.s3_locks import S3Locks, lock_options
from resguardo.store.s3_login import AccessKeys, Login
from resguardo.store.s3_look import look
from resguardo.store.s3_rights import special_rights
from resguardo.store.s3_upload import S3Upload, info_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

__all__ = ["ATTEMPTS", "PATIENT_ATTEMPTS", "AccessKeys", "S3Store"]

PIECE_BYTES = 256 * 1024


class S3Store:
    """A bucket and a prefix in it; see `protocol.Store` for the contract."""

    def __init__(
        self,
        store: spec.S3Store,
        login: Login,
        ca_file: Path | None,
        *,
        attempts: int = ATTEMPTS,
        read_seconds: float = READ_SECONDS,
        session_name: str = "resguardo",
    ) -> None:
        self._bucket = store.bucket
        self._prefix = f"{store.prefix}/" if store.prefix else ""
        self._endpoint = endpoint_of(store)
        self._encryption = S3Encryption(store.sse)
        make = partial(make_client, store, login, ca_file, session_name=session_name)
        self._client: S3Client = make(read_seconds=read_seconds, attempts=attempts)
        self._hasty_client: S3Client = make(read_seconds=read_seconds, attempts=min(attempts, ABORT_ATTEMPTS))
        self._patient_client: S3Client = make(read_seconds=max(read_seconds, COMPLETE_SECONDS), attempts=attempts)
        self._eraser = S3Eraser(self._client, Request("", self._bucket, self._prefix, self._endpoint))
        self._archive = S3Archive(self._client, Request("", self._bucket, self._prefix, self._endpoint))
        self._locks = S3Locks(self._client, Request("", self._bucket, self._prefix, self._endpoint))
        self._lock: Lock | None = None
        self._opened_at = time.monotonic()

    @property
    def location(self) -> str:
        """Endpoint, bucket and prefix."""
        where = f"prefix {self._prefix.rstrip('/')!r}" if self._prefix else "its root"
        return f"bucket {self._bucket} at {self._endpoint}, {where}"

    @property
    def place(self) -> str:
        """Bucket and prefix."""
        return f"{self._bucket}/{self._prefix}".rstrip("/")

    def put(
        self,
        key: str,
        body: bytes,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        content_type: str = "application/json",
        storage_class: str | None = None,
    ) -> str:
        """Write a small object whole, under a condition or none."""
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        if if_match is not None:
            condition["IfMatch"] = if_match
        return self._write(key, body, content_type, storage_class, condition)[0]

    def add(self, key: str, body: bytes, *, content_type: str, storage_class: str | None = None) -> ObjectInfo:
        """Write a small object where nothing is."""
        etag, told = self._write(key, body, content_type, storage_class, {"IfNoneMatch": "*"})
        with self._translated("s3:GetObject", key):
            there = look(self._client, self._bucket, self._prefix + key, told=told)
            made = info_of(key, there) if there is not None else None
        return confirmed(made, etag, name=self._name(key))

    def _write(
        self, key: str, body: bytes, content_type: str, storage_class: str | None, condition: dict[str, Any]
    ) -> tuple[str, Mapping[str, Any]]:
        """The object's ETag, and what the store said of it in its answer; nothing where that was lost."""
        options: dict[str, Any] = {"StorageClass": storage_class} if storage_class is not None else {}

        def write() -> tuple[str, Mapping[str, Any]]:
            with self._translated("s3:PutObject", key) as request:
                answer = self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    Body=part_body(body),
                    ContentType=content_type,
                    ChecksumSHA256=b64encode(hashlib.sha256(body).digest()).decode(),
                    **self._encryption.options,
                    **self._lock_options,
                    **condition,
                    **options,
                )
                etag = answer["ETag"]
            self._encryption.require(answer, request)
            return etag, answer

        try:
            etag, told = again(write, when=_is_resent)
            is_ours = True
        except (WriteConflict, ObjectMissing):
            # With If-Match a missing object is told as such. And the conflict may be with this very write, whose answer
            # was lost and which botocore sent again: what stands there says, of its encryption and lock too.
            stored = self._settled(key, body)
            etag, told = stored.etag, {}
            is_ours = not self._encryption.is_asked or may_be_ours(self, stored, since=self._age)
        if self._encryption.is_asked and is_ours:
            self._look_how_it_is_encrypted(key, etag, told)
        self._require_lock(key)
        return etag, told

    def _settled(self, key: str, body: bytes) -> Stored:
        try:
            return settle(self, key, body, name=self._name(key))
        except WriteConflict as conflict:
            if not isinstance(conflict.__cause__, StoreAccessDenied):
                raise
            # Whoever makes backups need not read them. Of an object that was written whole the ETag is its MD5, where no KMS
            # encrypts it: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
            with suppress(StoreAccessDenied):
                there = self.head(key)
                if there is not None and there.etag.strip('"') == hashlib.md5(body, usedforsecurity=False).hexdigest():
                    return Stored(body, there.etag, there.last_modified)
            raise

    @property
    def _age(self) -> timedelta:
        return timedelta(seconds=time.monotonic() - self._opened_at)

    def _name(self, key: str) -> str:
        return f"object {self._prefix + key!r} in bucket {self._bucket} at {self._endpoint}"

    @property
    def _lock_options(self) -> dict[str, Any]:
        return lock_options(self._lock) if self._lock is not None else {}

    def _look_how_it_is_encrypted(self, key: str, etag: str, told: Mapping[str, Any]) -> None:
        with self._translated("s3:GetObject", key) as request:
            there = look(self._client, self._bucket, self._prefix + key, told=told)
            # Else somebody else's delete or write, a moment ago, about which nothing was asked.
            if there is not None and there["ETag"] == etag:
                self._encryption.require(there, request)

    def get(self, key: str, *, max_bytes: int) -> Stored:
        """Read a small object whole."""

        def read() -> Stored:
            with self._translated("s3:GetObject", key):
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
                length = answer["ContentLength"]
                if length > max_bytes:
                    answer["Body"].close()
                    raise ObjectCorrupt(
                        f"object {self._prefix + key!r} in bucket {self._bucket} has {length} bytes, and such an object "
                        f"never has more than {max_bytes}"
                    )
                return Stored(bytes(_read_body(answer, length)), answer["ETag"], answer["LastModified"])

        return again(read, when=_is_reread)

    def head(self, key: str) -> ObjectInfo | None:
        """What stands at a key."""
        with self._translated("s3:GetObject", key):
            answer = look(self._client, self._bucket, self._prefix + key)
            return info_of(key, answer) if answer is not None else None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects in the order of their keys, page by page."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        with self._translated("s3:ListBucket", prefix) as asked:
            for found in each_once((page.get("Contents", []) for page in pages), lambda found: found["Key"], asked):
                key = within(asked.key, found["Key"], asked).removeprefix(self._prefix)
                yield ObjectInfo(key, found["Size"], found["ETag"], found["LastModified"])

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Names of the folders right under a prefix, in order."""
        full = self._prefix + prefix
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=full, Delimiter="/")
        with self._translated("s3:ListBucket", prefix) as asked:
            for found in each_once(
                (page.get("CommonPrefixes", []) for page in pages), lambda found: found["Prefix"], asked
            ):
                yield within(full, found["Prefix"], asked).removeprefix(full).rstrip("/")

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with self._translated("s3:DeleteObject", key):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def erase(self, *paths: str, but: str | None = None) -> Mapping[str, StoreError]:
        """Remove objects and folders, with all versions."""
        return self._eraser.erase(*paths, but=but)

    def locking(self, lock: Lock) -> S3Store:
        """The same store, which locks what it writes."""
        other = copy(self)
        other._lock = lock
        return other

    def lock_of(self, key: str) -> Lock | None:
        """The retention of an object."""
        return self._locks.lock_of(key)

    def extend_lock(self, key: str, lock: Lock) -> None:
        """Lock an object for at least so long."""
        self._locks.extend_lock(key, lock)

    def is_locked(self, key: str) -> bool:
        """Whether an object may not be deleted for now."""
        return self._locks.is_locked(key, now=self.clock)

    def default_lock(self) -> Span | None:
        """The retention that the bucket gives each new object."""
        return self._locks.default_lock()

    def special_rights(self, key: str) -> Mapping[Right, bool | None]:
        """About versions and locks."""
        return special_rights(self._client, Request("s3:*", self._bucket, self._prefix + key, self._endpoint))

    def clock(self) -> datetime:
        """The Date of an answer: every server that has a clock sends one (RFC 9110, 6.6.1)."""
        with self._translated("s3:ListBucket", ""):
            answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        if (date := date_of(answer["ResponseMetadata"])) is None:
            raise StoreError(
                f"{self._endpoint} does not say what time it is: its answers have no Date that can be read"
            )
        return date

    def read_range(self, key: str, start: int, length: int) -> bytes | bytearray:
        """Exactly these bytes of an object."""
        if length == 0:
            return b""

        def read() -> bytearray:
            with self._translated("s3:GetObject", key):
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + key, Range=f"bytes={start}-{start + length - 1}"
                )
                if answer["ContentLength"] != length:
                    answer["Body"].close()
                    raise ObjectCorrupt(
                        f"object {self._prefix + key!r} in bucket {self._bucket} gives {answer['ContentLength']} bytes "
                        f"from byte {start} on, and {length} were asked for"
                    )
                return _read_body(answer, length)

        return again(read, when=_is_reread)

    def availability(self, key: str) -> Availability | None:
        """Whether an object can be read at once."""
        return self._archive.availability(key)

    def bring_back(self, key: str, *, keep: timedelta) -> None:
        """Ask for an object in an archive."""
        self._archive.bring_back(key, keep=keep)

    def begin_upload(self, key: str, *, storage_class: str | None = None) -> S3Upload:
        """Begin a multipart upload."""
        options: dict[str, Any] = {"StorageClass": storage_class} if storage_class is not None else {}
        with self._translated("s3:PutObject", key):
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket,
                Key=self._prefix + key,
                ContentType="application/octet-stream",
                ChecksumAlgorithm="SHA256",
                **self._encryption.options,
                **self._lock_options,
                **options,
            )
            return self._upload(self._prefix + key, answer["UploadId"])

    def abort_uploads(self, prefix: str, *, begun_before: datetime | None = None) -> int:
        """Abort every multipart upload under a prefix, or the old ones."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        with self._translated("s3:ListBucketMultipartUploads", prefix) as asked:
            found = [
                (within(self._prefix + prefix, upload["Key"], asked), upload["UploadId"])
                for page in pages
                for upload in page.get("Uploads", [])
                if begun_before is None or upload["Initiated"] < begun_before
            ]
        for full_key, upload_id in found:
            self._upload(full_key, upload_id).abort()
        return len(found)

    def _upload(self, full_key: str, upload_id: str) -> S3Upload:
        return S3Upload(
            self._client,
            upload_id,
            patient_client=self._patient_client,
            hasty_client=self._hasty_client,
            key=full_key.removeprefix(self._prefix),
            request=Request("s3:PutObject", self._bucket, full_key, self._endpoint, str(self._encryption)),
            encryption=self._encryption,
            confirm=partial(self._require_lock, full_key.removeprefix(self._prefix)),
        )

    def _require_lock(self, key: str) -> None:
        if self._lock is not None:
            self._locks.require(key, self._lock)

    @contextmanager
    def _translated(self, action: str, key: str) -> Iterator[Request]:
        request = Request(action, self._bucket, self._prefix + key, self._endpoint, str(self._encryption))
        try:
            yield request
        except FAILURES as error:
            raise translate(error, request) from error


def _read_body(answer: GetObjectOutputTypeDef, length: int) -> bytearray:
    # Piece by piece into its place: read whole, the body would stand in memory twice for a moment.
    read = bytearray(length)
    position = 0
    try:
        with answer["Body"] as body, memoryview(read) as view:
            while position < length and (count := _read_into(body, view[position : position + PIECE_BYTES])):
                position += count
    except BotoCoreError as error:
        raise BodyBrokeOff(error=error) from error
    if position != length:
        raise BodyBrokeOff(error=f"{position} of {length} bytes came")
    return read


def _read_into(body: Any, piece: memoryview) -> int:
    count: int = body.readinto(piece)
    return count


def _is_resent(error: BaseException) -> bool:
    return code_of(error.__cause__) in {*DAMAGED_CODES, RACE_CODE}


def _is_reread(error: BaseException) -> bool:
    return isinstance(error.__cause__, BodyBrokeOff)
