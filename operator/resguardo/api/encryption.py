"""Encryption on the client: to whom backups are sealed, and what opens them again."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from resguardo.api.base import Written
from resguardo.api.fields import DataKey, ObjectName, Union, cel, cel_text, validations

RECIPIENTS_MAX = 16

# Not the schema's `pattern`: the API server quotes what does not match one, and what was pasted here may be a secret.
_SHAPE = (
    r"^(age1[02-9ac-hj-np-z]{58}|ssh-ed25519 AAAA[A-Za-z0-9+/]+={0,2}( [^\x00-\x1f]*)?"
    r"|ssh-rsa AAAA[A-Za-z0-9+/]+={0,2}( [^\x00-\x1f]*)?)$"
)
_SECRET = r"(?i)(AGE-SECRET-KEY-|PRIVATE KEY)"  # noqa: S105 - how one is known
_NO_RECIPIENT = (
    "must be an age recipient (age1 and 58 more characters), or an SSH public key (ssh-ed25519 …, ssh-rsa …)"
)
_NOT_HERE = (
    "is a secret key, which belongs in no policy: put its public key here (age1…, `age-keygen -y` prints it), and make a "
    "new one if anybody may have seen this"
)
_TWICE = "names a recipient twice"


def _checked_recipient(text: str) -> str:
    if re.search(_SECRET, text):
        raise ValueError(_NOT_HERE)
    if not re.search(_SHAPE, text):
        raise ValueError(_NO_RECIPIENT)
    return text


def public_key(recipient: str) -> str:
    """A recipient without the comment that an SSH key may carry.

    >>> public_key("ssh-ed25519 AAAAC3Nza ana@portal")
    'ssh-ed25519 AAAAC3Nza'
    """
    return " ".join(recipient.split(" ")[:2])


def print_recipient(recipient: str) -> str:
    """A public key as messages show it: an RSA key is too long for them."""
    key = public_key(recipient)
    return key if len(key) <= 90 else f"{key[:24]}…{key[-24:]}"


Recipient = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2048,
        json_schema_extra=validations(
            cel(f"!self.matches('{_SECRET}')", _NOT_HERE),
            cel(f"self.matches('{_SECRET}') || self.matches('{cel_text(_SHAPE)}')", _NO_RECIPIENT),
        ),
    ),
    AfterValidator(_checked_recipient),
]


class AgeEncryption(Written):
    """Everything that tells something about the data is encrypted with age before it leaves the pod."""

    recipients: Annotated[list[Recipient], Field(min_length=1, max_length=RECIPIENTS_MAX)] = Field(
        description="Public keys, of which each alone opens the backups: age1…, ssh-ed25519 … or ssh-rsa …. Two or more, one "
        "of them kept offline: who loses the only one loses the backups.",
        json_schema_extra=validations(cel("self.all(one, self.exists_one(other, other == one))", _TWICE)),
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.recipients)) != len(self.recipients):
            raise ValueError(_TWICE)
        return self


class Encryption(Union):
    """How backups are encrypted before they leave the pod. Exactly one member."""

    age: AgeEncryption | None = Field(None, description="With age, to public keys: pods hold none that decrypts.")


class IdentitySecretRef(Written):
    """The Secret with an identity of age's: a file as age-keygen writes it, or an SSH private key without passphrase."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: DataKey = Field("identity", description="Key in its data.")


class Decryption(Union):
    """What opens an encrypted backup. Exactly one member."""

    age_identity_secret_ref: IdentitySecretRef | None = Field(
        None, description="A Secret with an identity that belongs to one of the backup's recipients."
    )
