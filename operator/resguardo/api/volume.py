"""Which volume of the cluster backups are kept in."""

from __future__ import annotations

from pydantic import Field

from resguardo.api.base import Written
from resguardo.api.fields import ObjectName
from resguardo.api.store_fields import Prefix

#: Where pods mount the volume, and where a person's machine has it unless RESGUARDO_VOLUME names another folder.
VOLUME_FOLDER = "/volume"


class VolumeStore(Written):
    """A PersistentVolumeClaim, such as a NAS' export, that pods mount. One that several nodes may write to at once."""

    claim_name: ObjectName = Field(
        description="Name of the PersistentVolumeClaim, in the policy's namespace; it must exist."
    )
    path: Prefix = Field(
        "",
        description="Folder in the volume where this policy's backups stand, without a slash at either end; it is made. "
        "One policy each.",
    )
