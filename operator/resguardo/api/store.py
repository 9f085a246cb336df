"""Where backups are kept: one of the stores there are."""

from __future__ import annotations

from pydantic import Field

from resguardo.api.fields import Union
from resguardo.api.roles import Role
from resguardo.api.s3 import S3Store
from resguardo.api.volume import VolumeStore


class Store(Union):
    """Where backups are kept. Exactly one member."""

    s3: S3Store | None = Field(None, description="A bucket of AWS S3 or a compatible server.")
    volume: VolumeStore | None = Field(None, description="A volume that pods mount, such as a NAS' export.")

    def service_account(self, role: Role) -> str | None:
        """The ServiceAccount as which the pods of a role prove who they are; None where they are given a secret."""
        return self.s3.credentials.of(role).service_account_name if self.s3 else None

    @property
    def sets_roles_apart(self) -> bool:
        """Whether who writes is not who prunes."""
        return self.s3 is not None and self.s3.credentials.of(Role.WRITER) != self.s3.credentials.of(Role.PRUNER)

    @property
    def classes(self) -> dict[str, str]:
        """The class of each tier that has one of its own, in the store's words."""
        named = self.s3.storage_classes if self.s3 else None
        return named.model_dump(exclude_none=True) if named else {}
