"""What an answer may be, whoever gives it: how long, where it is held in memory whole (a listing, an error), and of what time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from resguardo.api.base import EARLIEST, LATEST
from resguardo.api.sizes import print_size

#: A page of a thousand of S3's keys of 1,024 bytes, each written with three, has 3.5 MiB; so has one of 500 of Azure's, written with four
#: or five. As a tree of elements, 4 MiB of the emptiest take up to a third of a gigabyte.
ANSWER_MAX_BYTES = 4 * 1024 * 1024
#: What lists nothing: an error, or that something was written. Many threads may hold one each.
SHORT_ANSWER_MAX_BYTES = 256 * 1024
_LISTING = frozenset({"GET", "POST"})


class AnswerTooLong(ValueError):
    """An answer that is longer than it can be. Never asked for again: the next one would be as long."""


def longest(method: str, status: int) -> int:
    """The most bytes that an answer to such a request can have which is no object's."""
    return ANSWER_MAX_BYTES if method in _LISTING and status < 300 else SHORT_ANSWER_MAX_BYTES


def bound(answer: Any, most: int) -> None:
    """Have an answer of urllib3's stream no more bytes than `most`; where there are more, it is closed and raises AnswerTooLong."""
    stream = answer.stream

    def bounded(*arguments: Any, **options: Any) -> Iterator[bytes]:
        came = 0
        for piece in stream(*arguments, **options):
            came += len(piece)
            if came > most:
                answer.close()
                raise AnswerTooLong(f"it has more than the {print_size(most)} that it can have")
            yield piece

    answer.stream = bounded


def parse_date(text: str) -> datetime | None:
    """A time of a header, in UTC; None for what is none, or lies where nothing was ever stored.

    >>> print(parse_date("Thu, 26 Nov 2026 12:00:00 GMT"), parse_date("Fri, 31 Dec 9999 23:59:59 GMT"), parse_date("now"))
    2026-11-26 12:00:00+00:00 None None
    """
    try:
        moment = parsedate_to_datetime(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if EARLIEST <= moment <= LATEST else None
