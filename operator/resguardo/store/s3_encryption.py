"""Server-side encryption: told to the store with every write, and believed only where its answers say it.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html. Some compatible servers take the headers and
store plain bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from resguardo.api.errors import EncryptionNotHonoured
from resguardo.api.manifest import StoreEncryption
from resguardo.api.s3 import ServerSideEncryption
from resguardo.rules.store_encryption import unconfirmed
from resguardo.store.s3_errors import Request

_ALGORITHM, _KEY, _BUCKET_KEY = "ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled"


def words_of(answer: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    """What an answer says of encryption; what it leaves out it does not deny."""
    return frozenset((name, answer[name]) for name in (_ALGORITHM, _KEY, _BUCKET_KEY) if answer.get(name))


def heard(parts: Iterable[frozenset[tuple[str, Any]]], answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to an upload's completion, and with it what those to its parts all said of encryption.

    MinIO's says nothing of it, and an answer that was lost is as good as empty: neither takes anything back. Where it names another
    algorithm than the parts', theirs is nothing to go by.

    >>> part = words_of({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:portal"})
    >>> encryption_of(heard([part, part], {}))
    StoreEncryption(algorithm='aws:kms', key_id='arn:portal', bucket_key=None)
    >>> encryption_of(heard([part, words_of({"ServerSideEncryption": "aws:kms"})], {}))
    StoreEncryption(algorithm='aws:kms', key_id=None, bucket_key=None)
    >>> encryption_of(heard([part, words_of({})], {}))
    >>> encryption_of(heard([part], {"ServerSideEncryption": "AES256"}))
    StoreEncryption(algorithm='AES256', key_id=None, bucket_key=None)
    """
    agreed = dict(frozenset.intersection(*parts))
    is_other = bool(answer.get(_ALGORITHM)) and answer[_ALGORITHM] != agreed.get(_ALGORITHM)
    return dict(answer) if is_other else {**answer, **agreed, **dict(words_of(answer))}


def encryption_of(answer: Mapping[str, Any]) -> StoreEncryption | None:
    """How an object is encrypted, by the answer to a PUT, a HEAD or the beginning of an upload."""
    if not (algorithm := answer.get(_ALGORITHM)):
        return None
    return StoreEncryption(
        algorithm=str(algorithm)[:64],
        key_id=str(answer[_KEY])[:512] if answer.get(_KEY) else None,
        bucket_key=answer.get(_BUCKET_KEY) or None,
    )


class S3Encryption:
    """What a policy asks of its store; nothing where it asks nothing."""

    def __init__(self, asked: ServerSideEncryption | None) -> None:
        self._asked = asked
        self.options = _options(asked) if asked else {}

    @property
    def is_asked(self) -> bool:
        """Whether the policy asks for anything."""
        return self._asked is not None

    def __str__(self) -> str:
        """For messages; empty where nothing is asked."""
        if self._asked is None:
            return ""
        return f"{self._asked.type} with key {self._asked.kms_key_id}" if self._asked.kms_key_id else self._asked.type

    def require(self, answer: Mapping[str, Any], request: Request) -> None:
        """Raise EncryptionNotHonoured where an answer about an object just written does not confirm what was asked."""
        if self._asked is None:
            return
        if problems := unconfirmed(self._asked, encryption_of(answer)):
            raise EncryptionNotHonoured(
                f"{request.endpoint} {' and '.join(problems)} (object {request.key!r} in bucket {request.bucket}). Use a store "
                "that encrypts as store.s3.sse asks, or ask for what this one does"
            )


def _options(asked: ServerSideEncryption) -> dict[str, Any]:
    options: dict[str, Any] = {"ServerSideEncryption": asked.type}
    if asked.kms_key_id is not None:
        options["SSEKMSKeyId"] = asked.kms_key_id
    if asked.bucket_key is not None:
        options["BucketKeyEnabled"] = asked.bucket_key
    return options
