"""RestoreRequest: bring a backup back, once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from resguardo.api.backup_id import BACKUP_ID_PATTERN, is_backup_id
from resguardo.api.base import Exchanged, Instant, Written, canonical_hash
from resguardo.api.conditions import Condition
from resguardo.api.connection import DatabaseName, PostgresConnection, checked_database_name
from resguardo.api.encryption import Decryption
from resguardo.api.fields import ObjectName, Timeout, Union, cel, validations
from resguardo.api.metadata import Metadata
from resguardo.api.names import API_VERSION, REQUEST_KIND
from resguardo.api.pods import JobsTemplate
from resguardo.api.policy import BackupSummary
from resguardo.api.signing import RequiredSignature
from resguardo.api.sizes import SIZE_PATTERN
from resguardo.api.store import Store


class OnExisting(StrEnum):
    """What to do where the target database exists."""

    REFUSE = "Refuse"
    REPLACE = "Replace"


class Ownership(StrEnum):
    """Whose the restored objects are."""

    ORIGINAL = "Original"
    ROLE = "Role"


class Globals(StrEnum):
    """What to do where roles that the backup names are missing."""

    CREATE_MISSING = "CreateMissing"
    NONE = "None"


class PolicyRef(Written):
    """A BackupPolicy in the same namespace; it need not be Ready."""

    name: ObjectName = Field(description="Name of the BackupPolicy.")


class From(Union):
    """Where the backup is. Exactly one member."""

    policy_ref: PolicyRef | None = Field(
        None, description="A BackupPolicy of this namespace, whose bucket holds the backup."
    )
    store: Store | None = Field(None, description="A bucket whose policy this cluster does not have.")


def _checked_backup_id(text: str) -> str:
    if not is_backup_id(text):
        raise ValueError(f"{text!r} is not a backup's id, such as 20261123T050000Z-3f9a1c")
    return text


class Recover(Written):
    """Which backup; with no member set, the latest good one."""

    model_config = {
        "json_schema_extra": validations(
            cel("!(has(self.backup) && has(self.before))", "set at most one of backup, before")
        )
    }

    backup: (
        Annotated[str, Field(pattern=BACKUP_ID_PATTERN, max_length=23), AfterValidator(_checked_backup_id)] | None
    ) = Field(None, description="The id of a backup, as `resguardo catalog` shows it.")
    before: Instant | None = Field(None, description="The latest good backup that started before this time.")

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if self.backup is not None and self.before is not None:
            raise ValueError("set at most one of backup, before")
        return self


class PostgresTarget(Written):
    """A database on a server, made anew from the backup and then given its name."""

    connection: PostgresConnection = Field(description="Where the server is and how to log in to it.")
    database: Annotated[DatabaseName, AfterValidator(checked_database_name)]
    on_existing: OnExisting = Field(
        OnExisting.REFUSE,
        description="Where a database of that name holds something: Refuse (the default), or Replace it, keeping it under another name.",
    )
    ownership: Ownership = Field(
        Ownership.ORIGINAL,
        description="Original owners and privileges, or everything owned by the connection's Role.",
    )
    globals: Globals = Field(
        Globals.CREATE_MISSING,
        description="Roles that are missing: CreateMissing (without login, never superusers), or None: refuse.",
    )
    free_space: Annotated[str, Field(max_length=16, pattern=SIZE_PATTERN)] | None = Field(
        None,
        description="Room for databases on the server, such as 100Gi: a backup that needs more is refused at once.",
    )


class Target(Union):
    """Where to restore to. Exactly one member, matching the source."""

    postgres: PostgresTarget | None = Field(None, description="A PostgreSQL server.")


_KEYS_WITH_STORE = (
    "signing.publicKeys goes with from.store, and is needed there; with from.policyRef the keys are those of the policy"
)
_IMMUTABLE = ["from", "recover", "decryption", "signing", "target", "notAfter", "timeout", "jobs"]


def _unchanged(field: str) -> str:
    # `from` is no reserved word of CEL, but Kubernetes escapes none of these, so that the names stand as they are.
    return f"(has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field}))"


class RestoreRequestSpec(Written):
    """What to bring back, and where to. Never changes after it was applied, dropPrevious aside."""

    model_config = {
        "json_schema_extra": validations(
            cel(
                " && ".join(_unchanged(field) for field in _IMMUTABLE),
                "a RestoreRequest is immutable, dropPrevious aside: make a new one",
            ),
            cel(
                "!(has(self.target.postgres) && self.target.postgres.onExisting == 'Replace') || has(self.notAfter)",
                "onExisting: Replace needs notAfter, so that a repository synced later cannot replay the request",
            ),
            cel("!has(self.signing) || has(self.signing.publicKeys) == has(self.from.store)", _KEYS_WITH_STORE),
        )
    }

    from_: From = Field(alias="from", description="Where the backup is. Exactly one member.")
    recover: Recover = Field(Recover(), description="Which backup; absent: the latest good one.")
    decryption: Decryption | None = Field(None, description="What opens the backup, where it is encrypted.")
    signing: RequiredSignature | None = Field(
        None, description="Whose signature the backup must carry. Absent: what the policy says, if there is one."
    )
    target: Target = Field(description="Where to restore to. Exactly one member.")
    not_after: Instant | None = Field(None, description="Past this time the request ends Expired, if it has not begun.")
    timeout: Timeout = Field(
        "6h", description="How long the restore may take, such as 6h or 90m; between 10s and 168h."
    )
    drop_previous: bool = Field(
        False, description="True drops the database that Replace kept; may be set at any time after it was looked at."
    )
    jobs: JobsTemplate = Field(JobsTemplate(), description="What the pods that do the work are given.")

    @model_validator(mode="after")
    def _keys_with_store(self) -> Self:
        if self.signing is not None and (self.signing.public_keys is None) == (self.from_.store is not None):
            raise ValueError(_KEYS_WITH_STORE)
        return self

    @model_validator(mode="after")
    def _replace_expires(self) -> Self:
        target = self.target.postgres
        if target is not None and target.on_existing is OnExisting.REPLACE and self.not_after is None:
            raise ValueError(
                "onExisting: Replace needs notAfter, so that a repository synced later cannot replay the request"
            )
        return self


class CheckStatus(StrEnum):
    """How a check ended."""

    PASSED = "Passed"
    FAILED = "Failed"
    SKIPPED = "Skipped"


class RestoreCheck(Exchanged):
    """One thing that a restore looked at before it gave the database its name."""

    name: str = Field(max_length=64)
    status: CheckStatus
    message: str = Field("", max_length=1024)


class Claim(Exchanged):
    """Written before the Job is made: this request's one Job."""

    job_name: str = Field(max_length=63)
    claimed_at: Instant
    job_uid: str | None = Field(None, max_length=64, description="Set once the Job was seen.")


