"""Whether what a store says about an object's encryption is what the policy asks for: what it does not say does not count."""

from __future__ import annotations

from collections.abc import Iterator

from resguardo.api.manifest import StoreEncryption
from resguardo.api.s3 import ServerSideEncryption


def unconfirmed(asked: ServerSideEncryption, told: StoreEncryption | None) -> list[str]:
    """What of it the store does not confirm, each as half a sentence about the store; empty where it confirms all.

    >>> asked = ServerSideEncryption(type="aws:kms", kms_key_id="portal")
    >>> unconfirmed(asked, StoreEncryption(algorithm="aws:kms", key_id="arn:aws:kms:portal"))
    []
    >>> unconfirmed(asked, None)
    ['says nothing of encryption, and aws:kms was asked for']
    """
    if told is None:
        return [f"says nothing of encryption, and {asked.type} was asked for"]
    return list(_departures(asked, told))


def _departures(asked: ServerSideEncryption, told: StoreEncryption) -> Iterator[str]:
    if told.algorithm != asked.type:
        yield f"says that it encrypts by {told.algorithm}, and {asked.type} was asked for"
        return
    if asked.kms_key_id is not None and not is_key(asked.kms_key_id, told.key_id):
        yield f"says that it encrypts with key {told.key_id or 'unknown'}, and {asked.kms_key_id} was asked for"
    if asked.bucket_key is not None and asked.bucket_key != bool(told.bucket_key):
        yield f"does not say that {'a' if asked.bucket_key else 'no'} bucket key stands between"


def is_key(asked: str, told: str | None) -> bool:
    """Whether the key that a store names is the one that was asked for, by its id or its ARN.

    AWS answers with the ARN, arn:<partition>:kms:<region>:<account>:key/<id>, whatever was sent
    (https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html, x-amz-server-side-encryption-aws-kms-key-id);
    MinIO with arn:aws:kms:<name>.

    >>> is_key("1234abcd", "arn:aws:kms:sa-east-1:111122223333:key/1234abcd")
    True
    >>> is_key("1234abcd", "arn:aws:kms:sa-east-1:111122223333:key/ab1234abcd")
    False
    """
    if told is None:
        return False
    if asked == told:
        return True
    is_arn = asked.startswith("arn:")
    return not is_arn and told.startswith("arn:") and asked in (told.rpartition(":")[2], told.rpartition(":key/")[2])
