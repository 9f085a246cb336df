"""Recipients: public keys to which age seals (X25519, and SSH keys of type ed25519 and rsa)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import pyrage

from resguardo.api.encryption import print_recipient, public_key
from resguardo.api.errors import RecipientInvalid

Recipient: TypeAlias = pyrage.x25519.Recipient | pyrage.ssh.Recipient


def parse_recipients(texts: Iterable[str]) -> list[Recipient]:
    """All of them, ready to seal to. Raises RecipientInvalid, naming each that is none; nothing secret is repeated."""
    recipients: list[Recipient] = []
    problems: list[str] = []
    for text in texts:
        try:
            recipients.append(_parse(public_key(text)))
        except pyrage.RecipientError:
            problems.append(print_recipient(text))
    if problems:
        raise RecipientInvalid(
            f"spec.encryption.age.recipients: no public key, or one that was mistyped: {', '.join(problems)}. Copy it from "
            "the line `# public key:` of an identity file, or from an SSH key's .pub file"
        )
    return recipients


def _parse(key: str) -> Recipient:
    if key.startswith("ssh-"):
        return pyrage.ssh.Recipient.from_str(key)
    return pyrage.x25519.Recipient.from_str(key)
