"""What people and verifications say about a backup: small objects beside it, since a manifest never changes.

A pin and an acceptance say what they say by being there; what stands in them is for people. So one that cannot be read
still keeps its backup.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import TypeVar

import structlog
from pydantic import Field

from resguardo.api.backup_id import is_backup_id
from resguardo.api.base import Exchanged, Instant
from resguardo.api.errors import FormatTooNew, ManifestInvalid, ObjectCorrupt, ObjectMissing, WriteConflict
from resguardo.store.documents import parse_document
from resguardo.store.layout import (
    ACCEPTED_PLAN_KEY,
    ACCEPTED_PREFIX,
    PINS_PREFIX,
    VERIFIED_PREFIX,
    accepted_key,
    pin_key,
    verified_key,
)
from resguardo.store.protocol import Store
from resguardo.store.threads import in_threads

log = structlog.get_logger()

MARK_FORMAT_VERSION = 1
MARK_MAX_BYTES = 4096
MESSAGE_MAX = 1024
PLAN_HASH_PATTERN = r"^[0-9a-f]{16}$"

S = TypeVar("S", bound="Said")


class Mark(StrEnum):
    """What a person can say about a backup."""

    PINNED = PINS_PREFIX
    ACCEPTED = ACCEPTED_PREFIX


class Said(Exchanged):
    """That somebody said something, and when, by their own clock."""

    format_version: int = MARK_FORMAT_VERSION
    at: Instant


class Verification(Said):
    """What reading a backup again came to."""

    ok: bool
    message: str = ""


class AcceptedPlan(Said):
    """That a person wants exactly the removals that a plan's hash stands for."""

    hash: str = Field(pattern=PLAN_HASH_PATTERN)


def is_plan_hash(text: str) -> bool:
    """Whether the text can stand for a plan."""
    return re.fullmatch(PLAN_HASH_PATTERN, text) is not None


_KEYS = {Mark.PINNED: pin_key, Mark.ACCEPTED: accepted_key}


def set_mark(store: Store, mark: Mark, backup_id: str, *, at: datetime) -> None:
    """Say it; said already, it stays as it is."""
    with suppress(WriteConflict):
        store.put(_KEYS[mark](backup_id), Said(at=at).to_json().encode(), if_absent=True)


def marked_ids(store: Store, mark: Mark) -> frozenset[str]:
    """Ids of the backups about which it is said."""
    return frozenset(_ids_under(store, mark.value))


def record_verification(store: Store, backup_id: str, verification: Verification) -> None:
    """Write down what reading a backup again came to, in place of what was there."""
    shortened = verification.model_copy(update={"message": verification.message[:MESSAGE_MAX]})
    store.put(verified_key(backup_id), shortened.to_json().encode())


def read_verifications(store: Store) -> dict[str, Verification]:
    """The newest of each backup that has one; what cannot be read says nothing about its backup, and is logged."""
    ids = _ids_under(store, VERIFIED_PREFIX)
    found = in_threads(partial(_read_verification, store), ids, name="verifications")
    return {backup_id: read for backup_id, read in zip(ids, found, strict=True) if read is not None}


def accept_plan(store: Store, plan_hash: str, *, at: datetime) -> None:
    """Let the plan with that hash be carried out; the plan that was accepted before is so no more."""
    store.put(ACCEPTED_PLAN_KEY, AcceptedPlan(at=at, hash=plan_hash).to_json().encode())


def accepted_plan(store: Store) -> str | None:
    """The hash of the plan that a person accepted last; None where nobody did, or that cannot be read."""
    read = _read(store, ACCEPTED_PLAN_KEY, AcceptedPlan)
    return read.hash if read else None


def _read_verification(store: Store, backup_id: str) -> Verification | None:
    return _read(store, verified_key(backup_id), Verification)


def _read(store: Store, key: str, model: type[S]) -> S | None:
    try:
        body = store.get(key, max_bytes=MARK_MAX_BYTES).body
        return parse_document(model, body, key, known_version=MARK_FORMAT_VERSION)
    except ObjectMissing:
        return None
    except (ManifestInvalid, FormatTooNew, ObjectCorrupt) as problem:
        log.warning("passed over what cannot be read", object=key, problem=str(problem))
        return None


def _ids_under(store: Store, prefix: str) -> list[str]:
    names = [
        found.key.removeprefix(prefix).removesuffix(".json")
        for found in store.list(prefix)
        if found.key.endswith(".json")
    ]
    return [name for name in names if is_backup_id(name)]
