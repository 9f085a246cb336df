"""The manifest: written last, it makes a backup one. No secret and no table name stand in it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from resguardo.api.backup_id import BACKUP_ID_PATTERN
from resguardo.api.base import WHOLE_MAX, Exchanged, Moment, Whole
from resguardo.api.text import Plain

MANIFEST_FORMAT_VERSION = 1
MANIFEST_MAX_BYTES = 64 * 1024
#: A Report carries them twice, and has room for so many.
ODDITIES_MAX = 4
#: Of a backup's own key, sealed to as many recipients as a policy may name.
KEY_MAX_BYTES = 64 * 1024


class Trigger(StrEnum):
    """What started a backup. Only scheduled ones stand for a day, week or month."""

    SCHEDULED = "Scheduled"
    MANUAL = "Manual"


class ObjectRole(StrEnum):
    """What an object of a backup is for; a backup may hold several of one role."""

    DUMP = "Dump"
    GLOBALS = "Globals"
    CENSUS = "Census"


class Compression(StrEnum):
    """How an object's plain bytes were compressed."""

    ZSTD = "zstd"


class StoreEncryption(Exchanged):
    """How a store encrypts an object, in its own words."""

    algorithm: str = Field(max_length=64, description="Such as AES256 or aws:kms.")
    key_id: str | None = Field(None, max_length=512, description="Of the key in its key management service.")
    bucket_key: bool | None = Field(None, description="Whether one key for the whole bucket stands between.")


class ObjectEntry(Exchanged):
    """One object of a backup. `key` is relative to the backup's folder."""

    role: ObjectRole
    key: str = Field(max_length=512)
    bytes: Whole = Field(description="As stored.")
    plain_bytes: Whole = Field(description="Before compression.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the stored bytes.")
    compression: Compression
    #: The list of the blocks' SHA-256 (store.blocks): one line of 64 hex digits for each block of `block_bytes`.
    blocks_key: str = Field(max_length=512)
    blocks_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    block_bytes: int = Field(ge=1, le=WHOLE_MAX)
    storage_class: str | None = Field(
        None, max_length=64, description="As the store confirmed it; absent where none was asked for."
    )
    store_encryption: StoreEncryption | None = Field(
        None, description="As the store confirmed it, whether it was asked for or not; absent where it says nothing."
    )


class KeyEntry(Exchanged):
    """The object that holds a backup's own key, sealed to the recipients. `key` is relative to the backup's folder."""

    key: str = Field(max_length=512)
    bytes: int = Field(ge=0, le=KEY_MAX_BYTES)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class AgeSealing(Exchanged):
    """To whom a backup is sealed. Public keys only."""

    #: The backup's own, to which every object is sealed.
    recipient: str = Field(pattern=r"^age1[02-9ac-hj-np-z]{58}$")
    #: Whose identities open the backup's own key.
    recipients: Annotated[list[Annotated[str, Field(max_length=2048)]], Field(max_length=16)]
    sealed_key: KeyEntry


class Sealing(Exchanged):
    """How a backup's objects were encrypted."""

    age: AgeSealing


class SourceIdentity(Exchanged):
    """Which database this is a backup of."""

    system_identifier: str = Field(max_length=32)
    database: str = Field(max_length=255)
    server_version_num: Whole


class CensusSummary(Exchanged):
    """The census in numbers; its names are nobody else's business."""

    tables: Whole
    tables_counted: Whole
    rows: Whole
    database_bytes: Whole = Field(description="pg_database_size at the snapshot.")


class Oddity(Exchanged):
    """Something about a backup's size that is not as usual; names no table."""

    oddness: str = Field(
        max_length=32, pattern=r"^[A-Za-z]+$", description="One word: Grew, Shrank, NoTables, TablesEmptied."
    )
    message: Plain = Field(max_length=160, description="With the numbers.")


class Promise(Exchanged):
    """What of the policy says how long backups are kept, as it was when the backup was made.

    With it the bucket alone can tell, after cluster and policy are gone. In the policy's own words, for a reader of
    another version to understand or not.
    """

    schedule: str = Field(max_length=100)
    time_zone: str = Field(max_length=64)
    timeout: str = Field(max_length=20)
    retention: dict[str, Any] = {}


class Manifest(Exchanged):
    """What a backup is, what it holds and how to know that it is whole."""

    format_version: int = MANIFEST_FORMAT_VERSION
    id: str = Field(pattern=BACKUP_ID_PATTERN)
    previous_id: str | None = Field(None, description="The newest one that was there when it started, of any source.")
    owner: str = Field(max_length=512, description="Who owned the prefix: <cluster id>/<namespace>/<name>.")
    epoch: Whole
    place: str = Field("", max_length=1024, description="Where it was made: <bucket>/<prefix>.")
    #: As one line (`api.signing.bare_public_key`). It says so itself: the signature beside it proves it, or does not.
    signed_by: str | None = Field(None, max_length=256, description="The public key of the key that signed it.")
    policy_uid: str = ""
    policy_generation: Whole = 0
    policy_hash: str = ""
    promise: Promise | None = None
    source: SourceIdentity
    method: str = "pgDump"
    trigger: Trigger
    #: The Job whose pod made it; None where it was made by hand.
    job_name: Plain | None = Field(None, max_length=63)
    #: The tiers for which it stands, as its policy was when it was made.
    tiers: list[str] = []
    #: Ids of the backups without which it cannot be restored.
    depends_on: list[str] = []
    #: What was found odd about its size when it was made.
    oddities: Annotated[list[Oddity], Field(max_length=ODDITIES_MAX)] = []
    started_at: Moment
    completed_at: Moment
    snapshot_at: Moment = Field(description="The instant that the data show.")
    snapshot_lsn: str = Field(max_length=32)
    tools: dict[str, str]
    objects: list[ObjectEntry]
    #: Absent where nothing is encrypted by Resguardo.
    encryption: Sealing | None = None
    bytes: Whole = Field(description="Sum of the objects' stored bytes, the sealed key among them.")
    census: CensusSummary
