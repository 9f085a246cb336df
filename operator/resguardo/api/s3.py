"""Where an S3 bucket is and with which keys it is used."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from resguardo.api.base import Written
from resguardo.api.fields import CaRef, DataKey, ObjectName, cel, validations
from resguardo.api.roles import Identity, RoleCredentials
from resguardo.api.store_fields import (
    CA_NEEDS_HTTPS,
    ClassesByTier,
    Endpoint,
    ObjectLock,
    Prefix,
    check_ca_needs_https,
)

_DOTS = "addressing Virtual needs a bucket without dots in its name: no certificate covers bucket.with.dots.host"
_KMS_ALONE = "kmsKeyId and bucketKey need type aws:kms"
_NO_ALIAS = (
    "must be a key's id or ARN: a store answers with those, so that nobody could tell whether an alias was honoured"
)


class S3CredentialsRef(Written):
    """The Secret with an access key."""

    name: ObjectName = Field(description="Name of the Secret.")
    access_key_id_key: DataKey = Field("AWS_ACCESS_KEY_ID", description="Key that holds the access key's id.")
    secret_access_key_key: DataKey = Field("AWS_SECRET_ACCESS_KEY", description="Key that holds the secret access key.")


class AssumedRole(Written):
    """A role that is assumed before the store is used, so that what a pod holds is good for that alone."""

    arn: Annotated[str, Field(min_length=20, max_length=2048, pattern=r"^arn:[^\s]+$")] = Field(
        description="The role's ARN, such as arn:aws:iam::111122223333:role/resguardo-writer."
    )
    external_id: Annotated[str, Field(min_length=2, max_length=1224, pattern=r"^[A-Za-z0-9_+=,.@:/-]+$")] | None = (
        Field(None, description="The external id that the role's trust policy asks for. It is no secret.")
    )


class S3Identity(Identity):
    """Who the pods of one role are to the store. Exactly one of secretRef and serviceAccountName."""

    ways: ClassVar[tuple[str, ...]] = ("secret_ref", "service_account_name")

    secret_ref: S3CredentialsRef | None = Field(None, description="A Secret with an access key.")
    assume_role: AssumedRole | None = Field(None, description="A role to assume with that, before the store is used.")


class S3Credentials(RoleCredentials[S3Identity], S3Identity):
    """Who pods are to the store: one identity for every role that is not named, or one for each of the three."""

    @classmethod
    def _rules(cls) -> list[tuple[str, str]]:
        rule = "!has(self.assumeRole) || has(self.secretRef) || has(self.serviceAccountName)"
        return [*super()._rules(), (rule, _ROLE_OF_NOBODY)]

    @model_validator(mode="after")
    def _somebody_assumes(self) -> Self:
        if self.assume_role is not None and self.secret_ref is None and self.service_account_name is None:
            raise ValueError(_ROLE_OF_NOBODY)
        return self


_ROLE_OF_NOBODY = (
    "assumeRole is assumed with secretRef or serviceAccountName: set one beside it, or give each role its own"
)


def _checked_key_id(key_id: str) -> str:
    if key_id.startswith("alias/") or ":alias/" in key_id:
        raise ValueError(_NO_ALIAS)
    return key_id


class ServerSideEncryption(Written):
    """How the store is to encrypt each object that is written. What it does not confirm is an error."""

    model_config = {
        "json_schema_extra": validations(
            cel("self.type == 'aws:kms' || (!has(self.kmsKeyId) && !has(self.bucketKey))", _KMS_ALONE)
        )
    }

    type: Literal["AES256", "aws:kms"] = Field(
        description="AES256: with keys of the store's own. aws:kms: with a key of its key management service."
    )
    kms_key_id: (
        Annotated[
            str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9:/_.-]+$"), AfterValidator(_checked_key_id)
        ]
        | None
    ) = Field(
        None,
        description="The key, by its id or ARN; absent: the one that the store uses for the bucket or account.",
        json_schema_extra=validations(cel("!self.startsWith('alias/') && !self.contains(':alias/')", _NO_ALIAS)),
    )
    bucket_key: bool | None = Field(
        None, description="Whether one key for the whole bucket stands between, which costs fewer requests to KMS."
    )

    @model_validator(mode="after")
    def _kms_alone(self) -> Self:
        if self.type != "aws:kms" and (self.kms_key_id is not None or self.bucket_key is not None):
            raise ValueError(_KMS_ALONE)
        return self


StorageClass = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class S3Store(Written):
    """A bucket of AWS S3, or of any compatible server."""

    model_config = {
        "json_schema_extra": validations(
            CA_NEEDS_HTTPS,
            cel("!has(self.addressing) || self.addressing == 'Path' || !self.bucket.contains('.')", _DOTS),
        )
    }

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
    sts_endpoint: Endpoint | None = Field(
        None,
        description="URL of the service that gives out the keys of assumed roles and service accounts; absent: AWS's in that "
        "region, or where `endpoint` is another server, that server.",
    )
    addressing: Literal["Path", "Virtual"] | None = Field(
        None,
        description="Where requests name the bucket: Path (https://host/bucket/key) or Virtual (https://bucket.host/key); "
        "absent: Path with an endpoint, Virtual with AWS.",
    )
    ca_ref: CaRef | None = Field(
        None, description="Certificate authorities that may vouch for the endpoint; absent: those of the image."
    )
    credentials: S3Credentials = Field(description="How pods prove who they are to the store.")
    storage_classes: ClassesByTier[StorageClass] | None = Field(
        None,
        description="In which storage class dumps are kept, such as STANDARD_IA or GLACIER_IR, by the longest tier for which their "
        "backup stands.",
    )
    sse: ServerSideEncryption | None = Field(
        None, description="How the store is to encrypt what is written; absent: as the bucket does by itself."
    )
    object_lock: ObjectLock | None = Field(
        None,
        description="For how long the store is to let nobody remove a backup; absent: as the bucket does by itself.",
    )

    @model_validator(mode="after")
    def _ca_needs_https(self) -> Self:
        check_ca_needs_https(self.ca_ref, self.endpoint)
        return self

    @model_validator(mode="after")
    def _no_dots_in_host_names(self) -> Self:
        if self.addressing == "Virtual" and "." in self.bucket:
            raise ValueError(_DOTS)
        return self
