"""Signatures: with which key backups are signed, and whose signatures count."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from resguardo.api.base import Written
from resguardo.api.fields import DataKey, ObjectName, cel, cel_text, validations

PUBLIC_KEYS_MAX = 16
PLACES_MAX = 8

# An Ed25519 key in a SubjectPublicKeyInfo (RFC 8410) has 44 bytes, of which the first 12 are always the same.
_SHAPE = r"^\s*-----BEGIN PUBLIC KEY-----\s+MCowBQYDK2VwAyEA[A-Za-z0-9+/]{43}=\s+-----END PUBLIC KEY-----\s*$"
_SECRET = "PRIVATE KEY"  # noqa: S105 - how one is known
_NO_KEY = "must be a public key of type Ed25519 in PEM, as `resguardo keys generate-signing` and `openssl pkey -pubout` print it"
_NOT_HERE = "is a private key, which belongs in no policy: put its public key here, and make a new one if anybody may have seen this"
_TWICE = "names a key twice"


def _checked_public_key(text: str) -> str:
    if _SECRET in text:
        raise ValueError(_NOT_HERE)
    if not re.search(_SHAPE, text):
        raise ValueError(_NO_KEY)
    return text


def bare_public_key(pem: str) -> str:
    """A public key as one line, the same however its PEM was laid out.

    >>> bare_public_key("-----BEGIN PUBLIC KEY-----\\nMCow…=\\n-----END PUBLIC KEY-----\\n")
    'MCow…='
    """
    return pem.split("-----")[2].strip()


# Not the schema's `pattern`: the API server quotes what does not match one, and what was pasted here may be a secret.
PublicKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        json_schema_extra=validations(
            cel(f"!self.contains('{_SECRET}')", _NOT_HERE),
            cel(f"self.contains('{_SECRET}') || self.matches('{cel_text(_SHAPE)}')", _NO_KEY),
        ),
    ),
    AfterValidator(_checked_public_key),
]

PublicKeys = Annotated[
    list[PublicKey],
    Field(
        min_length=1,
        max_length=PUBLIC_KEYS_MAX,
        json_schema_extra=validations(cel("self.all(one, self.exists_one(other, other == one))", _TWICE)),
    ),
]

Places = Annotated[list[Annotated[str, Field(min_length=1, max_length=1024)]], Field(max_length=PLACES_MAX)]


def _each_once(keys: list[str]) -> None:
    if len({bare_public_key(key) for key in keys}) != len(keys):
        raise ValueError(_TWICE)


class SigningKeySecretRef(Written):
    """The Secret with the private key: type Ed25519, PEM (PKCS #8), without passphrase."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: DataKey = Field("signing-key", description="Key in its data.")


_KEYS = "Whose signatures count; several while one key takes another's place."
_COPIED = (
    "Places, as <bucket>/<prefix>, from which backups were copied here: what was signed there counts here too. Without, what "
    "was copied from elsewhere is refused."
)
_ALLOW = "True lets backups count whose signature is not there or not good; each is told in the log."


class Signing(Written):
    """Each backup is signed, and one that is not signed with one of these keys does not count."""

    key_secret_ref: SigningKeySecretRef = Field(description="The Secret with the key with which backups are signed.")
    public_keys: PublicKeys = Field(description=_KEYS)
    copied_from: Places = Field([], description=_COPIED)
    allow_unsigned: bool = Field(False, description=_ALLOW)

    @model_validator(mode="after")
    def _keys_once(self) -> Self:
        _each_once(self.public_keys)
        return self


class RequiredSignature(Written):
    """Whose signature the backup must carry."""

    public_keys: PublicKeys | None = Field(None, description=_KEYS + " With from.store; a policy names its own.")
    copied_from: Places = Field([], description=_COPIED)
    allow_unsigned: bool = Field(False, description=_ALLOW)

    @model_validator(mode="after")
    def _keys_once(self) -> Self:
        _each_once(self.public_keys or [])
        return self
