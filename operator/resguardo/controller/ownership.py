"""Whose an object is, and whether it is still what was wanted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from resguardo.api.names import (
    MANAGED_BY,
    MANAGED_BY_LABEL,
    POLICY_LABEL,
    REQUEST_LABEL,
    WANTED_HASH_ANNOTATION,
    WRITER_VERSION_ANNOTATION,
)

Object = Mapping[str, Any]


class Claim(Enum):
    """How an object that stands under a wanted name relates to the one that wants it."""

    OURS = "ours"
    #: Made for a resource of that name that is gone: the garbage collector will remove it.
    STALE = "stale"
    #: Ours, but a newer operator wrote it: it knows better.
    NEWER = "newer"
    TAKEN = "taken"


def claim_on(live: Object, wanted: Object) -> Claim:
    """Whether `live` may be written as `wanted`. One that carries our labels and no owner (orphaned) is taken up again."""
    metadata = live.get("metadata", {})
    ours = wanted["metadata"]["ownerReferences"][0]
    owner = next((item for item in metadata.get("ownerReferences") or [] if item.get("controller")), None)
    if owner is None and not _has_labels_of(metadata, wanted["metadata"]):
        return Claim.TAKEN
    if owner is not None and owner.get("uid") != ours["uid"]:
        same_name = (owner.get("kind"), owner.get("name")) == (ours["kind"], ours["name"])
        return Claim.STALE if same_name else Claim.TAKEN
    if is_newer(_annotation(live, WRITER_VERSION_ANNOTATION), _annotation(wanted, WRITER_VERSION_ANNOTATION)):
        return Claim.NEWER
    return Claim.OURS


def is_newer(stamped: str, version: str) -> bool:
    """Whether a newer operator than one of `version` wrote what is `stamped`; without a stamp, none did."""
    return _version_key(stamped) > _version_key(version)


def of_live(wanted: Object, live: Object | None) -> Object:
    """What is wanted of the object that was seen: with its resourceVersion, so that nothing else is ever written."""
    if live is None:
        return wanted
    return {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}}


def is_changed(live: Object, wanted: Object) -> bool:
    """Whether another content is wanted than the one that was written."""
    return _annotation(live, WANTED_HASH_ANNOTATION) != _annotation(wanted, WANTED_HASH_ANNOTATION)


def is_edited(live: Object, wanted: Object) -> bool:
    """Whether any field that is wanted is not so. Fields that others added (defaults among them) are theirs."""
    stamps = {WRITER_VERSION_ANNOTATION}
    return not _holds(live, wanted, path=(), passed_over=stamps)


def _holds(live: Any, wanted: Any, *, path: tuple[str, ...], passed_over: set[str]) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            _holds(live.get(key), value, path=(*path, key), passed_over=passed_over)
            for key, value in wanted.items()
            if key not in passed_over
        )
    if isinstance(wanted, list):
        if not isinstance(live, list):
            return not wanted and live is None
        if path[-1:] == ("ownerReferences",):
            return all(item in live for item in wanted)
        return len(live) == len(wanted) and all(
            _holds(item, wish, path=path, passed_over=passed_over) for item, wish in zip(live, wanted, strict=True)
        )
    return _is_same_value(live, wanted, is_quantity="resources" in path)


def _is_same_value(live: Any, wanted: Any, *, is_quantity: bool) -> bool:
    if wanted in (False, "", 0) and live is None:
        # The API server leaves out what is its default.
        return True
    if is_quantity and isinstance(live, str):
        # 0.5 comes back as 500m.
        return bool(parse_quantity(live) == parse_quantity(wanted))  # type: ignore[no-untyped-call]
    return bool(live == wanted)


def _has_labels_of(metadata: Object, wanted: Object) -> bool:
    labels = metadata.get("labels") or {}
    return labels.get(MANAGED_BY_LABEL) == MANAGED_BY and all(
        labels.get(key) == value for key, value in wanted["labels"].items() if key in (POLICY_LABEL, REQUEST_LABEL)
    )


def _annotation(body: Object, name: str) -> str:
    return str((body.get("metadata", {}).get("annotations") or {}).get(name, ""))


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])
