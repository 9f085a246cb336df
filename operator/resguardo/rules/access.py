"""Whether keys may do what their role needs, and no more: from what was tried to what it means."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from resguardo.api.roles import Role

#: The warning of a check; see docs/backuppolicy.md.
WRITER_MAY_REMOVE = "WriterMayRemove"


class Right(StrEnum):
    """Something that keys may do in a store, in words that fit each kind of store."""

    LIST = "list what is there"
    READ_FACTS = "read manifests and marks"
    READ_DATA = "read the data of backups"
    ADD = "add to a backup that is being made"
    GIVE_UP = "give up an upload"
    OVERWRITE = "overwrite what is in a backup"
    FORBID = "take the place of a manifest that never came"
    RECORD = "write down that a backup begins, and how it ends"
    MARK = "mark backups for removal"
    REMOVE = "remove what is in a backup"
    SEE_VERSIONS = "see former versions"
    REMOVE_VERSIONS = "remove former versions"
    SEE_LOCKS = "see what is locked"
    LOCK = "lock what is there, and see that it is"


class Standing(StrEnum):
    """What a right is to a role."""

    NEEDED = "needs it"
    HELPFUL = "may have it"
    NOT_NEEDED = "needs it not"
    TOO_MUCH = "must not have it"


@dataclass(frozen=True)
class Tried:
    """What came of trying. `has` is None where it could not be told; `said` is the store's refusal."""

    right: Right
    has: bool | None
    said: str = ""


@dataclass(frozen=True)
class Finding:
    """A right that keys have or have not, and what that means for the role; nothing where it is as it should be."""

    tried: Tried
    standing: Standing
    consequence: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether the role cannot do its work."""
        return self.standing is Standing.NEEDED and self.tried.has is False

    @property
    def is_too_much(self) -> bool:
        """Whether a thief of the keys could do what the role never does."""
        return self.standing is Standing.TOO_MUCH and self.tried.has is True


_FAILS: Mapping[Role, Mapping[Right, str]] = {
    Role.WRITER: {
        Right.LIST: "no check and no backup begins",
        Right.READ_FACTS: "no check and no backup begins",
        Right.ADD: "no backup can be made",
        Right.GIVE_UP: "an upload that failed lies there, unseen and paid for",
        Right.RECORD: "no backup begins",
    },
    Role.PRUNER: {
        Right.LIST: "retention does not begin",
        Right.READ_FACTS: "retention does not begin",
        Right.MARK: "nothing is marked, so that nothing is removed",
        Right.REMOVE: "nothing is removed",
        Right.REMOVE_VERSIONS: "what is removed lies on as a former version, and is paid for",
        Right.SEE_VERSIONS: "what is removed lies on as a former version, and is paid for",
        Right.SEE_LOCKS: "a locked backup looks free, and its removal fails each night",
        Right.FORBID: "what a killed backup has left is never cleared away",
    },
    Role.READER: {
        Right.LIST: "no backup is found",
        Right.READ_FACTS: "no backup is found",
        Right.READ_DATA: "nothing can be restored",
    },
}
#: The same, where backups are to be locked.
_FAILS_WITH_LOCKS: Mapping[Role, Mapping[Right, str]] = {
    Role.WRITER: {Right.LOCK: "no backup can be locked, and so none is made"},
    Role.PRUNER: {Right.LOCK: "what comes to stand for a longer tier is not locked for longer"},
    Role.READER: {},
}
_HELPS: Mapping[Role, frozenset[Right]] = {
    Role.WRITER: frozenset({Right.FORBID}),
    Role.PRUNER: frozenset({Right.GIVE_UP}),
    Role.READER: frozenset({Right.SEE_LOCKS}),
}
#: What a thief could do. What is not here does no harm.
_HARMS: Mapping[Role, Mapping[Right, str]] = {
    Role.WRITER: {
        Right.READ_DATA: "whoever steals the writer's keys reads every backup that is not encrypted",
        Right.OVERWRITE: "whoever steals the writer's keys can destroy backups by writing over them",
        Right.REMOVE: "whoever steals the writer's keys can remove backups",
        Right.REMOVE_VERSIONS: "whoever steals the writer's keys can remove backups for good",
        Right.MARK: "whoever steals the writer's keys can have retention remove backups",
        Right.LOCK: "whoever steals the writer's keys can lock what is there for years, and have it paid for",
    },
    Role.PRUNER: {
        Right.READ_DATA: "whoever steals the pruner's keys reads every backup that is not encrypted",
        Right.ADD: "whoever steals the pruner's keys can plant backups",
        Right.LOCK: "whoever steals the pruner's keys can lock what is there for years, and have it paid for",
    },
    Role.READER: {
        right: f"whoever steals the reader's keys can {what}"
        for right, what in {
            Right.ADD: "plant backups",
            Right.OVERWRITE: "destroy backups by writing over them",
            Right.FORBID: "plant manifests",
            Right.RECORD: "write among the records of backups",
            Right.MARK: "have retention remove backups",
            Right.REMOVE: "remove backups",
            Right.REMOVE_VERSIONS: "remove backups for good",
            Right.LOCK: "lock what is there for years, and have it paid for",
        }.items()
    },
}


def judge(role: Role, tried: Iterable[Tried], *, locks: bool, shares: Collection[Role] = ()) -> list[Finding]:
    """What the rights of a role's keys mean.

    `locks` says whether backups are to be locked. `shares` are other roles that have the same keys: what these need is not too much.
    """
    return [_judge(role, one, frozenset(shares) | {role}, locks=locks) for one in tried]


def _judge(role: Role, tried: Tried, everybody: frozenset[Role], *, locks: bool) -> Finding:
    right, needed = tried.right, _needed(role, locks=locks)
    if right in needed:
        return Finding(tried, Standing.NEEDED, needed[right] if tried.has is False else "")
    if right in _HELPS[role]:
        return Finding(tried, Standing.HELPFUL)
    if all(right in _HARMS[one] and right not in _needed(one, locks=locks) for one in everybody):
        return Finding(tried, Standing.TOO_MUCH, _HARMS[role][right] if tried.has else "")
    return Finding(tried, Standing.NOT_NEEDED)


def _needed(role: Role, *, locks: bool) -> Mapping[Right, str]:
    return {**_FAILS[role], **(_FAILS_WITH_LOCKS[role] if locks else {})}
