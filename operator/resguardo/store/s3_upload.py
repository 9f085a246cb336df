"""A multipart upload, of which an answer may be lost at any moment.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_random_exponential

from resguardo.api.errors import ObjectCorrupt, StoreError
from resguardo.store.again import again
from resguardo.store.body import part_body
from resguardo.store.protocol import ObjectInfo
from resguardo.store.s3_classes import class_of
from resguardo.store.s3_encryption import S3Encryption, encryption_of, heard, words_of
from resguardo.store.s3_errors import (
    DAMAGED_CODES,
    FAILURES,
    MISSING_CODES,
    STANDS_CODES,
    UPLOAD_GONE_CODES,
    Request,
    code_of,
    translate,
)
from resguardo.store.s3_look import look

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

APPEAR_SECONDS = 30


def info_of(key: str, head: Mapping[str, Any]) -> ObjectInfo:
    """An object by a HEAD's answer."""
    return ObjectInfo(
        key, head["ContentLength"], head["ETag"], head["LastModified"], class_of(head), encryption_of(head)
    )


@dataclass(frozen=True)
class _Part:
    etag: str
    sha256: bytes
    bytes: int


class S3Upload:
    """See `protocol.Upload` for the contract."""

    def __init__(
        self,
        client: S3Client,
        upload_id: str,
        *,
        patient_client: S3Client,
        hasty_client: S3Client,
        key: str,
        request: Request,
        encryption: S3Encryption,
        confirm: Callable[[], None],
    ) -> None:
        self._client, self._patient_client, self._hasty_client = client, patient_client, hasty_client
        self._upload_id = upload_id
        self._key, self._request, self._encryption = key, request, encryption
        #: Raises where something else than its bytes is not as it was asked for, once the object stands.
        self._confirm = confirm
        self._parts: dict[int, _Part] = {}
        #: What was said of the encryption of parts, each different saying once.
        self._told: set[frozenset[tuple[str, Any]]] = set()
        self._is_complete = False

    def upload_part(self, number: int, body: bytes | bytearray, *, start: int, sha256: bytes) -> None:  # noqa: ARG002
        """Send one part, again when it arrived damaged. S3 knows its place by its number."""
        try:
            answer = again(
                lambda: self._client.upload_part(
                    Bucket=self._request.bucket,
                    Key=self._request.key,
                    UploadId=self._upload_id,
                    PartNumber=number,
                    Body=part_body(body),
                    ChecksumSHA256=b64encode(sha256).decode(),
                ),
                when=lambda error: code_of(error) in DAMAGED_CODES,
            )
            # The answer to the beginning says it with AWS, and not with MinIO.
            self._encryption.require(answer, self._request)
            self._told.add(words_of(answer))
            self._parts[number] = _Part(answer["ETag"], sha256, len(body))
        except FAILURES as error:
            raise translate(error, self._request) from error

    def complete(self) -> ObjectInfo:
        """Make the object. An error is looked into: where the object stands as it should, only its answer was lost."""
        try:
            return self._completed()
        except FAILURES as error:
            raise translate(error, self._request) from error

    def _completed(self) -> ObjectInfo:
        numbers = sorted(self._parts)
        if numbers != list(range(1, len(numbers) + 1)) or not numbers:
            raise AssertionError(f"parts {numbers} are not 1 to {len(numbers)}")
        made_etag = None
        try:
            answer = self._complete(numbers)
            made_etag = str(answer["ETag"])
        except FAILURES as error:
            # botocore sends it again when the answer is lost, and the upload that was completed is then gone.
            failure = translate(error, self._request)
            if isinstance(error, ClientError) and code_of(error) not in UPLOAD_GONE_CODES | STANDS_CODES:
                raise failure from error
            found = self._look(failure, heard(self._told, {}))
            if found is None or not self._is_proven(found):
                raise failure from error
        else:
            told = heard(self._told, answer)
            # Judged also where a HEAD says more: else the check, whose probe may be looked at, would promise more than a backup's
            # data get, which a writer that may not read cannot look at.
            self._encryption.require(told, self._request)
            found = self._look_until_there(told)
        self._is_complete = True
        return self._confirmed(found, made_etag)

    def abort(self) -> None:
        """Make the store forget the parts."""
        if self._is_complete:
            return
        try:
            self._hasty_client.abort_multipart_upload(
                Bucket=self._request.bucket, Key=self._request.key, UploadId=self._upload_id
            )
        except FAILURES as error:
            if code_of(error) not in UPLOAD_GONE_CODES | MISSING_CODES:
                raise translate(error, replace(self._request, action="s3:AbortMultipartUpload")) from error

    def _complete(self, numbers: list[int]) -> Mapping[str, Any]:
        parts = [
            {
                "PartNumber": number,
                "ETag": self._parts[number].etag,
                "ChecksumSHA256": b64encode(self._parts[number].sha256).decode(),
            }
            for number in numbers
        ]
        complete: Callable[..., Mapping[str, Any]] = partial(
            self._patient_client.complete_multipart_upload,
            Bucket=self._request.bucket,
            Key=self._request.key,
            UploadId=self._upload_id,
            MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item, unused-ignore]
        )
        try:
            # So that a bucket policy can demand it of whoever writes there: nothing of a backup is ever overwritten.
            return complete(IfNoneMatch="*")
        except ClientError as error:
            if code_of(error) != "NotImplemented":
                raise
            return complete()

    def _look(self, failure: StoreError | None, told: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            return look(self._client, self._request.bucket, self._request.key, told=told)
        except FAILURES as error:
            raise failure or translate(error, replace(self._request, action="s3:GetObject")) from error

    def _look_until_there(self, told: Mapping[str, Any]) -> dict[str, Any] | None:
        # A second attempt may be told success while the server is still busy with the first.
        looking = Retrying(
            retry=retry_if_result(lambda found: found is None),
            stop=stop_after_delay(APPEAR_SECONDS),
            wait=wait_random_exponential(multiplier=0.25, max=5),
            retry_error_callback=lambda _state: None,
        )
        return looking(self._look, None, told)

    def _is_proven(self, found: dict[str, Any]) -> bool:
        """Whether what is there is made of these very parts: by the store's checksum, or by the ETag of AWS' making."""
        if found["ContentLength"] != self._bytes:
            return False
        if checksum := found.get("ChecksumSHA256"):
            return bool(_without_count(checksum) == self._composite_sha256())
        return bool(found["ETag"].strip('"') == self._composite_etag())

    def _confirmed(self, found: dict[str, Any] | None, made_etag: str | None) -> ObjectInfo:
        where = f"object {self._request.key!r} in bucket {self._request.bucket} at {self._request.endpoint}"
        if found is None:
            raise ObjectCorrupt(f"{where} is not there, although the store said that it was made")
        if found["ContentLength"] != self._bytes:
            raise ObjectCorrupt(f"{where} has {found['ContentLength']} bytes, and {self._bytes} were sent")
        # versitygw answers 200 for an upload that is gone wherever an object stands, even another's.
        if made_etag is not None and made_etag.strip('"') != found["ETag"].strip('"'):
            raise ObjectCorrupt(f"{where} is another object than the one that was made of the parts sent")
        checksum = found.get("ChecksumSHA256")
        if checksum and _without_count(checksum) != self._composite_sha256():
            raise ObjectCorrupt(f"{where} has another checksum than the parts that were sent")
        self._encryption.require(found, self._request)
        self._confirm()
        return info_of(self._key, found)

    @property
    def _bytes(self) -> int:
        return sum(part.bytes for part in self._parts.values())

    def _composite_sha256(self) -> bytes:
        """Digest over the parts' digests (S3's COMPOSITE type)."""
        return hashlib.sha256(b"".join(self._parts[number].sha256 for number in sorted(self._parts))).digest()

    def _composite_etag(self) -> str:
        try:
            digests = b"".join(bytes.fromhex(self._parts[number].etag.strip('"')) for number in sorted(self._parts))
        except ValueError:
            return ""
        return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(self._parts)}"


def _without_count(checksum: str) -> bytes:
    """The digest in a checksum such as w6wh…stxo=-3."""
    return b64decode(checksum.partition("-")[0])
