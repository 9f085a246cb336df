"""Whether two databases are the same database: rows, large objects, sequences, schema, owners, privileges, settings.

One is recorded before the disaster, the other after the restore; what differs is told in lines that a person can read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tests.demo.aspects import (
    CONTENT,
    DATABASE_ASPECTS,
    LARGE_OBJECTS,
    SCHEMA_ASPECTS,
    SEQUENCE_VALUE,
    SEQUENCES,
    TABLES,
)

SHOWN = 160

#: What the text of a value depends on, and what the database's own settings would cut short.
_SESSION = {
    "search_path": "",
    "row_security": "off",
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "quote_all_identifiers": "off",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "0",
    "default_transaction_read_only": "off",
}


@dataclass(frozen=True)
class Record:
    """A database as it was at one moment: for each aspect, what was there and how it was."""

    aspects: Mapping[str, Mapping[str, str | None]]

    def count(self, aspect: str) -> int:
        """How many of an aspect there are, for people."""
        return len(self.aspects[aspect])


def record(dsn: str, database: str) -> Record:
    """Record a database, in one snapshot. `dsn` names a superuser, so that nothing is hidden from it."""
    with psycopg.connect(dsn, dbname=database) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        for name, value in _SESSION.items():
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        connection.commit()
        aspects = {
            name: _pairs(connection, name, query) for name, query in {**DATABASE_ASPECTS, **SCHEMA_ASPECTS}.items()
        }
        aspects["sequence"] = dict(_sequences(connection))
        aspects["large object"] = _pairs(connection, "large object", LARGE_OBJECTS)
        aspects["table"] = dict(_contents(connection))
    return Record(aspects)


def differences(before: Record, after: Record) -> list[str]:
    """What differs, a line each, the aspects in the order in which they were recorded; nothing when all is equal."""
    lines = []
    for aspect, was in before.aspects.items():
        now = after.aspects[aspect]
        if aspect in ("role", "membership"):
            # A server may know more roles than the database needs.
            now = {name: value for name, value in now.items() if name in was}
        for name in sorted(was.keys() | now.keys()):
            if name not in now:
                lines.append(f"{aspect} {name} is missing; it was: {_shortened(was[name])}")
            elif name not in was:
                lines.append(f"{aspect} {name} was not there; it is: {_shortened(now[name])}")
            elif was[name] != now[name]:
                first, second = _around_the_difference(was[name], now[name])
                lines.append(f"{aspect} {name} was: {first}; is: {second}")
    return lines


def _pairs(connection: psycopg.Connection, aspect: str, query: str) -> dict[str, str | None]:
    rows: list[tuple[str, str | None]] = connection.execute(query.encode()).fetchall()
    pairs = dict(rows)
    if len(pairs) != len(rows):
        raise AssertionError(f"the query for aspect {aspect!r} gives one name twice, and would hide what it describes")
    return pairs


def _contents(connection: psycopg.Connection) -> Iterator[tuple[str, str]]:
    for schema, table, name, populated in connection.execute(TABLES.encode()).fetchall():
        yield name, _one_text(connection, CONTENT, schema, table) if populated else "not populated"


def _sequences(connection: psycopg.Connection) -> Iterator[tuple[str, str]]:
    for schema, sequence, name, definition in connection.execute(SEQUENCES.encode()).fetchall():
        yield name, f"{definition}, {_one_text(connection, SEQUENCE_VALUE, schema, sequence)}"


def _one_text(connection: psycopg.Connection, query: str, schema: str, relation: str) -> str:
    row = connection.execute(sql.SQL(query).format(sql.Identifier(schema, relation))).fetchone()
    if row is None:
        raise AssertionError(f"{schema}.{relation} gives no row")
    return str(row[0])


def _around_the_difference(first: str | None, second: str | None) -> tuple[str, str]:
    """Both texts, cut to what surrounds the first character that differs."""
    a, b = first or "", second or ""
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    start = max(0, same - SHOWN // 2) if max(len(a), len(b)) > SHOWN else 0
    return tuple(  # type: ignore[return-value]
        "nothing" if text is None else ("…" if start else "") + _shortened(text[start:]) for text in (first, second)
    )


def _shortened(text: str | None) -> str:
    if text is None:
        return "nothing"
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")
