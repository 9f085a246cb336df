"""What an answer may be, whoever gives it: how long, where it is held in memory whole (a listing, an error), and of what time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from resguardo.api.base import EARLIEST, LATEST
from resguardo.api.sizes import print_size

#: A page of a thousand keys of 1,024 bytes, each written with three or five, has 6 MiB. As a tree of elements, of 8 MiB the emptiest take
#: a third of a gigabyte.
ANSWER_MAX_BYTES = 8 * 1024 * 1024


class AnswerTooLong(ValueError):
    """An answer that is longer than it can be. Never asked for again: the next one would be as long."""


def bound(answer: Any, most: int = ANSWER_MAX_BYTES) -> None:
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