class RestoreRequestStatus(Exchanged):
    """What became of the request."""

    operator_version: str | None = Field(
        None, max_length=64, description="Version of the operator that wrote this status."
    )
    observed_generation: int | None = Field(None, description="Generation of the spec that this status speaks of.")
    conditions: Annotated[list[Condition], Field(max_length=16)] = Field(
        [], description="Accepted, Succeeded, and PreviousDropped once it was asked for."
    )
    claim: Claim | None = Field(None, description="The Job that carries the request out; there is never another.")
    backup: BackupSummary | None = Field(None, description="The backup that is restored.")
    started_at: Instant | None = Field(None, description="When the request was first seen.")
    completed_at: Instant | None = Field(None, description="When it reached its end.")
    recovery_time_seconds: int | None = Field(None, ge=0, description="From the request to the database's first query.")
    recovery_point_time: Instant | None = Field(None, description="The instant that the restored data show.")
    duration: str | None = Field(None, max_length=16, description="How long the restore took, for people.")
    checks: Annotated[list[RestoreCheck], Field(max_length=32)] = Field(
        [], description="What was looked at, and found."
    )
    omitted: Annotated[list[Annotated[str, Field(max_length=512)]], Field(max_length=64)] = Field(
        [], description="What had to be left out."
    )
    previous_database: str | None = Field(
        None, max_length=63, description="The name under which Replace kept the old database."
    )
    previous_dropped: bool | None = Field(None, description="True once dropPrevious was carried out.")


class RestoreRequest(Written):
    """A RestoreRequest as it stands in a file or in the API server; status is the controller's and is passed over here."""

    api_version: Literal["resguardo.dev/v1alpha1"] = API_VERSION
    kind: Literal["RestoreRequest"] = REQUEST_KIND
    metadata: Metadata
    spec: RestoreRequestSpec
    status: dict[str, Any] | None = Field(None, exclude=True)

    @property
    def fingerprint(self) -> str:
        """The same for the same request applied again, after deletion or in another cluster: it is restored only once."""
        return canonical_hash(
            {
                "namespace": self.metadata.namespace,
                "name": self.metadata.name,
                "spec": self.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"drop_previous"}),
            },
            length=32,
        )
