"""Texts that others may have written, on their way to people: a terminal, a log, a status, an Event."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import AfterValidator


def printable(text: str) -> str:
    """The text with what would speak to a terminal, and not to a person, written as an escape.

    >>> print(printable("São João\\x1b[31m\\n"))
    São João\\x1b[31m\\n
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def printable_lines(text: str) -> str:
    """The same for a text of our own that may have several lines."""
    return "\n".join(printable(line) for line in text.split("\n"))


def printable_json(text: str) -> str:
    """JSON, in which only within a string can there be such a letter, and there it may be written as an escape.

    >>> print(printable_json('{"name": "São João\\x9b\\u202e"}'))
    {"name": "São João\\u009b\\u202e"}
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else json.dumps(letter)[1:-1] for letter in text)


def _for_people(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds what speaks to a terminal, and not to a person")
    return text


#: A text in which nothing else was ever written, so that whatever else stands there is somebody's attack.
Plain = Annotated[str, AfterValidator(_for_people)]
