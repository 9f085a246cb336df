"""The mark that a restore leaves in a database's comment, so that no request is carried out twice, in any cluster.

A mark is one line, after the original comment:

    Being restored by Resguardo: request <namespace>/<name> uid <uid> fingerprint <hex> backup <id> borrowed <role>,<role>
    Restored by Resguardo: request …
    Kept aside by Resguardo: request … as "<the name it was given>"

`Being restored` is what a restore writes before it loads; such a database holds nothing that anybody could miss. It names
the roles that the restoring role has made itself a member of, for whoever removes what a killed restore left. `Restored`
replaces it once all is loaded: in the same transaction that gives the database its name, or when it is left aside because
it differs from the census. `Kept aside` is added to the database that had the name before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import quote, unquote

from resguardo.api.errors import AlreadyRestored


class MarkState(StrEnum):
    """How far a restore has come with the database that carries the mark."""

    BEING_RESTORED = "Being restored"
    RESTORED = "Restored"
    KEPT_ASIDE = "Kept aside"


@dataclass(frozen=True)
class Mark:
    """Which request did what to a database."""

    state: MarkState
    namespace: str
    name: str
    uid: str
    fingerprint: str
    backup_id: str
    #: Of a database that was kept aside: the name that it was given then.
    kept_as: str | None = None
    #: Of a database that is being restored: the memberships to give back.
    borrowed: tuple[str, ...] = ()

    def restored(self) -> Mark:
        """The mark of the same request on a database that is whole."""
        return replace(self, state=MarkState.RESTORED, kept_as=None, borrowed=())

    def kept_aside(self, name: str) -> Mark:
        """The mark of the same request on the database that had the name before."""
        return replace(self, state=MarkState.KEPT_ASIDE, kept_as=name, borrowed=())

    def is_of(self, *, uid: str, fingerprint: str) -> bool:
        """Whether the request is this one: by its uid, or applied again with the same content (docs/decisions/0003)."""
        return bool(fingerprint and self.fingerprint == fingerprint) or bool(uid and self.uid == uid)

    def is_by(self, *, uid: str, fingerprint: str) -> bool:
        """Whether this very object did it: the same uid and the same content, so that nobody else could be at work."""
        return bool(uid) and self.uid == uid and self.fingerprint == fingerprint

    def __str__(self) -> str:
        """The line; `parse_mark` is the inverse."""
        where = "" if self.kept_as is None else f" as {json.dumps(self.kept_as)}"
        borrowed = f" borrowed {','.join(map(_word, self.borrowed))}" if self.borrowed else ""
        return (
            f"{self.state.value} by Resguardo: request {_word(self.namespace)}/{_word(self.name)} uid {_word(self.uid)} "
            f"fingerprint {_word(self.fingerprint)} backup {_word(self.backup_id)}{borrowed}{where}"
        )


_LINE = re.compile(
    r"(?P<state>Being restored|Restored|Kept aside) by Resguardo: request (?P<namespace>[^\s/]+)/(?P<name>[^\s/]+)"
    r" uid (?P<uid>\S+) fingerprint (?P<fingerprint>\S+) backup (?P<backup_id>\S+)(?: borrowed (?P<borrowed>\S+))?(?: as (?P<kept_as>\".*\"))?"
)


def _word(text: str) -> str:
    # A request's names are plain words, but a file that a person wrote may give any uid, or none.
    return "-" if not text else "%2D" if text == "-" else quote(text, safe="")


def _text(word: str) -> str:
    return "" if word == "-" else unquote(word)


def parse_mark(line: str) -> Mark | None:
    """The mark that a line is; None where it is none.

    >>> line = "Restored by Resguardo: request agepar/dr-1 uid 7f uid fingerprint 0a backup 20261123T050000Z-3f9a1c"
    >>> parse_mark(line) is None
    True
    >>> parse_mark(line.replace("7f uid", "7f")).name
    'dr-1'
    """
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    try:
        kept_as = json.loads(match["kept_as"]) if match["kept_as"] else None
    except ValueError:
        return None
    if not isinstance(kept_as, str | None):
        return None
    return Mark(
        state=MarkState(match["state"]),
        namespace=_text(match["namespace"]),
        name=_text(match["name"]),
        uid=_text(match["uid"]),
        fingerprint=_text(match["fingerprint"]),
        backup_id=_text(match["backup_id"]),
        kept_as=kept_as,
        borrowed=tuple(map(_text, match["borrowed"].split(","))) if match["borrowed"] else (),
    )


def read_marks(comment: str | None) -> tuple[str | None, tuple[Mark, ...]]:
    """What a person wrote in a database's comment (None: nothing), and the marks after it, oldest first."""
    text = comment or ""
    marks: list[Mark] = []
    while text:
        before, separator, last = text.rpartition("\n")
        mark = parse_mark(last)
        if mark is None:
            break
        marks.insert(0, mark)
        text = before
        if not separator:
            break
    return text or None, tuple(marks)


def strip_mark(comment: str | None) -> str | None:
    """A database's comment without marks; None where nothing is left."""
    return read_marks(comment)[0]


def with_marks(original: str | None, marks: Iterable[Mark]) -> str:
    """A comment with marks after it, one a line."""
    lines = [original] if original else []
    return "\n".join([*lines, *(str(mark) for mark in marks)])


@dataclass(frozen=True)
class MarkedDatabase:
    """A database of the target server that some restore has touched."""

    name: str
    marks: tuple[Mark, ...]


def refuse_replay(databases: Sequence[MarkedDatabase], *, target: str, uid: str, fingerprint: str) -> None:
    """Raise AlreadyRestored where this request has brought its database back before, under whatever name it stands now."""
    for database in databases:
        for mark in database.marks:
            if mark.state is not MarkState.RESTORED or not mark.is_of(uid=uid, fingerprint=fingerprint):
                continue
            where = (
                ""
                if database.name == target
                else f", which stands as {database.name}; look at it and rename or drop it"
            )
            raise AlreadyRestored(
                f"request {mark.namespace}/{mark.name} has restored backup {mark.backup_id} into {target} before{where}. "
                "A request is carried out once: for the same restore again, make one with another name"
            )


def find_leftovers(databases: Sequence[MarkedDatabase], *, uid: str, fingerprint: str) -> list[str]:
    """Databases that an interrupted run of this very request began and never finished; they may be dropped.

    A database of the same content but another uid may be another cluster's, which is loading it at this moment.
    """
    return [
        database.name
        for database in databases
        if database.marks
        and all(
            mark.state is MarkState.BEING_RESTORED and mark.is_by(uid=uid, fingerprint=fingerprint)
            for mark in database.marks
        )
    ]


def borrowed_for(databases: Iterable[MarkedDatabase]) -> frozenset[str]:
    """The roles that the restores of these databases, which have not ended, have borrowed and need."""
    return frozenset(
        role
        for database in databases
        for mark in database.marks
        if mark.state is MarkState.BEING_RESTORED
        for role in mark.borrowed
    )


def find_kept_aside(databases: Sequence[MarkedDatabase], *, target: str, uid: str, fingerprint: str) -> list[str]:
    """The databases that this request kept aside and that still bear the name they were given then.

    One that a person has renamed since, perhaps back to the name of before, is in use again and is nobody's to drop.
    """
    return [
        database.name
        for database in databases
        if database.name != target
        and any(
            mark.state is MarkState.KEPT_ASIDE
            and mark.is_of(uid=uid, fingerprint=fingerprint)
            and mark.kept_as == database.name
            for mark in database.marks
        )
    ]
