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

    @model_validator(mode="after")
    def _ca_needs_https(self) -> Self:
        if self.ca_ref and not (self.endpoint or "").startswith("https://"):
            raise ValueError(_CA_NEEDS_HTTPS)
        return self


class Store(Union):
    """Where backups are kept. Exactly one member."""

    s3: S3Store | None = Field(None, description="A bucket of AWS S3 or a compatible server.")
