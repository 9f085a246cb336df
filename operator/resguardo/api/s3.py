"""Where an S3 bucket is and with which keys it is used."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from resguardo.api.base import Written
from resguardo.api.fields import CaRef, DataKey, ObjectName, Union, cel, validations

_CA_NEEDS_HTTPS = "caRef needs an endpoint that begins with https://"


def _checked_prefix(prefix: str) -> str:
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise ValueError("must not begin or end with a slash, nor hold empty, '.' or '..' parts")
    return prefix


class S3CredentialsRef(Written):
    """The Secret with an access key."""

    name: ObjectName = Field(description="Name of the Secret.")
    access_key_id_key: DataKey = Field("AWS_ACCESS_KEY_ID", description="Key that holds the access key's id.")
    secret_access_key_key: DataKey = Field("AWS_SECRET_ACCESS_KEY", description="Key that holds the secret access key.")


class S3Credentials(Union):
    """How pods prove who they are to the store. Exactly one member."""

    secret_ref: S3CredentialsRef | None = Field(None, description="A Secret with an access key.")


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


class S3Store(Written):
    """A bucket of AWS S3, or of any compatible server."""

    model_config = {
        "json_schema_extra": validations(
            cel(
                "!has(self.caRef) || (has(self.endpoint) && self.endpoint.startsWith('https://'))",
                _CA_NEEDS_HTTPS,
            )
        )
    }

    bucket: Annotated[str, Field(min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")] = Field(
        description="Name of the bucket; it must exist."
    )
    prefix: Annotated[
        str,
        Field(max_length=512, pattern=r"^([^/\x00-\x1f]([^\x00-\x1f]*[^/\x00-\x1f])?)?$"),
        AfterValidator(_checked_prefix),
    ] = Field(
        "",
        description="Where in the bucket this policy's backups stand, without a slash at either end. One policy each.",
        json_schema_extra=validations(
            cel(
                "self == '' || self.split('/').all(part, !(part in ['', '.', '..']))",
                "must not begin or end with a slash, nor hold empty, '.' or '..' parts",
            )
        ),
    )
    region: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9-]+$")] = Field(
        "us-east-1", description="Region of the bucket."
    )
    endpoint: Annotated[str, Field(max_length=512, pattern=r"^https?://[^/\s]+/?$")] | None = Field(
        None, description="URL of a compatible server, such as https://minio.example:9000; absent: AWS."
    )
    ca_ref: CaRef | None = Field(
        None, description="Certificate authorities that may vouch for the endpoint; absent: those of the image."
    )
    credentials: S3Credentials = Field(description="How pods prove who they are to the store.")
    storage_classes: StorageClasses | None = Field(
        None,
        description="In which storage class dumps are kept, by the longest tier for which their backup stands.",
    )

    @model_validator(mode="after")
    def _ca_needs_https(self) -> Self:
        if self.ca_ref and not (self.endpoint or "").startswith("https://"):
            raise ValueError(_CA_NEEDS_HTTPS)
        return self


class Store(Union):
    """Where backups are kept. Exactly one member."""

    s3: S3Store | None = Field(None, description="A bucket of AWS S3 or a compatible server.")

    @property
    def classes(self) -> dict[str, str]:
        """The class of each tier that has one of its own, in the store's words."""
        named = self.s3.storage_classes if self.s3 else None
        return named.model_dump(exclude_none=True) if named else {}
