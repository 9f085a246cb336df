"""BackupPolicy: what is backed up, where to, when, and for how long it is kept."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from resguardo.api.backup_id import BACKUP_ID_PATTERN
from resguardo.api.base import Exchanged, Instant, Moment, Whole, Written, canonical_hash
from resguardo.api.conditions import Condition
from resguardo.api.connection import DatabaseName, PostgresConnection, checked_database_name
from resguardo.api.encryption import Encryption
from resguardo.api.fields import KeepFor, Timeout, Union, cel, validations
from resguardo.api.manifest import ODDITIES_MAX, Oddity
from resguardo.api.metadata import Metadata, named_within
from resguardo.api.names import API_VERSION, POLICY_KIND, POLICY_NAME_MAX, TAKE_OVER_ANNOTATION, TOLD_ANNOTATIONS
from resguardo.api.pods import JobsTemplate
from resguardo.api.schedule import Schedule, TimeZone
from resguardo.api.signing import Signing
from resguardo.api.sizes import SIZE_PATTERN
from resguardo.api.store import Store
from resguardo.api.text import Plain

#: The fields of spec.retention that are tiers.
TIERS = ("hourly", "daily", "weekly", "monthly", "yearly")


class PgDump(Written):
    """A logical backup of one database by pg_dump."""

    database: Annotated[DatabaseName, AfterValidator(checked_database_name)]


class SourceKind(Written):
    """One kind of what is backed up, and how."""

    #: Of a kind that holds secrets by its nature, such as keys and passwords: a policy for it without `encryption.age` is refused.
    must_be_encrypted: ClassVar[bool] = False


class PostgresSource(SourceKind):
    """One PostgreSQL server, and the method by which it is backed up."""

    connection: PostgresConnection = Field(description="Where the server is and how to log in to it.")
    pg_dump: PgDump = Field(description="A logical backup of one database, by pg_dump.")


class Source(Union):
    """What is backed up. Exactly one member."""

    postgres: PostgresSource | None = Field(None, description="A PostgreSQL server.")


_A_TIER = cel(
    "has(self.hourly) || has(self.daily) || has(self.weekly) || has(self.monthly) || has(self.yearly)",
    "name at least one of hourly, daily, weekly, monthly, yearly: without a tier nothing would be kept",
)


class Retention(Written):
    """How long backups are kept. The first good scheduled one of an hour, day, week, month or year stands for it.

    A tier that is not named keeps nothing. At least one tier is named: a policy that keeps nothing is a mistake.
    """

    model_config = ConfigDict(json_schema_extra=validations(_A_TIER))

    hourly: KeepFor | None = Field(
        None, description="How long the first good backup of each hour is kept, such as 36h."
    )
    daily: KeepFor | None = Field(None, description="How long the first good backup of each day is kept, such as 30d.")
    weekly: KeepFor | None = Field(
        None, description="How long the first good backup of each ISO week is kept, such as 3mo."
    )
    monthly: KeepFor | None = Field(
        None, description="How long the first good backup of each month is kept, such as 1y."
    )
    yearly: KeepFor | None = Field(
        None, description="How long the first good backup of each year is kept, such as 10y."
    )
    minimum: Annotated[int, Field(ge=1, le=1000)] = Field(
        3, description="How many good backups, the newest, always stay."
    )
    max_age: KeepFor | None = Field(
        None,
        description="Nothing older is kept, for data-protection law: only a lock or a pin is stronger, and the last good "
        "backup stays.",
    )

    @model_validator(mode="after")
    def _keeps_something(self) -> Self:
        if not any((self.hourly, self.daily, self.weekly, self.monthly, self.yearly)):
            raise ValueError(_A_TIER["message"])
        return self


Percent = Annotated[str, Field(min_length=2, max_length=6, pattern=r"^[1-9][0-9]{0,4}%$")]


class Growth(Written):
    """Which size of a backup is too much or too little, beside what the last backups suggest."""

    max_increase: Percent | None = Field(
        None, description="By how much a backup may be larger than the last good one, such as 100%."
    )
    max_decrease: Annotated[str, Field(min_length=2, max_length=3, pattern=r"^[1-9][0-9]?%$")] = Field(
        "50%", description="By how much a backup may be smaller than the last good one, such as 20%."
    )
    minimum_bytes: Annotated[str, Field(min_length=1, max_length=14, pattern=SIZE_PATTERN)] | None = Field(
        None, description="A backup of fewer bytes is odd, such as 100Mi."
    )


def _must_be_encrypted(kind: str) -> str:
    return f"source.{kind} holds secrets: name recipients in encryption.age, so that nobody reads them who only reads the bucket"


class BackupPolicySpec(Written):
    """What the policy promises."""

    schedule: Schedule = Field(
        description="When to back up: five cron fields (minute, hour, day of month, month, day of week) or @daily and the like."
    )
    time_zone: TimeZone = Field("UTC", description="Time zone of the schedule, by its IANA name.")
    suspend: bool = Field(False, description="True stops scheduled backups; a running one goes on.")
    timeout: Timeout = Field("6h", description="How long one backup may take, such as 6h or 90m; between 10s and 168h.")
    source: Source = Field(description="What is backed up. Exactly one member.")
    store: Store = Field(description="Where backups are kept. Exactly one member.")
    encryption: Encryption | None = Field(
        None, description="How backups are encrypted before they leave the pod; without it they are not."
    )
    signing: Signing | None = Field(
        None, description="With which key backups are signed, and whose signatures count; without it anybody's do."
    )
    retention: Retention | None = Field(None, description="How long backups are kept; without it nothing is removed.")
    growth: Growth = Field(Growth(), description="Which size of a backup is odd.")
    jobs: JobsTemplate = Field(JobsTemplate(), description="What the pods that do the work are given.")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core_schema))
        if kinds := cls._kinds_to_encrypt():
            encrypted = "(has(self.encryption) && has(self.encryption.age))"
            rules = [
                cel(f"!has(self.source.{kind}) || {encrypted}", _must_be_encrypted(kind)) for kind in kinds.values()
            ]
            schema.update(validations(*rules))
        return schema

    @model_validator(mode="after")
    def _is_encrypted_where_it_must_be(self) -> Self:
        for field, kind in self._kinds_to_encrypt().items():
            if getattr(self.source, field) is not None and (self.encryption is None or self.encryption.age is None):
                raise ValueError(_must_be_encrypted(kind))
        return self

    @classmethod
    def _kinds_to_encrypt(cls) -> dict[str, str]:
        """Fields of the source that are of a kind which must be encrypted, and how a document calls them."""
        source: type[Union] = cls.model_fields["source"].annotation  # type: ignore[assignment]
        return {
            name: field.alias or name
            for name, field in source.model_fields.items()
            for kind in get_args(field.annotation)
            if issubclass(kind, SourceKind) and kind.must_be_encrypted
        }


class BackupSummary(Exchanged):
    """A backup in a few numbers, as status and Reports show it."""

    id: str = Field(pattern=BACKUP_ID_PATTERN)
    started_at: Moment = Field(description="When it started.")
    completed_at: Moment = Field(description="When its manifest was written.")
    bytes: Whole = Field(description="Bytes that it takes in the bucket.")
    size: Plain = Field("", max_length=16, description="The same for people.")
    duration_seconds: Whole = Field(description="From its start to its manifest.")
    job_name: Plain | None = Field(None, max_length=63, description="The Job that made it; absent where none did.")
    oddities: Annotated[list[Oddity], Field(max_length=ODDITIES_MAX)] = Field(
        [], description="What is odd about its size, and was not accepted."
    )


class Inventory(Exchanged):
    """What is in the bucket under the policy's prefix."""

    backups: Whole = Field(description="Committed backups.")
    bytes: Whole = Field(description="Bytes that they take.")
    oldest: Moment | None = Field(None, description="Start of the oldest.")
    newest: Moment | None = Field(None, description="Start of the newest.")


