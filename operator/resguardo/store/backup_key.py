"""A backup's own key: made with it, everything of it is sealed to it, and it lies beside it, sealed to the recipients.

So recipients can be added later by writing a small object (`key.age` is sealed again, no data are), and a pod that makes a
backup forgets the key with its end.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

import pyrage
import structlog
from pydantic import Field

from resguardo.api.base import Exchanged, Instant, canonical_hash
from resguardo.api.encryption import RECIPIENTS_MAX, print_recipient, public_key
from resguardo.api.errors import (
    FormatTooNew,
    IdentityInvalid,
    IdentityRefused,
    ManifestInvalid,
    ObjectCorrupt,
    ObjectMissing,
    WriteConflict,
)
from resguardo.api.manifest import KEY_MAX_BYTES, AgeSealing, KeyEntry, Manifest
from resguardo.store.documents import parse_document
from resguardo.store.identities import Identity, parse_identities
from resguardo.store.layout import added_keys_folder, object_key, sealed_key_key
from resguardo.store.protocol import Store
from resguardo.store.recipients import parse_recipients

log = structlog.get_logger()

ADDED_FORMAT_VERSION = 1
_ARMOUR = b"-----BEGIN AGE ENCRYPTED FILE-----"
_ADVICE = "restore another backup, and find out who writes to the bucket"


@dataclass(frozen=True)
class BackupKey:
    """An identity of age's that belongs to one backup. Never written anywhere but sealed."""

    identity: pyrage.x25519.Identity = field(default_factory=pyrage.x25519.Identity.generate, repr=False)

    @property
    def recipient(self) -> pyrage.x25519.Recipient:
        """What everything of the backup is sealed to."""
        return self.identity.to_public()

    def seal(self, backup_id: str, recipients: Sequence[str]) -> bytes:
        """The key as an identity file, sealed to the recipients, in text: `age -d` gives what `age -d -i` takes."""
        text = f"# key of backup {backup_id}\n# public key: {self.recipient}\n{self.identity}\n"
        return bytes(pyrage.encrypt(text.encode(), parse_recipients(recipients), armored=True))


class _Added(Exchanged):
    """Beside a key that was added: who opens it."""

    format_version: int = ADDED_FORMAT_VERSION
    at: Instant
    recipients: Annotated[list[Annotated[str, Field(max_length=2048)]], Field(max_length=RECIPIENTS_MAX)]


def write_key(store: Store, backup_id: str, recipients: Sequence[str]) -> tuple[BackupKey, AgeSealing]:
    """Make a backup's key and write it sealed; returns only when it was read back. Raises RecipientInvalid."""
    key = BackupKey()
    sealed = key.seal(backup_id, recipients)
    full_key = object_key(backup_id, sealed_key_key())
    store.put(full_key, sealed, if_absent=True, content_type="text/plain")
    if store.get(full_key, max_bytes=len(sealed)).body != sealed:
        raise ObjectCorrupt(f"object {full_key} is not what was written to {store.location}")
    entry = KeyEntry(key=sealed_key_key(), bytes=len(sealed), sha256=hashlib.sha256(sealed).hexdigest())
    return key, AgeSealing(
        recipient=str(key.recipient), recipients=[public_key(text) for text in recipients], sealed_key=entry
    )


def open_key(store: Store, manifest: Manifest, identities: Sequence[Identity]) -> BackupKey | None:
    """The key of a backup; None where it is not encrypted.

    Raises IdentityRefused, which says whose identity would open it, ObjectMissing, and ObjectCorrupt where what stands there
    is not what was written, or opens another backup.
    """
    if manifest.encryption is None:
        return None
    sealing = manifest.encryption.age
    for key, sealed in _sealed_keys(store, manifest, sealing):
        if not _is_for_few(sealed):
            continue
        try:
            text = pyrage.decrypt(sealed, list(identities))
        except pyrage.DecryptError:
            continue
        return BackupKey(_identity_of(text, sealing, key))
    raise IdentityRefused(
        f"backup {manifest.id} is encrypted, and no identity that was given opens it. One of these does: "
        f"{describe_recipients(store, manifest)}"
    )


def check_sealed_key(store: Store, manifest: Manifest) -> None:
    """Compare the sealed key with the manifest, without opening it. Raises ObjectMissing and ObjectCorrupt."""
    if manifest.encryption is not None:
        _read_sealed_key(store, manifest, manifest.encryption.age)


