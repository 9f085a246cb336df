"""Identities: what opens what was sealed to a recipient. Two kinds of file: age-keygen's, and an SSH private key."""

from __future__ import annotations

from typing import TypeAlias

import pyrage

from resguardo.api.errors import IdentityInvalid

Identity: TypeAlias = pyrage.x25519.Identity | pyrage.ssh.Identity

#: A file of a few lines, or one key.
IDENTITY_FILE_MAX_BYTES = 64 * 1024
_PREFIX = "AGE-SECRET-KEY-1"


def parse_identities(content: bytes, *, origin: str) -> list[Identity]:
    """The identities in a file, at least one; `origin` names it in messages, which repeat nothing of what stands in it.

    Lines of age-keygen's (several, with comments and empty lines between), or a whole SSH private key of type ed25519 or
    rsa without passphrase. Raises IdentityInvalid.
    """
    if len(content) > IDENTITY_FILE_MAX_BYTES:
        raise IdentityInvalid(f"{origin} is larger than any identity: {len(content)} bytes")
    if content.lstrip().startswith(b"-----BEGIN ") and b"PRIVATE KEY-----" in content:
        return [_parse_ssh(content, origin)]
    if content.startswith((b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")):
        raise IdentityInvalid(f"{origin} is encrypted itself: decrypt it first, with `age -d`")
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise IdentityInvalid(f"{origin} is no text: an identity file, or an SSH private key, is needed") from None
    found = [
        _parse_line(line.strip(), f"{origin}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not found:
        raise IdentityInvalid(f"{origin} holds no identity: a line that begins with {_PREFIX} is needed")
    return list(found)


def _parse_line(line: str, where: str) -> pyrage.x25519.Identity:
    if not line.startswith(_PREFIX):
        what = "is a public key, which opens nothing" if line.startswith(("age1", "ssh-")) else "is no identity"
        raise IdentityInvalid(
            f"{where} {what}: a line that begins with {_PREFIX}, or a whole SSH private key, is needed"
        )
    try:
        return pyrage.x25519.Identity.from_str(line)
    except pyrage.IdentityError:
        raise IdentityInvalid(f"{where} is an identity that was cut or mistyped") from None


def _parse_ssh(content: bytes, origin: str) -> pyrage.ssh.Identity:
    try:
        return pyrage.ssh.Identity.from_buffer(content)
    except pyrage.IdentityError as error:
        if "decrypted first" in str(error):
            raise IdentityInvalid(
                f"{origin} is an SSH key with a passphrase, which nobody can type here: give a copy without (`ssh-keygen -p`)"
            ) from None
        raise IdentityInvalid(
            f"{origin} is no SSH private key that age knows: types ed25519 and rsa, as ssh-keygen writes them"
        ) from None
