"""What boto3 raises, as Resguardo's errors: the one place that knows the codes of S3 and its imitators.

Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, MetadataRetrievalError, SSLError
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

from resguardo.api.base import print_time
from resguardo.api.errors import (
    BucketNotFound,
    EncryptionNotHonoured,
    KmsKeyNotFound,
    ObjectCorrupt,
    ObjectFrozen,
    ObjectLockNotHonoured,
    ObjectMissing,
    StorageClassRefused,
    StoreAccessDenied,
    StoreError,
    StoreUnreachable,
    WriteConflict,
)
from resguardo.store.answers import parse_date

#: A conditional write that raced another; it may be tried again.
RACE_CODE = "ConditionalRequestConflict"
MISSING_CODES = frozenset({"NoSuchKey", "NoSuchVersion", "404"})
UPLOAD_GONE_CODES = frozenset({"NoSuchUpload"})
#: Something stands already where nothing was to be.
STANDS_CODES = frozenset({"PreconditionFailed"})
#: What arrived is not what was sent: send it again.
DAMAGED_CODES = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"})


class BodyBrokeOff(BotoCoreError):
    """The connection broke within an answer's body; botocore's own retries end with the headers."""

    fmt = "the answer broke off: {error}"


@dataclass(frozen=True)
class Request:
    """What was asked of the store, for messages: an IAM action, the bucket, the full key or prefix, the endpoint."""

    action: str
    bucket: str
    key: str
    endpoint: str
    #: How the store is to encrypt what is written, and with which key; empty where nothing is asked.
    encryption: str = ""

    def __str__(self) -> str:
        return f"{self.action} on {self.key or '/'!r} in bucket {self.bucket} at {self.endpoint}"


def code_of(error: BaseException | None) -> str:
    """S3's code of an error; empty for one that is no answer of a server."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def status_of(error: BaseException | None) -> int:
    """The HTTP status of an error; 0 for one that is no answer of a server."""
    return int(error.response["ResponseMetadata"].get("HTTPStatusCode", 0)) if isinstance(error, ClientError) else 0


#: What boto3 raises for a request that failed. All but two come of answers that are none of S3's: no XML, or XML without
#: what must be in it, or with a number or a time that is none; or a redirection without an end.
FAILURES = (ClientError, BotoCoreError, ResponseParserError, KeyError, ValueError, RecursionError)


def translate(error: Exception, request: Request) -> StoreError:
    """The error of Resguardo's family that says the same, what it concerns and what to do; `error` is one of FAILURES."""
    if isinstance(error, ClientError) and error.operation_name in _LOGIN_OPERATIONS:
        return _not_logged_in(error, request)
    if isinstance(error, ClientError):
        return _answered(error, request)
    if isinstance(error, BotoCoreError):
        return _unanswered(error, request)
    said = str(error)[:200]
    return StoreError(
        f"{request}: the answer is none of S3's ({type(error).__name__}: {said}). Look at what stands at the endpoint"
    )


@dataclass(frozen=True)
class _Meaning:
    """What answers mean: the first whose codes or statuses hold an answer's, and whose words it says, is its meaning."""

    codes: frozenset[str]
    statuses: frozenset[int]
    error: type[StoreError]
    message: str
    #: A part of what the store says, in small letters, where its code alone says too little.
    words: str

    def is_of(self, code: str, status: int, said: str) -> bool:
        """Whether it is that of an answer."""
        return (code in self.codes or status in self.statuses) and self.words in said.lower()


def _meaning(error: type[StoreError], codes: str, message: str, *statuses: int, words: str = "") -> _Meaning:
    return _Meaning(frozenset(codes.split()), frozenset(statuses), error, message, words)