class RetentionSummary(Exchanged):
    """What retention did, or found when it ended."""

    by_tier: Annotated[dict[Plain, Whole], Field(max_length=len(TIERS))] = Field(
        {}, description="How many backups stand for each tier; one may stand for several."
    )
    bytes_by_tier: Annotated[dict[Plain, Whole], Field(max_length=len(TIERS))] = Field(
        {}, description="Bytes that they take; those of one that stands for several tiers count in each."
    )
    marked: Whole = Field(0, description="Backups that are marked and go when their grace is over.")
    removed: Whole = Field(0, description="Backups that the last run removed.")
    next_removal_at: Moment | None = Field(None, description="When the first marked one may go, by the store's clock.")
    enforced_at: Moment | None = Field(
        None, description="When a run last ended that had done all that was to be done; the controller's to say."
    )


class RunSummary(Exchanged):
    """The newest ended backup run; kept so that what came of it outlives its Job."""

    job_name: str = Field(max_length=63, description="Its Job.")
    started_at: Instant = Field(description="When its Job started.")
    ended_at: Instant = Field(description="When its Job ended.")
    succeeded: bool | None = Field(
        None,
        description="Whether it made a backup; absent where its report was lost and the bucket is still to be asked.",
    )
    reason: str = Field(max_length=64, description="One word for how it ended.")
    message: str = Field("", max_length=1024, description="What that means.")


