"""Where an S3 bucket is and with which keys it is used."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from resguardo.api.base import Written
from resguardo.api.fields import CaRef, DataKey, ObjectName, Union, validations
from resguardo.api.store_fields import CA_NEEDS_HTTPS, Endpoint, Prefix, StorageClasses, check_ca_needs_https


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

    model_config = {"json_schema_extra": validations(CA_NEEDS_HTTPS)}

    bucket: Annotated[str, Field(min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")] = Field(
        description="Name of the bucket; it must exist."
    )
    prefix: Prefix = Field(
        "",
        description="Where in the bucket this policy's backups stand, without a slash at either end. One policy each.",
    )
    region: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9-]+$")] = Field(
        "us-east-1", description="Region of the bucket."
    )
    endpoint: Endpoint | None = Field(
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
        check_ca_needs_https(self.ca_ref, self.endpoint)
        return self
