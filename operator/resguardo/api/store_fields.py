"""What the specs of all stores share: prefix, storage classes, and the rule that a CA needs TLS."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from resguardo.api.base import Written
from resguardo.api.fields import CaRef, KeepFor, cel, validations

_CA_NEEDS_HTTPS = "caRef needs an endpoint that begins with https://"

#: The CRD's half of `check_ca_needs_https`.
CA_NEEDS_HTTPS = cel(
    "!has(self.caRef) || (has(self.endpoint) && self.endpoint.startsWith('https://'))", _CA_NEEDS_HTTPS
)


def check_ca_needs_https(ca_ref: CaRef | None, endpoint: str | None) -> None:
    """Raise ValueError for authorities that could vouch for nobody."""
    if ca_ref and not (endpoint or "").startswith("https://"):
        raise ValueError(_CA_NEEDS_HTTPS)


_PARTS = "must not begin or end with a slash, nor hold empty, '.' or '..' parts"


def _checked_prefix(prefix: str) -> str:
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise ValueError(_PARTS)
    return prefix


#: A folder's path under which a policy's objects stand.
Prefix = Annotated[
    str,
    Field(
        max_length=512,
        pattern=r"^([^/\x00-\x1f]([^\x00-\x1f]*[^/\x00-\x1f])?)?$",
        json_schema_extra=validations(
            cel("self == '' || self.split('/').all(part, !(part in ['', '.', '..']))", _PARTS)
        ),
    ),
    AfterValidator(_checked_prefix),
]

#: A server's URL, without a path.
Endpoint = Annotated[str, Field(max_length=512, pattern=r"^https?://[^/\s]+/?$")]

Class = TypeVar("Class", bound=str)


class ClassesByTier(Written, Generic[Class]):
    """In which class of the store a backup's dump is kept: that of the longest tier for which the backup stands.

    A tier that is not named has the store's usual class. All but the dump always has.
    """

    hourly: Class | None = Field(None, description="Of a backup that stands for its hour, and for no longer tier.")
    daily: Class | None = Field(
        None, description="Of a backup that stands for its day, and for no longer tier; and of a manual one."
    )
    weekly: Class | None = Field(None, description="Of a backup that stands for its week, and for no longer tier.")
    monthly: Class | None = Field(None, description="Of a backup that stands for its month, and for no longer tier.")
    yearly: Class | None = Field(None, description="Of a backup that stands for its year.")


_A_LOCK = cel(
    "has(self.hourly) || has(self.daily) || has(self.weekly) || has(self.monthly) || has(self.yearly)",
    "name at least one of hourly, daily, weekly, monthly, yearly: else nothing would be locked for longer than it takes to make",
)


class LockSpans(Written):
    """For how long a backup is locked, from its start on: as long as the longest tier for which it stands says."""

    model_config = {"json_schema_extra": validations(_A_LOCK)}

    hourly: KeepFor | None = Field(None, description="Of a backup that stands for its hour.")
    daily: KeepFor | None = Field(None, description="Of a backup that stands for its day, and of a manual one.")
    weekly: KeepFor | None = Field(None, description="Of a backup that stands for its week.")
    monthly: KeepFor | None = Field(None, description="Of a backup that stands for its month.")
    yearly: KeepFor | None = Field(None, description="Of a backup that stands for its year.")

    @model_validator(mode="after")
    def _locks_something(self) -> Self:
        if not any((self.hourly, self.daily, self.weekly, self.monthly, self.yearly)):
            raise ValueError(_A_LOCK["message"])
        return self


class ObjectLock(Written):
    """How the store keeps backups from being removed by anybody, whatever keys they have."""

    mode: Literal["Governance", "Compliance"] = Field(
        description="Governance: who has a right of its own (s3:BypassGovernanceRetention) may lift it. Compliance: nobody may, "
        "not even the account's owner."
    )
    by_tier: LockSpans = Field(description="For how long, by the tiers for which a backup stands.")