class PolicyWarning(Exchanged):
    """Something that the policy says, that can be kept, and that nobody can have meant."""

    reason: str = Field(max_length=64, description="One word.")
    message: str = Field(max_length=512, description="What is odd, and where.")


#: More than any policy can earn: five for each tier, and what concerns the whole.
WARNINGS_MAX = 32


class BackupPolicyStatus(Exchanged):
    """What is so, as the cluster and the bucket last showed it."""

    operator_version: str | None = Field(
        None, max_length=64, description="Version of the operator that wrote this status."
    )
    observed_generation: int | None = Field(None, description="Generation of the spec that this status speaks of.")
    conditions: Annotated[list[Condition], Field(max_length=16)] = Field(
        [], description="See the documentation of each."
    )
    warnings: Annotated[list[PolicyWarning], Field(max_length=WARNINGS_MAX)] = Field(
        [], description="What the policy says that is surely not meant; nothing is held up by it."
    )
    place: str | None = Field(
        None,
        max_length=64,
        description="Stands for the database and the place in the store that lastBackup, inventory and lastRun speak of: "
        "with another one they begin anew.",
    )
    last_backup: BackupSummary | None = Field(None, description="The newest good backup.")
    inventory: Inventory | None = Field(None, description="What is in the bucket.")
    inventory_at: Instant | None = Field(
        None, description="The moment of which lastBackup and inventory speak, by the clock of Kubernetes."
    )
    retention: RetentionSummary | None = Field(None, description="What the last run of retention did and found.")
    last_run: RunSummary | None = Field(None, description="The newest ended run, whether it made a backup or not.")
    next_backup_at: Instant | None = Field(None, description="When the schedule starts the next one.")
    late_at: Instant | None = Field(
        None, description="From this moment on the promise is broken, unless there is a newer good backup by then."
    )
    last_handled_backup_request: str | None = Field(
        None, max_length=64, description="The value of resguardo.dev/backup-requested-at that was carried out last."
    )


class BackupPolicy(Written):
    """A BackupPolicy as it stands in a file or in the API server; status is the controller's and is passed over here."""

    api_version: Literal["resguardo.dev/v1alpha1"] = API_VERSION
    kind: Literal["BackupPolicy"] = POLICY_KIND
    metadata: Annotated[Metadata, named_within(POLICY_NAME_MAX)]
    spec: BackupPolicySpec
    status: dict[str, Any] | None = Field(None, exclude=True)

    @property
    def hash(self) -> str:
        """Changes exactly when a check has to be made again: with the spec, or with what a person says by annotation."""
        said = {key: self.metadata.annotations.get(key) for key in TOLD_ANNOTATIONS[1:]}
        return canonical_hash(
            {
                "spec": self.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
                "takeOver": self.metadata.annotations.get(TAKE_OVER_ANNOTATION),
                **{key: value for key, value in said.items() if value is not None},
            }
        )
