"""What somebody who may write to the bucket puts there: every good document with one thing in it changed, and plain noise.

And what has to hold for whoever reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from resguardo.api.durations import Span
from resguardo.api.errors import ObjectCorrupt, ObjectMissing, ResguardoError, WriteConflict
from resguardo.store.protocol import Availability, ObjectInfo, Stored

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
#: What no message of ours needs more of.
MESSAGE_MAX = 4096

#: What speaks to a terminal, turns a line's direction, or ends it.
SPEAKS = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\n\u202egnp.exe\u2066\u2028\u200f"

#: JSON, as text: what one value becomes.
VALUES: dict[str, str] = {
    "null": "null",
    "true": "true",
    "nothing": '""',
    "a list": "[]",
    "an object": "{}",
    "a list of lists": "[[],[[]]]",
    "minus one": "-1",
    "a fraction": "1.5",
    "minus zero": "-0",
    "more than a float holds": "1e400",
    "not a number": "NaN",
    "infinity": "-Infinity",
    "64 bits and one": str(2**63),
    "minus 64 bits and one": str(-(2**63) - 1),
    "400 digits": "1" + "0" * 400,
    "5000 digits": "9" * 5000,
    "digits in quotes": '"' + "9" * 5000 + '"',
    "control characters": json.dumps(SPEAKS),
    "NUL": r'"\u0000"',
    "half a surrogate": r'"\ud800"',
    "the other half": r'"x\udfffy"',
    "a way up": '"../../../x"',
    "a way up within": '"data/../../x"',
    "an absolute way": '"/etc/passwd"',
    "a way with backslashes": r'"..\\..\\x"',
    "64 KiB and one": '"' + "x" * (64 * 1024 + 1) + '"',
    "deep lists": "[" * 5000 + "]" * 5000,
    "deep objects": '{"a":' * 5000 + "1" + "}" * 5000,
    "deep and never closed": "[" * 60_000,
    "before all time": '"0001-01-01T00:00:00+14:00"',
    "after all time": '"9999-12-31T23:59:59-14:00"',
    "the first instant": '"0001-01-01T00:00:00Z"',
    "the last instant": '"9999-12-31T23:59:59Z"',
    "a time without a zone": '"2026-11-23T05:00:00"',
    "a time as a number": "1e18",
    "a zone that is a file": '"../../../etc/passwd"',
    "a zone that is a folder": '"America"',
    "a long span": '"9999y"',
    "a long duration": '"9999h99999m999999s"',
    "digits of another script": '"\\u0663\\u0660d"',
    "a line's end": '"30d\\n"',
    "a hash": '"' + "0" * 64 + '"',
}

_MARK = "\x00here\x00"


def damaged(document: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """The document with each of its values, and itself, in turn replaced by each of VALUES, left out, and given twice."""
    for path in _paths(document):
        place = ".".join(map(str, path)) or "the whole"
        with_mark = json.dumps(_with(document, path, _MARK))
        for name, text in VALUES.items():
            yield f"{place}: {name}", with_mark.replace(json.dumps(_MARK), text).encode()
        if path and isinstance(path[-1], str):
            yield f"{place}: absent", json.dumps(_with(document, path, None, absent=True)).encode()
            good = json.dumps(_at(document, path))
            key = json.dumps(path[-1])
            twice = with_mark.replace(json.dumps(_MARK), f"{good}, {key}: -1, {key}: {good}")
            yield f"{place}: given three times", twice.encode()


def _paths(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    inner: Iterator[tuple[str | int, Any]] = iter(())
    if isinstance(document, dict):
        inner = iter(document.items())
    elif isinstance(document, list):
        inner = enumerate(document)
    for name, value in inner:
        yield from _paths(value, (*path, name))


def _at(document: Any, path: tuple[str | int, ...]) -> Any:
    for name in path:
        document = document[name]
    return document


def _with(document: Any, path: tuple[str | int, ...], value: Any, *, absent: bool = False) -> Any:
    if not path:
        return value
    copied = json.loads(json.dumps(document))
    holder = _at(copied, path[:-1])
    if absent:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return copied


@dataclass
class Shelf:
    """A bucket in memory, as far as readers ask (they write nothing but an owner): thousands of bad documents would take a real server minutes.

    What a real one answers is tests/data's to show; every reader here is given nothing but bytes.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    stored_at: datetime = NOW - timedelta(days=2)
    location: str = "s3://hostile/prod"
    place: str = "hostile/prod"

    def get(self, key: str, *, max_bytes: int) -> Stored:
        if key not in self.objects:
            raise ObjectMissing(f"object {key} is not there")
        if len(self.objects[key]) > max_bytes:
            raise ObjectCorrupt(f"object {key} has {len(self.objects[key])} bytes, and never has more than {max_bytes}")
        return Stored(self.objects[key], '"etag"', self.stored_at)

    def head(self, key: str) -> ObjectInfo | None:
        return self._info(key) if key in self.objects else None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return (self._info(key) for key in sorted(self.objects) if key.startswith(prefix))

    def list_folders(self, prefix: str) -> Iterator[str]:
        inside = [key.removeprefix(prefix) for key in self.objects if key.startswith(prefix)]
        return iter(sorted({name.partition("/")[0] for name in inside if "/" in name}))

    def _info(self, key: str) -> ObjectInfo:
        return ObjectInfo(key, len(self.objects[key]), '"etag"', self.stored_at)

    def put(self, key: str, body: bytes, *, if_absent: bool = False, **_: Any) -> str:
        if if_absent and key in self.objects:
            raise WriteConflict(f"{key} is there")
        self.objects[key] = body
        return '"etag"'

    def read_range(self, key: str, start: int, length: int) -> bytes:
        return self.objects[key][start : start + length]

    def clock(self) -> datetime:
        return NOW

    def is_locked(self, _key: str) -> bool:
        return False

    def default_lock(self) -> Span | None:
        return None

    def availability(self, key: str) -> Availability | None:
        return Availability.READY if key in self.objects else None


def keep(call: Callable[[], object], how: str) -> None:
    """Whatever it gives, or an error of ours that a person can read."""
    message = ""
    try:
        call()
    except ResguardoError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{how}: {type(error).__name__}: {error}"[:1000]) from error
    assert len(message) < MESSAGE_MAX, how


def assert_speaks_to_people_only(text: str) -> None:
    """No letter in it that a terminal would take for a command."""
    found = {letter for letter in text if not letter.isprintable() and letter != "\n"}
    assert found == set()
