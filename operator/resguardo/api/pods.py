"""What a user may say about the pods that do the work."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from resguardo.api.base import Written
from resguardo.api.fields import ObjectName, cel, validations

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
Quantity = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
_OWN_KEYS = "must not be under resguardo.dev/, app.kubernetes.io/ or kubernetes.io/: those are the operator's"
_OWN_KEYS_RULE = (
    "self.all(key, !key.startsWith('resguardo.dev/') && !key.startsWith('app.kubernetes.io/')"
    " && !key.matches('^([^/]*[.])?kubernetes[.]io/'))"
)


_OWN_KEY = re.compile(r"resguardo\.dev/|app\.kubernetes\.io/|([^/]*\.)?kubernetes\.io/")


def _without_own_keys(entries: dict[str, str]) -> dict[str, str]:
    if any(_OWN_KEY.match(key) for key in entries):
        raise ValueError(_OWN_KEYS)
    return entries


class Effect(StrEnum):
    """Effects of a taint."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class TolerationOperator(StrEnum):
    """How a toleration compares."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class Toleration(Written):
    """A taint that pods may stand; as in a pod's spec.tolerations."""

    key: Annotated[str, Field(max_length=317)] | None = None
    operator: TolerationOperator | None = None
    value: Annotated[str, Field(max_length=63)] | None = None
    effect: Effect | None = None
    toleration_seconds: Annotated[int, Field(ge=0, le=604800)] | None = None


class LocalObjectReference(Written):
    """The name of an object in the same namespace."""

    name: ObjectName


class Resources(Written):
    """CPU, memory and scratch room, as in a container's resources."""

    requests: Annotated[dict[str, Quantity], Field(max_length=8)] | None = Field(
        None, description="What a pod is promised, such as cpu: 100m, memory: 128Mi."
    )
    limits: Annotated[dict[str, Quantity], Field(max_length=8)] | None = Field(
        None, description="What a pod may not exceed, such as memory: 1Gi."
    )


class JobsTemplate(Written):
    """What the pods of this resource's Jobs are given; the rest is fixed so that they fit Pod Security "restricted"."""

    resources: Resources | None = Field(
        None, description="CPU and memory; absent: 100m and 128Mi asked for, 1Gi at most."
    )
    node_selector: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=16)] | None = Field(
        None, description="Labels of the nodes that may run the pods."
    )
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = Field(
        None, description="Taints that the pods may stand."
    )
    priority_class_name: ObjectName | None = Field(None, description="PriorityClass of the pods.")
    image_pull_secrets: Annotated[list[LocalObjectReference], Field(max_length=8)] | None = Field(
        None, description="Secrets to pull the image with."
    )
    labels: (
        Annotated[
            dict[LabelKey, Annotated[str, Field(max_length=63)]],
            Field(max_length=32),
            AfterValidator(_without_own_keys),
        ]
        | None
    ) = Field(
        None, description="Labels to add to the pods.", json_schema_extra=validations(cel(_OWN_KEYS_RULE, _OWN_KEYS))
    )
    annotations: (
        Annotated[
            dict[LabelKey, Annotated[str, Field(max_length=4096)]],
            Field(max_length=32),
            AfterValidator(_without_own_keys),
        ]
        | None
    ) = Field(
        None,
        description="Annotations to add to the pods.",
        json_schema_extra=validations(cel(_OWN_KEYS_RULE, _OWN_KEYS)),
    )
    service_account_name: ObjectName | None = Field(
        None, description="ServiceAccount of the pods; its token is never mounted."
    )
    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\s]+$")] | None = Field(
        None,
        description="Image to use in place of the operator's own; its PostgreSQL must be the server's major version.",
    )
