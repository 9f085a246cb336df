"""What the specs of all stores share: prefix, storage classes, and the rule that a CA needs TLS."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from resguardo.api.base import Written
from resguardo.api.fields import CaRef, cel, validations

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

StorageClass = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class StorageClasses(Written):
    """In which class of the store a backup's dump is kept: that of the longest tier for which the backup stands.

    A tier that is not named has the store's usual class. All but the dump always has.
    """

    hourly: StorageClass | None = Field(
        None, description="Of a backup that stands for its hour, and for no longer tier."
    )
    daily: StorageClass | None = Field(
        None, description="Of a backup that stands for its day, and for no longer tier; and of a manual one."
    )
    weekly: StorageClass | None = Field(
        None, description="Of a backup that stands for its week, and for no longer tier, such as STANDARD_IA."
    )
    monthly: StorageClass | None = Field(
        None, description="Of a backup that stands for its month, and for no longer tier, such as GLACIER_IR."
    )
    yearly: StorageClass | None = Field(None, description="Of a backup that stands for its year, such as DEEP_ARCHIVE.")
