"""The schema's fingerprint: the same for a database and for its restored dump, in one major version of PostgreSQL.

What a restore changes by itself, or may leave out with a word of it, is not in it: oids, column numbers, owners, privileges,
comments, statistics targets, tablespaces, extensions' members and versions, event triggers, publications, subscriptions.

Expressions are compared without parentheses and casts: PostgreSQL prints `(x)::text = ANY ((ARRAY['a'::character varying])
::text[])` for what becomes `ARRAY[('a'::character varying)::text]` once that text was read again, so that a restored
database would differ from its source for every such check of a varchar column.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import psycopg

from resguardo.postgres.schema_queries import EXPRESSION_PREFIX, schema_queries

#: What prints differently under other settings, fixed for the transaction.
_SETTINGS = {
    "search_path": "pg_catalog",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "quote_all_identifiers": "off",
}


#: Goes up with every change of what is described: fingerprints of two versions say nothing about each other.
FINGERPRINT_VERSION = 2


def schema_fingerprint(connection: psycopg.Connection[Any]) -> str:
    """The version, a colon, and the SHA-256 in hex of all that the schema is.

    Reads catalogs only; in the session's transaction where one is open.
    """
    digests = sorted(hashlib.sha256(line.encode()).digest() for line in describe_schema(connection))
    return f"{FINGERPRINT_VERSION}:{hashlib.sha256(b''.join(digests)).hexdigest()}"


def is_comparable(fingerprint: str) -> bool:
    """Whether a census' fingerprint was made as this version makes them."""
    return fingerprint.startswith(f"{FINGERPRINT_VERSION}:")


def describe_schema(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """The lines that the fingerprint is made of, in no order; to find out where two schemas differ."""
    with connection.transaction():
        connection.execute(
            "SELECT pg_catalog.set_config(name, value, true) FROM"
            " ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) AS wanted (name, value)",
            [list(_SETTINGS), list(_SETTINGS.values())],
        )
        for kind, query in schema_queries(connection.info.server_version).items():
            with connection.cursor() as cursor:
                # Row by row: a schema of a million columns need not be in memory at once.
                for row in cursor.stream(query.encode()):
                    names = [column.name for column in cursor.description or ()]
                    yield json.dumps(
                        [kind, *(_printed(name, value) for name, value in zip(names, row, strict=True))],
                        ensure_ascii=False,
                    )


def _printed(name: str, value: Any) -> Any:
    if isinstance(value, str) and name.startswith(EXPRESSION_PREFIX):
        return loosen(value)
    return value


_NAME = r'(?:"(?:[^"]|"")*"|[^\W\d][\w$]*)'
_TYPE = (
    r"(?:character varying|double precision|bit varying|(?:timestamp|time)(?:\(\d+\))? with(?:out)? time zone"
    r"|interval(?: (?:year|month|day|hour|minute|second)(?: to (?:month|hour|minute|second))?)?"
    rf"|{_NAME}(?:\.{_NAME})*)(?:\([^()']*\))?(?:\[\])*"
)
_TOKENS = re.compile(
    rf"""(?P<string>[eE]?'(?:[^']|'')*')|(?P<cast>::{_TYPE})|(?P<name>{_NAME})|(?P<space>\s+)|(?P<parenthesis>[()])|(?P<rest>.)""",
    re.DOTALL,
)


def loosen(expression: str) -> str:
    """An expression as PostgreSQL prints it, without parentheses, casts and the width of spaces; literals stay as they are.

    >>> loosen("((x)::text = ANY ((ARRAY['a (b)'::character varying, NULL::character varying(9)])::text[]))")
    "x = ANY ARRAY['a (b)', NULL]"
    """
    kept: list[str] = []
    for token in _TOKENS.finditer(expression):
        if token.lastgroup in ("cast", "parenthesis"):
            continue
        piece = " " if token.lastgroup == "space" else token.group()
        if piece != " " or (kept and kept[-1] != " "):
            kept.append(piece)
    return "".join(kept).rstrip(" ")
