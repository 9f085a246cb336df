"""What decisions about backups rest on: one entry for each thing under backups/ or attempts/, as facts and nothing more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from resguardo.api.base import Exchanged, Moment, Whole
from resguardo.api.errors import DocumentInvalid
from resguardo.api.manifest import Trigger


class Outcome(StrEnum):
    """What became of a backup that was started."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    RUNNING = "Running"
    #: Somebody else's.
    FOREIGN = "Foreign"
    #: Its manifest is broken, or of a format that this version does not know.
    UNREADABLE = "Unreadable"


def _any_case(words: type[StrEnum]) -> BeforeValidator:
    """Take a word of the enumeration in whatever case it was typed."""
    by_lower = {word.value.lower(): word.value for word in words}
    return BeforeValidator(lambda value: by_lower.get(value.lower(), value) if isinstance(value, str) else value)


def _as_list(value: Any) -> Any:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


_Id = Annotated[str, Field(min_length=1, max_length=256)]


class BackupFacts(Exchanged):
    """One backup, or what was to become one. Times are UTC."""

    id: _Id
    started_at: Moment = Field(description="When it started, by its own clock.")
    stored_at: Moment | None = Field(description="When the store received its manifest, by the store's clock.")
    outcome: Annotated[Outcome, _any_case(Outcome)]
    trigger: Annotated[Trigger, _any_case(Trigger)] = Trigger.SCHEDULED
    bytes: Whole = Field(0, description="As stored.")
    pinned: bool = Field(False, description="A person asked to keep it.")
    locked: bool = Field(False, description="The store refuses to delete it.")
    proven_at: Moment | None = Field(None, description="When a drill or a person last restored it.")
    odd: bool = Field(False, description="Its size is abnormal, and nobody accepted it.")
    damaged: bool = Field(False, description="A verification or a drill found that it cannot be restored.")
    source: str | None = Field(None, description="Which database: its identity, whatever its name.")
    method: str | None = Field(None, description="How it was made: pgDump, …")
    depends_on: Annotated[tuple[_Id, ...], BeforeValidator(_as_list)] = Field(
        (), description="Ids of the backups without which it cannot be restored."
    )

    @property
    def made_at(self) -> datetime:
        """When it started, as far as its clock can be believed: never later than the store received it."""
        return min(self.started_at, self.stored_at or self.started_at)

    @property
    def is_clock_suspect(self) -> bool:
        """Whether it says that it started after the store had received it: its clock cannot be believed."""
        return self.stored_at is not None and self.started_at > self.stored_at

    @property
    def is_committed(self) -> bool:
        """Whether it is a backup."""
        return self.outcome is Outcome.SUCCEEDED

    @property
    def is_good(self) -> bool:
        """Whether anything may rest on it: committed, normal or accepted, not found damaged, and made at a known time."""
        return self.is_committed and not (self.odd or self.damaged or self.is_clock_suspect)

    @property
    def by_age(self) -> tuple[datetime, str]:
        """Sorts by start; of two that started at once, always in the same way."""
        return self.started_at, self.id

    @property
    def by_arrival(self) -> tuple[datetime, datetime, str]:
        """Sorts by when the store received it, which nobody who writes there decides."""
        return self.stored_at or self.started_at, *self.by_age


_INVENTORY = TypeAdapter(list[BackupFacts])


def read_inventory(text: str | bytes, *, origin: str) -> list[BackupFacts]:
    """The entries of a JSON list. Raises DocumentInvalid, which names each field that is wrong and `origin`."""
    try:
        entries = _INVENTORY.validate_json(text)
    except ValidationError as error:
        problems = [f"{_place(problem['loc'])}: {problem['msg']}" for problem in error.errors()]
        more = f"; and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise DocumentInvalid(f"{origin}: {'; '.join(problems[:20])}{more}") from None
    refuse_twins(entries, origin=origin)
    return entries


def refuse_twins(entries: Sequence[BackupFacts], *, origin: str) -> None:
    """Raise DocumentInvalid where two entries have one id: nobody could say which of them a verdict is about."""
    twins = [backup_id for backup_id, count in Counter(entry.id for entry in entries).items() if count > 1]
    if twins:
        raise DocumentInvalid(f"{origin}: more than one entry has the id {', '.join(twins[:5])}")


def _place(location: tuple[int | str, ...]) -> str:
    entry, *field = location or ("the document",)
    name = f"entry {entry}" if isinstance(entry, int) else str(entry)
    return ".".join([name, *map(str, field)])
