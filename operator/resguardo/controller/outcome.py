"""What a reconcile wants done. A plain value: one place decides, another acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from resguardo.api.errors import ResguardoError


class Key(NamedTuple):
    """One resource of ours, as the queue knows it."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class ObjectRef:
    """One Job, this one and no other of its name."""

    name: str
    uid: str


@dataclass(frozen=True)
class Notice:
    """A Kubernetes Event. The same subject is told once, whoever tells it, before or after a restart."""

    subject: tuple[str, ...]
    reason: str
    message: str
    is_warning: bool


@dataclass(frozen=True)
class Refusal:
    """An object that the API server, or who has its name, did not let be made. Seen by the next reconcile."""

    reason: str
    message: str


@dataclass(frozen=True)
class Outcome:
    """Done in this order: apply, create, delete, tell, write the status. Each step may be repeated."""

    #: Made or put right by server-side apply.
    apply: tuple[Mapping[str, Any], ...] = ()
    #: Made where absent, never changed.
    create: tuple[Mapping[str, Any], ...] = ()
    delete: tuple[ObjectRef, ...] = ()
    notices: tuple[Notice, ...] = ()
    #: The whole status; None leaves it as it is.
    status: Mapping[str, Any] | None = None
    #: The earliest time at which something changes without being told.
    look_again_at: datetime | None = None
    #: Resources whose changes are to wake this one.
    waits_for: tuple[Key, ...] = field(default=())


_Status = TypeVar("_Status", bound=BaseModel)


def read_status(model: type[_Status], resource: Mapping[str, Any]) -> _Status:
    """The status as it was written last; an empty one where it is absent or, by somebody's hand, no such thing."""
    try:
        return model.model_validate(resource.get("status") or {})
    except ValidationError:
        return model()


def earliest(*moments: datetime | None, after: datetime) -> datetime | None:
    """The first of the moments that is yet to come."""
    return min((moment for moment in moments if moment is not None and moment > after), default=None)


def _descendants(error: type[ResguardoError]) -> list[type[ResguardoError]]:
    return [error, *(deeper for child in error.__subclasses__() for deeper in _descendants(child))]


#: What pods can report, and whether trying again with nothing changed can help.
REPORTED_REASONS: Mapping[str, bool] = {error.__name__: error.can_retry for error in _descendants(ResguardoError)}
