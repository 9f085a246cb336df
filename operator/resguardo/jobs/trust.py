"""Whose signatures a policy or request believes, and the key with which its backups are signed."""

from __future__ import annotations

from resguardo.api.policy import BackupPolicy
from resguardo.api.request import RestoreRequest
from resguardo.jobs.credentials import Credentials
from resguardo.store.signatures import ANYBODY, SigningKey, Trust, require_believed, trust


def trust_of(policy: BackupPolicy) -> Trust:
    """What the policy believes; anybody where it does not speak of signing."""
    signing = policy.spec.signing
    if signing is None:
        return ANYBODY
    return trust(signing.public_keys, copied_from=signing.copied_from, allows_unsigned=signing.allow_unsigned)


def trust_of_request(request: RestoreRequest, policy: BackupPolicy | None) -> Trust:
    """What the request believes: its policy's keys, or its own where it names a store itself."""
    asked = request.spec.signing
    believed = trust_of(policy) if policy is not None else ANYBODY
    if asked is None:
        return believed
    if policy is None:
        return trust(asked.public_keys or (), copied_from=asked.copied_from, allows_unsigned=asked.allow_unsigned)
    return Trust(
        believed.keys, believed.copied_from | set(asked.copied_from), believed.allows_unsigned or asked.allow_unsigned
    )


def signing_key_of(policy: BackupPolicy, credentials: Credentials) -> SigningKey | None:
    """The key for the policy's backups; None where they are not signed. Raises CredentialsMissing and SigningKeyInvalid."""
    if policy.spec.signing is None:
        return None
    key = credentials.signing_key(needed_for=f"the backups of policy {policy.metadata.name}")
    require_believed(key, trust_of(policy))
    return key
