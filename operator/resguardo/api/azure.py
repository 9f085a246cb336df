"""Which container of Azure Blob Storage backups are kept in, and as whom it is used."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from resguardo.api.base import Written
from resguardo.api.fields import CaRef, DataKey, ObjectName, validations
from resguardo.api.roles import Identity, RoleCredentials
from resguardo.api.store_fields import CA_NEEDS_HTTPS, ClassesByTier, Prefix, check_ca_needs_https


class AccountKeyRef(Written):
    """The Secret with a key of the storage account."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: DataKey = Field("accountKey", description="Key that holds the account's key.")


class SasTokenRef(Written):
    """The Secret with a shared access signature."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: DataKey = Field("sasToken", description="Key that holds the token, such as sv=2024-11-04&sr=c&sp=…&sig=….")


class AzureIdentity(Identity):
    """Who the pods of one role are to the store, in exactly one of three ways."""

    ways: ClassVar[tuple[str, ...]] = ("account_key_secret_ref", "sas_token_secret_ref", "service_account_name")

    account_key_secret_ref: AccountKeyRef | None = Field(
        None, description="A Secret with a key of the account, which may do everything with all of it."
    )
    sas_token_secret_ref: SasTokenRef | None = Field(
        None, description="A Secret with a shared access signature for the container."
    )
    service_account_name: ObjectName | None = Field(
        None,
        description="A ServiceAccount with a federated identity (Microsoft Entra Workload ID): the role's pods run as it, and have no "
        "key.",
    )


class AzureCredentials(RoleCredentials[AzureIdentity], AzureIdentity):
    """Who pods are to the store: one identity for every role that is not named, or one for each of the three."""


AccessTier = Literal["Hot", "Cool", "Cold", "Archive"]


class AzureStore(Written):
    """A container of a storage account, or of a compatible server."""

    model_config = {"json_schema_extra": validations(CA_NEEDS_HTTPS)}

    account: Annotated[str, Field(min_length=3, max_length=24, pattern=r"^[a-z0-9]+$")] = Field(
        description="Name of the storage account."
    )
    container: Annotated[str, Field(min_length=3, max_length=63, pattern=r"^[a-z0-9](-?[a-z0-9])*$")] = Field(
        description="Name of the container; it must exist."
    )
    prefix: Prefix = Field(
        "",
        description="Where in the container this policy's backups stand, without a slash at either end. One policy each.",
    )
    endpoint: Annotated[str, Field(max_length=512, pattern=r"^https?://[^/\s]+(/[a-z0-9]+)?/?$")] | None = Field(
        None,
        description="URL of the account's blob service, such as https://agepar.blob.core.usgovcloudapi.net, or "
        "http://azurite:10000/agepar; absent: https://<account>.blob.core.windows.net.",
    )
    ca_ref: CaRef | None = Field(
        None, description="Certificate authorities that may vouch for the endpoint; absent: those of the image."
    )
    credentials: AzureCredentials = Field(description="How pods prove who they are to the store.")
    storage_classes: ClassesByTier[AccessTier] | None = Field(
        None,
        description="In which access tier dumps are kept, by the longest tier of retention for which their backup stands.",
    )
    encryption_scope: (
        Annotated[str, Field(min_length=3, max_length=63, pattern=r"^[a-zA-Z0-9](-?[a-zA-Z0-9])*$")] | None
    ) = Field(
        None,
        description="The account's encryption scope that everything is to be encrypted with; a store that does not confirm it is refused.",
    )

    @model_validator(mode="after")
    def _ca_needs_https(self) -> Self:
        check_ca_needs_https(self.ca_ref, self.endpoint)
        return self
