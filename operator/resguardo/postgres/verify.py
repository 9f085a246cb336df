"""Compares a restored database with the census of its backup, table by table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import errors, sql

from resguardo.api.census import Census
from resguardo.api.report import cut_text
from resguardo.api.request import CheckStatus, RestoreCheck
from resguardo.postgres.connection import Server
from resguardo.postgres.fingerprint import is_comparable, schema_fingerprint
from resguardo.postgres.maintenance import bounded
from resguardo.postgres.properties import read_extensions
from resguardo.postgres.tables import Table, list_tables
from resguardo.rules.enumeration import enumerated

_MESSAGE_BYTES = 1000


@dataclass(frozen=True)
class Verification:
    """What was compared. A check that was skipped is no difference."""

    checks: tuple[RestoreCheck, ...]

    @property
    def is_equal(self) -> bool:
        """Whether no check found a difference."""
        return all(check.status is not CheckStatus.FAILED for check in self.checks)

    @property
    def differences(self) -> str:
        """What differs, in one sentence for each check that failed."""
        return "; ".join(check.message for check in self.checks if check.status is CheckStatus.FAILED)


def verify(server: Server, database: str, census: Census, *, deadline: datetime | float) -> Verification:
    """Compare tables, rows, large objects, extensions and the schema. Changes nothing and may be called again.

    Neither owners and privileges nor comments, publications, subscriptions, event triggers and labels are compared, so a
    plan may leave those out. Raises DeadlineExceeded.
    """
    with (
        server.connect(database) as connection,
        server.translating(database),
        bounded(connection, deadline, f"comparing {database} with the census"),
    ):
        tables = {(table.schema_name, table.name): table for table in list_tables(connection) if table.holds_rows}
        return Verification(
            (
                _compare_tables(tables, census),
                _compare_rows(connection, tables, census, deadline),
                _compare_large_objects(connection, census),
                _compare_extensions(connection, census),
                _compare_schema(connection, census),
            )
        )


def _check(name: str, status: CheckStatus, message: str) -> RestoreCheck:
    return RestoreCheck(name=name, status=status, message=cut_text(message, _MESSAGE_BYTES))


def _verdict(name: str, differences: list[str], good: str) -> RestoreCheck:
    if differences:
        return _check(name, CheckStatus.FAILED, f"{name}: {enumerated(differences)}")
    return _check(name, CheckStatus.PASSED, good)


def _compare_tables(tables: Mapping[tuple[str, str], Table], census: Census) -> RestoreCheck:
    wanted = {(table.schema_name, table.name) for table in census.tables}
    differences = [f"{'.'.join(key)} is missing" for key in sorted(wanted - tables.keys())]
    differences += [f"{'.'.join(key)} is not in the census" for key in sorted(tables.keys() - wanted)]
    return _verdict("tables", differences, f"all {len(wanted)} tables are there")


def _compare_rows(
    connection: psycopg.Connection[Any],
    tables: Mapping[tuple[str, str], Table],
    census: Census,
    deadline: datetime | float,
) -> RestoreCheck:
    differences, skipped, compared, rows = [], [], 0, 0
    for wanted in census.tables:
        table = tables.get((wanted.schema_name, wanted.name))
        if table is None:
            continue  # told by the comparison of tables
        count = None if wanted.rows is None else _count(connection, table, deadline)
        if wanted.rows is None or count is None:
            skipped.append(str(table))
        elif count != wanted.rows:
            differences.append(f"{table} has {count} rows and had {wanted.rows}")
        else:
            compared += 1
            rows += count
    left = f"; {len(skipped)} not compared: {enumerated(skipped)}" if skipped else ""
    if differences:
        return _check("rows", CheckStatus.FAILED, f"rows: {enumerated(differences)}{left}")
    if not compared and skipped:
        return _check("rows", CheckStatus.SKIPPED, f"no table was counted{left}")
    return _check("rows", CheckStatus.PASSED, f"{rows} rows in {compared} tables are those of the census{left}")


def _count(connection: psycopg.Connection[Any], table: Table, deadline: datetime | float) -> int | None:
    """A table's own rows; None where a row policy holds for this role too (FORCE ROW LEVEL SECURITY)."""
    query = sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {}").format(table.identifier)
    try:
        with bounded(connection, deadline, f"counting the rows of {table}"):
            row = connection.execute(query).fetchone()
    except errors.InsufficientPrivilege:
        return None
    return int(row[0]) if row else None


def _compare_large_objects(connection: psycopg.Connection[Any], census: Census) -> RestoreCheck:
    name = "largeObjects"
    if census.large_objects is None:
        return _check(name, CheckStatus.SKIPPED, "the census did not count large objects")
    row = connection.execute("SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata").fetchone()
    count = row[0] if row else None
    differences = [] if count == census.large_objects else [f"{count} large objects, and had {census.large_objects}"]
    return _verdict(name, differences, f"all {count} large objects are there")


def _compare_extensions(connection: psycopg.Connection[Any], census: Census) -> RestoreCheck:
    installed = {extension.name: extension for extension in read_extensions(connection)}
    missing = [f"{wanted.name} is missing" for wanted in census.extensions if wanted.name not in installed]
    return _verdict(
        "extensions", missing, f"all {len(census.extensions)} extensions are there{_newer(installed, census)}"
    )


def _newer(installed: Mapping[str, Any], census: Census) -> str:
    others = [
        f"{wanted.name} is {installed[wanted.name].version} and was {wanted.version}"
        for wanted in census.extensions
        if wanted.name in installed and installed[wanted.name].version != wanted.version
    ]
    return f"; {enumerated(others)}" if others else ""


def _compare_schema(connection: psycopg.Connection[Any], census: Census) -> RestoreCheck:
    then, here = census.server_version_num // 10000, connection.info.server_version // 10000
    if then != here:
        # Versions print expressions and views differently, so equal schemas have different fingerprints.
        return _check("schema", CheckStatus.SKIPPED, f"PostgreSQL {here} describes a schema otherwise than {then}")
    if not is_comparable(census.schema_fingerprint):
        return _check("schema", CheckStatus.SKIPPED, "the census has a fingerprint of another version of Resguardo")
    differences = list(_schema_differences(connection, census))
    return _verdict("schema", differences, "the schema is that of the census")


def _schema_differences(connection: psycopg.Connection[Any], census: Census) -> Iterator[str]:
    if schema_fingerprint(connection) != census.schema_fingerprint:
        yield "its fingerprint is not that of the census; compare by pg_dump --schema-only"
