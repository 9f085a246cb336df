"""Keys of encrypted backups: what opens one, and giving old backups to recipients that came later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from resguardo.api.errors import BackupNotFound, DocumentInvalid, ResguardoError
from resguardo.api.manifest import Manifest
from resguardo.api.policy import BackupPolicy
from resguardo.api.request import Recover
from resguardo.jobs.check import owner_name
from resguardo.jobs.credentials import Credentials
from resguardo.jobs.trust import trust_of
from resguardo.rules.selection import choose
from resguardo.store.backup_key import BackupKey, add_key, describe_recipients, open_key
from resguardo.store.catalogue import list_backups
from resguardo.store.identities import Identity
from resguardo.store.locks import held_like
from resguardo.store.ownership import read_owner
from resguardo.store.protocol import Store
from resguardo.store.recipients import parse_recipients

ALL = "all"


def unlock(store: Store, manifest: Manifest, credentials: Credentials) -> BackupKey | None:
    """The key of a backup; None where it is not encrypted, and nothing is needed.

    Raises CredentialsMissing where no identity was given, saying whose is needed, IdentityInvalid, and as `open_key`.
    """
    if manifest.encryption is None:
        return None
    needed_for = f"backup {manifest.id}, which is encrypted to {describe_recipients(store, manifest)}"
    return open_key(store, manifest, credentials.identities(needed_for=needed_for))


@dataclass(frozen=True)
class Rewrapped:
    """What became of one backup: its key was `added`, or was not needed; `problem` says why it could not be."""

    id: str
    added: bool = False
    problem: ResguardoError | None = None


def rewrap(
    policy: BackupPolicy, store: Store, which: str, identities: list[Identity], *, now: datetime
) -> Iterator[Rewrapped]:
    """Give backups to the policy's recipients: the one with an id, or `all`, the oldest first. Writes no data again.

    Nothing is taken from whoever can open a backup now. Where the policy has backups locked, a key is as its backup is. Raises
    PrefixOwned, BackupNotFound, RecipientInvalid, and DocumentInvalid for a policy that encrypts to nobody; what is wrong with one
    backup keeps no other from being given.
    """
    if policy.spec.encryption is None or policy.spec.encryption.age is None:
        raise DocumentInvalid(
            f"policy {policy.metadata.name} has no spec.encryption.age.recipients, to whom backups are to be given"
        )
    recipients = policy.spec.encryption.age.recipients
    parse_recipients(recipients)
    read_owner(store, owner_name(policy))
    entries = list_backups(store, trust_of(policy))
    manifests = [entry.manifest for entry in entries if entry.manifest]
    if which != ALL:
        problems = {entry.id: entry.problem for entry in entries if entry.problem}
        manifests = [choose(manifests, Recover(backup=which), unusable=problems)]
    elif not entries:
        raise BackupNotFound(f"{store.location} holds no backup")
    else:
        yield from (Rewrapped(entry.id, problem=entry.problem) for entry in entries if entry.problem)
    for manifest in manifests:
        try:
            key = open_key(store, manifest, identities)
            held = held_like(store, manifest.id) if key is not None and policy.spec.store.object_lock else store
            added = key is not None and add_key(held, manifest, key, recipients, at=now)
        except ResguardoError as problem:
            yield Rewrapped(manifest.id, problem=problem)
        else:
            yield Rewrapped(manifest.id, added=added)
