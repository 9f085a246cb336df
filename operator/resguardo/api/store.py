"""Where backups are kept: one of the stores there are."""

from __future__ import annotations

from pydantic import Field

from resguardo.api.azure import AzureStore
from resguardo.api.fields import Union
from resguardo.api.roles import Role
from resguardo.api.s3 import S3Store
from resguardo.api.volume import VolumeStore


class Store(Union):
    """Where backups are kept. Exactly one member."""

    s3: S3Store | None = Field(None, description="A bucket of AWS S3 or a compatible server.")
    azure: AzureStore | None = Field(None, description="A container of Azure Blob Storage.")
    volume: VolumeStore | None = Field(None, description="A volume that pods mount, such as a NAS' export.")

    def service_account(self, role: Role) -> str | None:
        """The ServiceAccount as which the pods of a role prove who they are; None where they are given a secret."""
        cloud = self.s3 or self.azure
        return cloud.credentials.of(role).service_account_name if cloud else None

    @property
    def sets_roles_apart(self) -> bool:
        """Whether who writes is not who prunes."""
        cloud = self.s3 or self.azure
        return cloud is not None and cloud.credentials.of(Role.WRITER) != cloud.credentials.of(Role.PRUNER)

    @property
    def classes(self) -> dict[str, str]:
        """The class of each tier that has one of its own, in the store's words."""
        cloud = self.s3 or self.azure
        named = cloud.storage_classes if cloud else None
        return named.model_dump(exclude_none=True) if named else {}
