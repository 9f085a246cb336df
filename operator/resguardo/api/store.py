"""Where backups are kept: one of the stores there are."""

from __future__ import annotations

from pydantic import Field

from resguardo.api.fields import Union
from resguardo.api.s3 import S3Store


class Store(Union):
    """Where backups are kept. Exactly one member."""

    s3: S3Store | None = Field(None, description="A bucket of AWS S3 or a compatible server.")

    @property
    def classes(self) -> dict[str, str]:
        """The class of each tier that has one of its own, in the store's words."""
        named = self.s3.storage_classes if self.s3 else None
        return named.model_dump(exclude_none=True) if named else {}