def add_key(store: Store, manifest: Manifest, key: BackupKey, recipients: Sequence[str], *, at: datetime) -> bool:
    """Seal the key to these recipients too; False where each of them could open it already. May be called again.

    What is there is never overwritten, and nobody who could open the backup is kept from it.
    """
    wanted = sorted({public_key(text) for text in recipients})
    if set(wanted) <= set(recipients_of(store, manifest)):
        return False
    base = added_keys_folder(manifest.id) + canonical_hash(wanted)
    try:
        store.put(f"{base}.age", key.seal(manifest.id, wanted), if_absent=True, content_type="text/plain")
    except WriteConflict:
        log.info("this key was sealed to these recipients before, and only that was not written down", object=base)
    with suppress(WriteConflict):  # told a moment ago, by somebody who added the same
        store.put(f"{base}.json", _Added(at=at, recipients=wanted).to_json().encode(), if_absent=True)
    return True


def recipients_of(store: Store, manifest: Manifest) -> list[str]:
    """Whose identities open the backup, as the bucket says: those of the manifest, then those that were added."""
    if manifest.encryption is None:
        return []
    found = list(manifest.encryption.age.recipients)
    for there in store.list(added_keys_folder(manifest.id)):
        if there.key.endswith(".json"):
            try:
                body = store.get(there.key, max_bytes=KEY_MAX_BYTES).body
                added = parse_document(_Added, body, there.key, known_version=ADDED_FORMAT_VERSION)
            except (ObjectMissing, ObjectCorrupt, ManifestInvalid, FormatTooNew) as problem:
                log.warning("who opens an added key is not known", object=there.key, problem=str(problem))
                continue
            found += [recipient for recipient in added.recipients if recipient not in found]
    return found


def describe_recipients(store: Store, manifest: Manifest) -> str:
    """The same for a message."""
    return ", ".join(map(print_recipient, recipients_of(store, manifest)))


def _sealed_keys(store: Store, manifest: Manifest, sealing: AgeSealing) -> Iterator[tuple[str, bytes]]:
    """The first one, then those that were added; what is wrong with the first is raised once none of the others was enough."""
    problem: ObjectMissing | ObjectCorrupt | None = None
    try:
        sealed = _read_sealed_key(store, manifest, sealing)
    except (ObjectMissing, ObjectCorrupt) as error:
        problem = error
    else:
        yield object_key(manifest.id, sealing.sealed_key.key), sealed
    for there in store.list(added_keys_folder(manifest.id)):
        if there.key.endswith(".age") and there.bytes <= KEY_MAX_BYTES:
            yield there.key, store.get(there.key, max_bytes=KEY_MAX_BYTES).body
    if problem is not None:
        raise problem


def _read_sealed_key(store: Store, manifest: Manifest, sealing: AgeSealing) -> bytes:
    key = object_key(manifest.id, sealing.sealed_key.key)
    sealed = store.get(key, max_bytes=KEY_MAX_BYTES).body
    if hashlib.sha256(sealed).hexdigest() != sealing.sealed_key.sha256:
        raise ObjectCorrupt(f"object {key} is not the key that backup {manifest.id} wrote; {_ADVICE}")
    return sealed


def _is_for_few(sealed: bytes) -> bool:
    """Whether it is sealed to no more than a policy may name, and as many that hide how many: others took the library minutes."""
    text = sealed.strip()
    if text.startswith(_ARMOUR):
        try:
            text = base64.b64decode(b"".join(text.splitlines()[1:-1]), validate=True)
        except binascii.Error:
            return False
    return text.count(b"\n-> ") <= 2 * RECIPIENTS_MAX


def _identity_of(text: bytes, sealing: AgeSealing, key: str) -> pyrage.x25519.Identity:
    try:
        found = parse_identities(text, origin=f"object {key}")
    except IdentityInvalid as problem:
        raise ObjectCorrupt(f"{problem}; {_ADVICE}") from None
    for identity in found:
        if isinstance(identity, pyrage.x25519.Identity) and str(identity.to_public()) == sealing.recipient:
            return identity
    raise ObjectCorrupt(f"object {key} is the key of another backup; {_ADVICE}")
