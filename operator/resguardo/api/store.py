"""Where backups are kept: one of the stores there are."""

from __future__ import annotations

from pydantic import Field

from resguardo.api.azure import AzureIdentity, AzureStore
from resguardo.api.fields import Union
from resguardo.api.roles import Role, RoleCredentials
from resguardo.api.s3 import S3Identity, S3Store
from resguardo.api.store_fields import ObjectLock
from resguardo.api.volume import VolumeStore


class Store(Union):
    """Where backups are kept. Exactly one member."""

    s3: S3Store | None = Field(None, description="A bucket of AWS S3 or a compatible server.")
    azure: AzureStore | None = Field(None, description="A container of Azure Blob Storage.")
    volume: VolumeStore | None = Field(None, description="A volume that pods mount, such as a NAS' export.")

    @property
    def credentials(self) -> RoleCredentials[S3Identity] | RoleCredentials[AzureIdentity] | None:
        """Who pods are to the store; None where it asks nobody."""
        cloud = self.s3 or self.azure
        return cloud.credentials if cloud else None

    def service_account(self, role: Role) -> str | None:
        """The ServiceAccount as which the pods of a role prove who they are; None where they are given a secret."""
        return self.credentials.of(role).service_account_name if self.credentials else None

    def sharers(self, role: Role) -> frozenset[Role]:
        """The other roles that are the same to the store."""
        others = frozenset(Role) - {role}
        if self.credentials is None:
            return others
        own = self.credentials.of(role)
        return frozenset(other for other in others if self.credentials.of(other) == own)

    @property
    def object_lock(self) -> ObjectLock | None:
        """How the store is to lock backups; None where nothing is asked."""
        return self.s3.object_lock if self.s3 else None

    @property
    def classes(self) -> dict[str, str]:
        """The class of each tier that has one of its own, in the store's words."""
        cloud = self.s3 or self.azure
        named = cloud.storage_classes if cloud else None
        return named.model_dump(exclude_none=True) if named else {}
