"""Signatures over manifests: Ed25519 (RFC 8032) over the object's very bytes, beside it, as `openssl pkeyutl` verifies them.

A manifest holds the digests of all else, so its signature is the backup's.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from resguardo.api.errors import ObjectCorrupt, ObjectMissing, SigningKeyInvalid
from resguardo.api.manifest import Manifest
from resguardo.api.signing import bare_public_key
from resguardo.store.layout import signature_key
from resguardo.store.protocol import Store

SIGNATURE_BYTES = 64
#: At the end of a SubjectPublicKeyInfo, whose beginning api.signing has checked.
RAW_KEY_BYTES = 32
#: A key in PEM has some hundred bytes.
KEY_FILE_MAX_BYTES = 16 * 1024


@dataclass(frozen=True)
class SigningKey:
    """What signs the manifests of backups. Never written anywhere."""

    private: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> str:
        """Its public key as one line (`api.signing.bare_public_key`)."""
        encoded = self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(encoded).decode()

    def sign(self, body: bytes) -> bytes:
        """The signature of these bytes: 64 of them."""
        return self.private.sign(body)


@dataclass(frozen=True)
class Trust:
    """Whose signatures a reader believes; with no keys it asks for none."""

    #: By their one line.
    keys: Mapping[str, Ed25519PublicKey] = field(default_factory=dict)
    #: Places (`Store.place`) from which backups were copied.
    copied_from: frozenset[str] = frozenset()
    #: Whether a backup that is not believed is told of, and counts all the same.
    allows_unsigned: bool = False

    @property
    def asks(self) -> bool:
        """Whether a backup must be signed."""
        return bool(self.keys)


#: For whoever has no keys to believe.
ANYBODY = Trust()


def trust(public_keys: Iterable[str], *, copied_from: Iterable[str] = (), allows_unsigned: bool = False) -> Trust:
    """Believe these keys, in PEM as `api.signing` has checked them."""
    keys = {}
    for line in map(bare_public_key, public_keys):
        keys[line] = Ed25519PublicKey.from_public_bytes(base64.b64decode(line)[-RAW_KEY_BYTES:])
    return Trust(keys, frozenset(copied_from), allows_unsigned)


def parse_signing_key(content: bytes, *, origin: str) -> SigningKey:
    """The private key in a file; `origin` names it in messages, which repeat nothing of what stands in it.

    PEM, PKCS #8, type Ed25519, without passphrase, as `openssl genpkey -algorithm ed25519` writes it. Raises SigningKeyInvalid.
    """
    if len(content) > KEY_FILE_MAX_BYTES:
        raise SigningKeyInvalid(f"{origin} is larger than any key: {len(content)} bytes")
    if b"PRIVATE KEY-----" not in content:
        what = "is a public key, which signs nothing" if b"PUBLIC KEY-----" in content else "is no key"
        raise SigningKeyInvalid(
            f"{origin} {what}: a private key in PEM is needed, as `resguardo keys generate-signing` makes it"
        )
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise SigningKeyInvalid(
            f"{origin} is under a passphrase, which nobody can type here: give a copy without (`openssl pkey`)"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise SigningKeyInvalid(
            f"{origin} is no private key in PEM (PKCS #8), or was cut; a key of ssh-keygen's is none"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyInvalid(f"{origin} is a key of another type: Ed25519 is needed")
    return SigningKey(key)


def require_believed(key: SigningKey, trusted: Trust) -> None:
    """Raise SigningKeyInvalid where what this key signs would be refused."""
    if key.public not in trusted.keys:
        raise SigningKeyInvalid(
            f"the key with which backups are to be signed has the public key {key.public}, which is not among "
            "signing.publicKeys: each backup would be refused. Name it there, or give the Secret another key"
        )


def write_signature(store: Store, backup_id: str, body: bytes, key: SigningKey) -> None:
    """Sign a manifest that is about to be written; returns only when the signature was read back."""
    signed, full_key = key.sign(body), signature_key(backup_id)
    store.put(full_key, signed, if_absent=True, content_type="application/octet-stream")
    if store.get(full_key, max_bytes=SIGNATURE_BYTES).body != signed:
        raise ObjectCorrupt(f"object {full_key} is not what was written to {store.location}")


def read_signature(store: Store, backup_id: str) -> bytes | None:
    """What stands as a backup's signature; None where nothing does, or nothing that could be one."""
    try:
        return store.get(signature_key(backup_id), max_bytes=SIGNATURE_BYTES).body
    except (ObjectMissing, ObjectCorrupt):
        return None


def find_distrust(
    trusted: Trust, manifest: Manifest, body: bytes, signature: bytes | None, *, place: str
) -> str | None:
    """Why a backup is not believed; None for one that is. `body` is its manifest as stored, `place` where it stands."""
    if signature is None:
        return "it is not signed"
    if not any(_is_by(key, body, signature) for key in trusted.keys.values()):
        if manifest.signed_by in trusted.keys:
            return "it does not fit its signature: it was changed"
        return f"it is signed with a key that is not among signing.publicKeys ({manifest.signed_by or 'it does not say which'})"
    if manifest.place != place and manifest.place not in trusted.copied_from:
        return f"it was made in {manifest.place or 'a place that it does not tell'}, and copied here (signing.copiedFrom allows a place)"
    return None


def _is_by(key: Ed25519PublicKey, body: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, body)
    except InvalidSignature:
        return False
    return True
