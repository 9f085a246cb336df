"""Server-side encryption counts only as far as the store's answer says it."""

from __future__ import annotations

from typing import Any

import pytest

from resguardo.api.manifest import StoreEncryption
from resguardo.api.s3 import ServerSideEncryption
from resguardo.rules.store_encryption import unconfirmed

KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
ARN = f"arn:aws:kms:sa-east-1:111122223333:key/{KEY}"
AES, KMS = {"type": "AES256"}, {"type": "aws:kms"}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (AES, {"algorithm": "AES256"}),
        (KMS, {"algorithm": "aws:kms"}),
        (KMS, {"algorithm": "aws:kms", "key_id": ARN, "bucket_key": True}),
        ({**KMS, "kmsKeyId": KEY}, {"algorithm": "aws:kms", "key_id": ARN}),
        ({**KMS, "kmsKeyId": ARN}, {"algorithm": "aws:kms", "key_id": ARN}),
        ({**KMS, "kmsKeyId": "portal"}, {"algorithm": "aws:kms", "key_id": "arn:aws:kms:portal"}),
        ({**KMS, "bucketKey": True}, {"algorithm": "aws:kms", "bucket_key": True}),
        ({**KMS, "bucketKey": False}, {"algorithm": "aws:kms"}),
    ],
)
def test_what_the_store_says_is_what_was_asked(asked: dict[str, Any], told: dict[str, Any]) -> None:
    assert unconfirmed(ServerSideEncryption.model_validate(asked), StoreEncryption(**told)) == []


@pytest.mark.parametrize(
    ("asked", "told", "words"),
    [
        (AES, None, "says nothing of encryption"),
        (KMS, {"algorithm": "AES256"}, "encrypts by AES256, and aws:kms was asked for"),
        (AES, {"algorithm": "aws:kms"}, "encrypts by aws:kms, and AES256 was asked for"),
        (KMS, {"algorithm": "aws:kms:dsse"}, "encrypts by aws:kms:dsse"),
        ({**KMS, "kmsKeyId": KEY}, {"algorithm": "aws:kms"}, "with key unknown"),
        ({**KMS, "kmsKeyId": KEY}, {"algorithm": "aws:kms", "key_id": ARN[:-1] + "c"}, f"and {KEY} was asked for"),
        ({**KMS, "kmsKeyId": "ab"}, {"algorithm": "aws:kms", "key_id": ARN}, "and ab was asked for"),
        ({**KMS, "kmsKeyId": ARN}, {"algorithm": "aws:kms", "key_id": ARN.replace("sa-east-1", "us-east-1")}, "with key"),
        ({**KMS, "kmsKeyId": ARN}, {"algorithm": "aws:kms", "key_id": KEY}, "with key"),
        ({**KMS, "bucketKey": True}, {"algorithm": "aws:kms"}, "does not say that a bucket key"),
        ({**KMS, "bucketKey": False}, {"algorithm": "aws:kms", "bucket_key": True}, "does not say that no bucket key"),
    ],
)  # fmt: skip
def test_what_the_store_does_not_say_is_told(asked: dict[str, Any], told: dict[str, Any] | None, words: str) -> None:
    (problem,) = unconfirmed(ServerSideEncryption.model_validate(asked), StoreEncryption(**told) if told else None)
    assert words in problem