_MEANINGS = [
    _meaning(
        BucketNotFound,
        "NoSuchBucket InvalidBucketName",
        "there is no bucket {bucket} at {endpoint}: make it, or correct its name",
    ),
    _meaning(
        BucketNotFound,
        "PermanentRedirect TemporaryRedirect IllegalLocationConstraintException",
        "bucket {bucket} is not where {endpoint} is ({said}): correct the region",
        301,
        307,
    ),
    _meaning(
        StoreAccessDenied,
        "RequestTimeTooSkewed RequestExpired",
        "{request}: this machine's clock says {own_time}, the store's says {store_time}, and the store takes no request "
        "whose time differs so much: set the wrong one of the two clocks right ({said})",
    ),
    _meaning(
        StoreAccessDenied,
        "InvalidAccessKeyId SignatureDoesNotMatch InvalidToken ExpiredToken AuthorizationHeaderMalformed",
        "{endpoint} refuses the access key for bucket {bucket} ({said}): correct the key's id and secret, or the region",
    ),
    _meaning(
        StorageClassRefused,
        "InvalidStorageClass",
        "{request}: {endpoint} does not know the storage class ({said}): name one that it has in storageClasses",
    ),
    _meaning(
        ObjectFrozen,
        "InvalidObjectState",
        "object {key!r} in bucket {bucket} at {endpoint} lies in an archive, and is not read before it was brought back "
        "({said}): ask for it with `aws s3api restore-object`",
    ),
    # Names of AWS' KMS (https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html), and of MinIO's.
    _meaning(
        KmsKeyNotFound,
        "kms:KeyNotFound KMS.NotFoundException KMS.DisabledException KMS.KMSInvalidStateException "
        "KMS.KeyUnavailableException KMS.InvalidKeyUsageException kms:InvalidCiphertextException",
        "{request}: the store's KMS does not have the key, or cannot use it ({said}). What is written asks for {encryption}: correct "
        "store.s3.sse.kmsKeyId, or make or enable the key; what was encrypted with one that is gone for good cannot be read",
    ),
    _meaning(
        StoreAccessDenied,
        "AccessDenied KMS.AccessDeniedException",
        "the access key may not use the KMS key for {request} ({said}). What is written asks for {encryption}: allow "
        "kms:GenerateDataKey and kms:Decrypt, in IAM and in the key's own policy",
        words="perform: kms:",
    ),
    _meaning(
        StoreAccessDenied,
        "kms:NotAuthorized",
        "the store may not use its own KMS for {request} ({said}). What is written asks for {encryption}: allow the store that key",
    ),
    _meaning(
        EncryptionNotHonoured,
        "NotImplemented",
        "{request}: {endpoint} cannot encrypt, and what is written asks for {encryption} ({said}): give it a KMS, or change "
        "store.s3.sse to what it does",
        words="encryption",
    ),
    _meaning(
        ObjectLockNotHonoured,
        "InvalidRequest InvalidBucketObjectLockConfiguration ObjectLockConfigurationNotFoundError",
        "{request}: bucket {bucket} at {endpoint} has no object lock ({said}). It is turned on when a bucket is made: use one that "
        "has it, or take store.s3.objectLock away",
        words="bucket is missing object",
    ),
    _meaning(
        StoreAccessDenied,
        "InvalidRequest",
        "{request} is refused, since the object is locked ({said})",
        words="worm protected",
    ),
    _meaning(StoreAccessDenied, "AccessDenied", "the access key may not do {request} ({said}): allow it", 401, 403),
    _meaning(
        WriteConflict,
        f"PreconditionFailed {RACE_CODE}",
        "{request}: something else stands there now; nothing was overwritten",
        412,
    ),
    _meaning(ObjectMissing, " ".join(MISSING_CODES), "there is no object {key!r} in bucket {bucket} at {endpoint}"),
    _meaning(
        ObjectCorrupt,
        "InvalidRange",
        "object {key!r} in bucket {bucket} at {endpoint} ends before the bytes that were asked for",
        416,
    ),
    _meaning(
        StoreError,
        "EntityTooLarge",
        "{request}: what was sent is refused as too large (413, {said}). Parts of an upload have 8 MiB, those of a very large dump more: "
        "let what stands before {endpoint} take bodies of any size (nginx: client_max_body_size 0)",
        413,
    ),
    _meaning(
        StoreUnreachable,
        " ".join(DAMAGED_CODES),
        "{request}: bytes arrive changed, again and again ({said}); look at the network between",
    ),
    _meaning(
        StoreUnreachable,
        "SlowDown SlowDownRead SlowDownWrite RequestTimeout",
        "{request} failed, after {attempts} attempts: {said}",
        429,
        500,
        *range(502, 600),
    ),
    _meaning(StoreError, "", "{request} failed: {said}"),
]


def _answered(error: ClientError, request: Request) -> StoreError:
    code, status = code_of(error), status_of(error)
    message = str(error.response.get("Error", {}).get("Message", ""))
    found = next((meaning for meaning in _MEANINGS if meaning.is_of(code, status, message)), _MEANINGS[-1])
    return found.error(
        found.message.format(
            request=request,
            bucket=request.bucket,
            key=request.key,
            endpoint=request.endpoint,
            encryption=request.encryption or "no encryption but the bucket's own",
            said=f"the store says {code}: {message}".rstrip(": "),
            own_time=print_time(datetime.now(UTC)),
            store_time=_store_time(error),
            attempts=int(error.response["ResponseMetadata"].get("RetryAttempts", 0)) + 1,
        )
    )


#: Asked on the way to a request, by whoever signs it.
_LOGIN_OPERATIONS = frozenset({"AssumeRole", "AssumeRoleWithWebIdentity"})


def _not_logged_in(error: ClientError, request: Request) -> StoreError:
    said = f"{code_of(error)}: {error.response.get('Error', {}).get('Message', '')}".rstrip(": ")
    if status_of(error) == 429 or status_of(error) >= 500 or code_of(error) == "IDPCommunicationError":
        return StoreUnreachable(
            f"no keys for bucket {request.bucket}: {error.operation_name} failed, again and again ({said})"
        )
    return StoreAccessDenied(
        f"no keys for bucket {request.bucket}: {error.operation_name} is refused ({said}). Look at the role's ARN, at its trust "
        "policy, and at the external id or the service account that it names"
    )


def _store_time(error: ClientError) -> str:
    """The store's clock, from the answer's Date: every server sends one, and not all repeat it in the error."""
    date = date_of(error.response["ResponseMetadata"])
    return print_time(date) if date else "something else"


def date_of(metadata: Mapping[str, Any]) -> datetime | None:
    """When the server sent an answer, by its own clock; None where it does not say, or says what no clock shows."""
    return parse_date(metadata.get("HTTPHeaders", {}).get("date", ""))


def _unanswered(error: BotoCoreError, request: Request) -> StoreError:
    if isinstance(error, SSLError):
        return StoreUnreachable(
            f"no trusted TLS to {request.endpoint} ({error}): name the authority that vouches for it in caRef"
        )
    if isinstance(error, MetadataRetrievalError):
        return StoreAccessDenied(
            f"no keys for bucket {request.bucket}: the node's agent gave none ({error}). Look at the pod identity association of "
            "the service account"
        )
    if isinstance(error, BotoConnectionError | HTTPClientError | BodyBrokeOff):
        return StoreUnreachable(f"no answer to {request}: {error}. Look at the endpoint and at what lies between")
    return StoreError(f"{request} failed: {error}")
