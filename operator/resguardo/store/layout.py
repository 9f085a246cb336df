"""Where things stand under a policy's prefix. The order of names is the order of a listing, so ids sort by time."""

from __future__ import annotations

OWNER_KEY = "resguardo.json"
BACKUPS_PREFIX = "backups/"
ATTEMPTS_PREFIX = "attempts/"
PINS_PREFIX = "pins/"
ACCEPTED_PREFIX = "accepted/"
VERIFIED_PREFIX = "verified/"
TRASH_PREFIX = "trash/"
ACCEPTED_PLAN_KEY = "accepted-plan.json"
MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "manifest.json.sig"

#: Where nobody may delete, every probe writes this one object again, so that they leave one object and not many.
FIXED_PROBE_KEY = "probe.json"

#: Written again by each check of a policy that asks for locks, since nobody can remove it at once.
LOCK_PROBE_KEY = "probe-lock.json"


def backup_folder(backup_id: str) -> str:
    """The folder that holds all of one backup, with its slash.

    >>> backup_folder("20261123T050000Z-3f9a1c")
    'backups/20261123T050000Z-3f9a1c/'
    """
    return f"{BACKUPS_PREFIX}{backup_id}/"


def manifest_key(backup_id: str) -> str:
    """The manifest, without which there is no backup."""
    return backup_folder(backup_id) + MANIFEST_NAME


def signature_key(backup_id: str) -> str:
    """The manifest's signature, where backups are signed."""
    return backup_folder(backup_id) + SIGNATURE_NAME


def object_key(backup_id: str, key: str) -> str:
    """Where an object of a backup stands, whose key in the manifest is relative to the backup's folder."""
    return backup_folder(backup_id) + key


def attempt_key(backup_id: str) -> str:
    """How a backup that was started ended."""
    return f"{ATTEMPTS_PREFIX}{backup_id}.json"


def pin_key(backup_id: str) -> str:
    """A person's wish that a backup be kept."""
    return f"{PINS_PREFIX}{backup_id}.json"


def accepted_key(backup_id: str) -> str:
    """A person's word that a backup is well, however odd it looked."""
    return f"{ACCEPTED_PREFIX}{backup_id}.json"


def verified_key(backup_id: str) -> str:
    """What reading a backup again came to."""
    return f"{VERIFIED_PREFIX}{backup_id}.json"


def marker_key(backup_id: str) -> str:
    """Says that a backup is to go."""
    return f"{TRASH_PREFIX}{backup_id}.json"


def decision_key(backup_id: str, nonce: str) -> str:
    """What became of the marker with that nonce: of all who decide about it, one writes this.

    >>> decision_key("20261123T050000Z-3f9a1c", "5b1e77a0c3d94f28")
    'trash/20261123T050000Z-3f9a1c/5b1e77a0c3d94f28.json'
    """
    return f"{TRASH_PREFIX}{backup_id}/{nonce}.json"


def probe_key(random_hex: str) -> str:
    """An object that a probe writes and removes again."""
    return f"probe-{random_hex}.json"


def class_probe_key(storage_class: str) -> str:
    """The probe of a class where nobody may delete: one object for each, written again."""
    return f"probe-class-{storage_class}.json"


def data_folder(backup_id: str) -> str:
    """What a backup holds of the database."""
    return backup_folder(backup_id) + "data/"


def dump_key(attempt: int = 1) -> str:
    """The dump, relative to the backup's folder. One that was begun again has another name: nothing is ever overwritten.

    >>> dump_key(), dump_key(2)
    ('data/dump.zst', 'data/dump-2.zst')
    """
    return "data/dump.zst" if attempt == 1 else f"data/dump-{attempt}.zst"


def globals_key() -> str:
    """Roles and what else a server has beside its databases, relative to the backup's folder."""
    return "data/globals.sql.zst"


def census_key() -> str:
    """The census, relative to the backup's folder."""
    return "census.json.zst"


def blocks_key(key: str) -> str:
    """The list of an object's blocks, beside the object.

    >>> blocks_key(dump_key())
    'data/dump.zst.blocks'
    """
    return f"{key}.blocks"


def encrypted(key: str) -> str:
    """The key of an object that is encrypted.

    >>> encrypted(dump_key())
    'data/dump.zst.age'
    """
    return f"{key}.age"


def sealed_key_key() -> str:
    """The backup's own key as it was sealed when the backup was made, relative to the backup's folder."""
    return "key.age"


def added_keys_folder(backup_id: str) -> str:
    """Where the same key stands, sealed to recipients that came later."""
    return backup_folder(backup_id) + "keys/"


def rows_key(backup_id: str) -> str:
    """The rows of a backup's larger tables, by numbers and not by names."""
    return backup_folder(backup_id) + "rows.json"
