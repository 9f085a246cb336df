"""PostgreSQL's identifiers as they stand in SQL."""

from __future__ import annotations

import re

#: One identifier, quoted or plain, in SQL that pg_dump wrote.
IDENTIFIER_PATTERN = r'(?:"(?:[^"]|"")*"|[^\s".,()]+)'


def quoted(name: str) -> str:
    """An identifier for SQL that a person may copy: in double quotes unless it is plain.

    >>> quoted("app"), quoted("two words")
    ('app', '"two words"')
    """
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


def unquoted(identifier: str) -> str:
    """The name that an identifier in SQL stands for; the inverse of `quoted`.

    >>> unquoted('"two words"'), unquoted("plain")
    ('two words', 'plain')
    """
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier
