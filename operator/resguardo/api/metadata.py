"""The part of Kubernetes' ObjectMeta that Resguardo reads."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from resguardo.api.base import Instant, Written

_LABEL_VALUE = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


class Metadata(Written):
    """Who an object is. Fields that only the API server cares for are passed over."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(min_length=1, max_length=52, pattern=_LABEL_VALUE)]
    namespace: Annotated[str, Field(min_length=1, max_length=63, pattern=_LABEL_VALUE)] = "default"
    uid: str = ""
    generation: int = 0
    annotations: dict[str, str] = {}
    creation_timestamp: Instant | None = None
    deletion_timestamp: Instant | None = None
