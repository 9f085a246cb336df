"""Which tables pg_dump locks and reads, as it decides in pg_dump.c: getTables, selectDumpableTable, processExtensionTables.

Left out are temporary tables, system schemas, and what belongs to an extension, its configuration tables aside
(pg_extension_config_dump). Foreign tables' rows stay with their server. Views and sequences are never locked.
"""

# ruff: noqa: S608 - these queries are put together from constants of this project
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

#: A condition on the schema `n`: one that pg_dump looks into.
USER_SCHEMA = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"


def is_extension_member(catalog: str, oid: str) -> str:
    """A condition in SQL: the object with this oid in this catalog belongs to an extension."""
    return (
        f"EXISTS (SELECT FROM pg_catalog.pg_depend m WHERE m.classid = 'pg_catalog.{catalog}'::pg_catalog.regclass"
        f" AND m.objid = {oid} AND m.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND m.deptype = 'e')"
    )


#: The relations that extensions declared as configuration, each with the condition on the rows that are dumped.
CONFIGURATION = """
    SELECT config.oid, config.condition
    FROM pg_catalog.pg_extension e,
         ROWS FROM (pg_catalog.unnest(e.extconfig), pg_catalog.unnest(e.extcondition)) AS config (oid, condition)
"""

_LOCKED = f"""
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relfilenode,
           pg_catalog.pg_relation_filenode(c.oid), configuration.condition,
           COALESCE(pg_catalog.pg_partition_root(c.oid)::pg_catalog.oid, c.oid)
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN ({CONFIGURATION}) configuration ON configuration.oid = c.oid
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {USER_SCHEMA}
      AND (configuration.oid IS NOT NULL OR NOT {is_extension_member("pg_class", "c.oid")})
    ORDER BY n.nspname, c.relname
"""


@dataclass(frozen=True)
class Table:
    """A table that a dump locks. `file_node` is what the transaction's snapshot says, `present_file_node` the truth now."""

    oid: int
    schema_name: str
    name: str
    #: r: holds rows; p: a partitioned table, whose partitions hold them.
    kind: str
    #: p: permanent, u: unlogged.
    persistence: str
    file_node: int
    present_file_node: int | None
    #: Of an extension's configuration table: the WHERE clause that chooses what is dumped, or ""; None for any other.
    condition: str | None
    #: Of a partition the oid of the partitioned table at the top; of any other table its own.
    root_oid: int

    @property
    def holds_rows(self) -> bool:
        """Whether pg_dump copies rows out of it."""
        return self.kind == "r"

    @property
    def identifier(self) -> sql.Identifier:
        """Schema and name, quoted."""
        return sql.Identifier(self.schema_name, self.name)

    def __str__(self) -> str:
        return f"{quote_name(self.schema_name)}.{quote_name(self.name)}"


def quote_name(name: str) -> str:
    """An identifier for a message or a statement that a person may copy: in double quotes unless it is plain."""
    if name.isascii() and name.isidentifier() and name == name.lower():
        return name
    return '"' + name.replace('"', '""') + '"'


def list_tables(connection: psycopg.Connection[Any]) -> list[Table]:
    """The tables that a dump of this database locks, by schema and name."""
    return [Table(*row) for row in connection.execute(_LOCKED.encode())]
