"""What boto3 raises, by Resguardo's names: a table of answers that no server at hand gives on demand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import botocore.exceptions as boto
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from resguardo.api.errors import (
    BucketNotFound,
    EncryptionNotHonoured,
    KmsKeyNotFound,
    ObjectCorrupt,
    ObjectMissing,
    StoreAccessDenied,
    StoreError,
    StoreUnreachable,
    WriteConflict,
)
from resguardo.store.s3_errors import BodyBrokeOff, Request, translate

REQUEST = Request("s3:GetObject", "agepar-backups", "prod/a {b} %s", "https://s3.example")


def answer(code: str, status: int, message: str = "in {its} own %s words") -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "RetryAttempts": 5},
    }
    return ClientError(response, "GetObject")


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("NoSuchBucket", 404, BucketNotFound),
        ("PermanentRedirect", 301, BucketNotFound),
        ("301", 301, BucketNotFound),
        ("NoSuchKey", 404, ObjectMissing),
        ("404", 404, ObjectMissing),
        ("AccessDenied", 403, StoreAccessDenied),
        ("403", 403, StoreAccessDenied),
        ("InvalidAccessKeyId", 403, StoreAccessDenied),
        ("SignatureDoesNotMatch", 403, StoreAccessDenied),
        ("ExpiredToken", 400, StoreAccessDenied),
        ("AuthorizationHeaderMalformed", 400, StoreAccessDenied),
        ("RequestTimeTooSkewed", 403, StoreAccessDenied),
        ("AllAccessDisabled", 403, StoreAccessDenied),
        ("PreconditionFailed", 412, WriteConflict),
        ("412", 412, WriteConflict),
        ("ConditionalRequestConflict", 409, WriteConflict),
        ("InvalidRange", 416, ObjectCorrupt),
        ("EntityTooLarge", 400, StoreError),
        ("", 413, StoreError),
        ("BadDigest", 400, StoreUnreachable),
        ("XAmzContentSHA256Mismatch", 400, StoreUnreachable),
        ("SlowDown", 503, StoreUnreachable),
        ("InternalError", 500, StoreUnreachable),
        ("InternalError", 200, StoreError),
        ("XMinioStorageFull", 507, StoreUnreachable),
        ("TooManyRequests", 429, StoreUnreachable),
        ("NoSuchUpload", 404, StoreError),
        ("KeyTooLongError", 400, StoreError),
        ("NotImplemented", 501, StoreError),
        ("", 400, StoreError),
    ],
)
def test_an_answer_has_one_meaning_and_a_message_that_names_the_bucket(
    code: str, status: int, error: type[StoreError]
) -> None:
    translated = translate(answer(code, status), REQUEST)
    assert type(translated) is error
    assert "agepar-backups" in str(translated)


#: As AWS says it.
NO_KMS_RIGHT = (
    "User: arn:aws:iam::111122223333:user/backup is not authorized to perform: kms:GenerateDataKey on resource: "
    "arn:aws:kms:sa-east-1:111122223333:key/1234abcd because no identity-based policy allows the kms:GenerateDataKey action"
)


@pytest.mark.parametrize(
    ("code", "status", "message", "error", "words"),
    [
        ("KMS.NotFoundException", 400, "Invalid keyId", KmsKeyNotFound, "aws:kms with key 1234abcd"),
        ("KMS.DisabledException", 400, "arn:… is disabled.", KmsKeyNotFound, "enable the key"),
        ("KMS.KMSInvalidStateException", 400, "arn:… is pending deletion.", KmsKeyNotFound, "enable the key"),
        ("kms:KeyNotFound", 404, "key with given key ID does not exist", KmsKeyNotFound, "aws:kms with key 1234abcd"),
        ("AccessDenied", 403, NO_KMS_RIGHT, StoreAccessDenied, "allow kms:GenerateDataKey and kms:Decrypt"),
        ("AccessDenied", 403, "may not write to kms-backups", StoreAccessDenied, "the access key may not do"),
        ("kms:NotAuthorized", 403, "insufficient permissions", StoreAccessDenied, "allow the store that key"),
        ("NotImplemented", 501, "Server side encryption specified but KMS is not configured", EncryptionNotHonoured, "KMS"),
        ("InvalidRequest", 400, "Object is WORM protected and cannot be overwritten", StoreAccessDenied, "is locked"),
        ("InvalidRequest", 400, "Something else", StoreError, "Something else"),
    ],
)  # fmt: skip
def test_where_the_code_says_too_little_the_words_decide(
    code: str, status: int, message: str, error: type[StoreError], words: str
) -> None:
    request = replace(REQUEST, action="s3:PutObject", encryption="aws:kms with key 1234abcd")
    translated = translate(answer(code, status, message), request)
    assert type(translated) is error
    assert words in str(translated)


def test_curly_braces_in_keys_and_messages_are_text() -> None:
    assert "'prod/a {b} %s'" in str(translate(answer("AccessDenied", 403), REQUEST))
    assert "in {its} own %s words" in str(translate(answer("AccessDenied", 403), REQUEST))


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (boto.EndpointConnectionError(endpoint_url="u"), StoreUnreachable, "no answer to s3:GetObject"),
        (boto.ConnectTimeoutError(endpoint_url="u"), StoreUnreachable, "no answer"),
        (boto.ReadTimeoutError(endpoint_url="u"), StoreUnreachable, "no answer"),
        (boto.ConnectionClosedError(endpoint_url="u"), StoreUnreachable, "no answer"),
        (boto.ProxyConnectionError(proxy_url="u"), StoreUnreachable, "no answer"),
        (boto.ResponseStreamingError(error="e"), StoreUnreachable, "no answer"),
        (BodyBrokeOff(error="e"), StoreUnreachable, "broke off"),
        (boto.SSLError(endpoint_url="u", error="e"), StoreUnreachable, "caRef"),
        (boto.ParamValidationError(report="r"), StoreError, "failed"),
    ],
)
def test_no_answer_is_told_as_such(error: BotoCoreError, expected: type[StoreError], words: str) -> None:
    translated = translate(error, REQUEST)
    assert type(translated) is expected
    assert words in str(translated)
