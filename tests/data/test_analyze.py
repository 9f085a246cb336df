"""Statistics after a restore: of everything that ANALYZE without names would take, beside what else is done."""

from __future__ import annotations

import time

import pytest

from resguardo.api.errors import DeadlineExceeded
from resguardo.postgres.analyze import analyzing
from resguardo.postgres.connection import Server
from tests.fixtures.postgres import PostgresServer

TABLES = (
    "CREATE TABLE plain AS SELECT n FROM generate_series(1, 100) n",
    'CREATE TABLE "a b\n""%s ção" AS SELECT n FROM generate_series(1, 100) n',
    "CREATE MATERIALIZED VIEW seen AS SELECT n FROM plain",
    "CREATE TABLE parent (n int) PARTITION BY RANGE (n)",
    "CREATE TABLE middle PARTITION OF parent FOR VALUES FROM (0) TO (1000) PARTITION BY RANGE (n)",
    "CREATE TABLE leaf PARTITION OF middle FOR VALUES FROM (0) TO (500)",
    "INSERT INTO parent SELECT generate_series(1, 100)",
)
STATISTICS = "SELECT tablename, inherited FROM pg_stats WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2"


def test_every_table_partition_and_view_has_statistics(postgres_server: PostgresServer, server: Server) -> None:
    database = postgres_server.fresh_database("db", *TABLES)
    wanted_like = postgres_server.fresh_database("like", *TABLES, "ANALYZE")
    with analyzing(server, database, time.monotonic() + 60):
        pass
    found = postgres_server.query(STATISTICS, database=database)
    assert ("parent", True) in found
    assert ("leaf", False) in found
    assert found == postgres_server.query(STATISTICS, database=wanted_like)


def test_an_error_of_the_block_ends_it(postgres_server: PostgresServer, server: Server) -> None:
    database = postgres_server.fresh_database("db", *TABLES)
    with postgres_server.connect(database) as other, other.transaction():
        other.execute("LOCK TABLE plain IN SHARE UPDATE EXCLUSIVE MODE")  # for which ANALYZE would wait for ever
        with pytest.raises(ValueError, match="of the block"), analyzing(server, database, time.monotonic() + 60):
            raise ValueError("of the block")


def test_it_ends_at_the_deadline(postgres_server: PostgresServer, server: Server) -> None:
    database = postgres_server.fresh_database("db", *TABLES)
    with postgres_server.connect(database) as other, other.transaction():
        other.execute("LOCK TABLE plain IN SHARE UPDATE EXCLUSIVE MODE")
        with (
            pytest.raises(DeadlineExceeded, match=f"analyzing database {database}"),
            analyzing(server, database, time.monotonic() + 1),
        ):
            pass
