"""The part of Kubernetes' ObjectMeta that Resguardo reads."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from resguardo.api.base import Instant, Written

_LABEL_VALUE = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


def named_within(max_length: int) -> AfterValidator:
    """The check that an object's name leaves room for the names of what is made for it."""

    def check(metadata: Metadata) -> Metadata:
        if len(metadata.name) > max_length:
            raise ValueError(f"name must be at most {max_length} characters")
        return metadata

    return AfterValidator(check)


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
