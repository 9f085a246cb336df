"""Archives that are not whole, and pg_restore failing on real servers: what was there is untouched, nothing is left over.

The archive's contents as read here are compared with `pg_restore --list`, line by line, which only the real tool can prove.
"""

from __future__ import annotations

import io
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from resguardo.api.census import DatabaseSetting
from resguardo.api.errors import DeadlineExceeded, ObjectCorrupt, RestoreFailed
from resguardo.api.request import CheckStatus, OnExisting
from resguardo.postgres.connection import Server
from resguardo.postgres.contents import read_contents
from resguardo.postgres.load import load, to_sql
from resguardo.postgres.run import tool
from resguardo.postgres.verify import verify
from resguardo.rules.load_stages import load_stages
from tests.data.restore_side import Dump, databases, make_dump, plan_for, restore, wish
from tests.fixtures.postgres import PostgresServer

AWKWARD = (
    'CREATE TABLE "a b\nc%s ""q"" é" (x int)',
    'INSERT INTO "a b\nc%s ""q"" é" SELECT generate_series(1, 10)',
    "CREATE TABLE wide (id int PRIMARY KEY, x text)",
    "INSERT INTO wide SELECT n, repeat(md5(n::text), 50) FROM generate_series(1, 3000) n",
    "CREATE VIEW v AS SELECT * FROM wide",
    "SELECT lo_from_bytea(0, 'x')",
    "CREATE PUBLICATION p FOR TABLE wide",
    "CREATE TABLE narrow (id int REFERENCES wide)",
    "INSERT INTO narrow SELECT generate_series(1, 1000)",
)
SOON = 60.0

pytestmark = pytest.mark.fault


@pytest.fixture
def dump(postgres_server: PostgresServer, server: Server, tmp_path: Path) -> Dump:
    return make_dump(server, postgres_server.fresh_database("source", *AWKWARD), tmp_path / "dump")


@pytest.fixture
def target(postgres_server: PostgresServer) -> str:
    return postgres_server.fresh_database("target", "CREATE TABLE t (a int)", "INSERT INTO t VALUES (-1)")


def test_the_contents_are_those_that_pg_restore_lists(dump: Dump) -> None:
    listed = subprocess.run(
        [tool("pg_restore"), "--list", str(dump.path)], check=True, capture_output=True, timeout=SOON
    )
    lines = [line for line in listed.stdout.decode().splitlines() if line and not line.startswith(";")]

    def plain(text: str) -> str:
        return re.sub(r"[\n\r]", " ", text)

    entries = read_contents(dump.chunks(7), time.monotonic() + SOON).entries
    ours = [
        f"{entry.dump_id}; {entry.catalog_oid} {entry.oid} {entry.description} {plain(entry.schema) or '-'} "
        f"{plain(entry.tag)} {plain(entry.owner)}"
        for entry in entries
        if entry.description not in ("ENCODING", "STDSTRINGS", "SEARCHPATH")
    ]
    # --list shows no database, unless it is to be created.
    assert [line for line in ours if " DATABASE" not in line] == [line for line in lines if " DATABASE " not in line]
    assert any("\n" in entry.tag for entry in entries)


def test_only_the_beginning_is_read(dump: Dump) -> None:
    taken = 0

    def counted() -> Iterator[bytes]:
        nonlocal taken
        for chunk in dump.chunks(4096):
            taken += len(chunk)
            yield chunk

    read_contents(counted(), time.monotonic() + SOON)
    assert taken < dump.path.stat().st_size / 4


@pytest.mark.parametrize("kept_bytes", [0, 3, 200, 2000], ids=lambda count: f"{count} bytes")
def test_contents_that_end_early_are_refused(dump: Dump, kept_bytes: int) -> None:
    with pytest.raises(RestoreFailed, match="no archive"):
        read_contents(iter([dump.path.read_bytes()[:kept_bytes]]), time.monotonic() + SOON)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.999])
def test_a_truncated_archive_leaves_the_target_untouched_and_nothing_behind(
    postgres_server: PostgresServer, server: Server, dump: Dump, target: str, share: float
) -> None:
    content = dump.path.read_bytes()
    there = databases(postgres_server)
    with pytest.raises(RestoreFailed, match="end of file"):
        restore(
            server,
            dump,
            wish(target, on_existing=OnExisting.REPLACE),
            chunks=iter([content[: int(len(content) * share)]]),
        )
    assert databases(postgres_server) == there
    assert postgres_server.query("SELECT a FROM t", database=target) == [(-1,)]


def test_an_error_of_the_source_is_the_error_of_the_restore(
    postgres_server: PostgresServer, server: Server, dump: Dump, target: str
) -> None:
    def broken() -> Iterator[bytes]:
        for number, chunk in enumerate(dump.chunks(4096)):
            if number == 20:
                raise ObjectCorrupt("block 3 is not what was written")
            yield chunk

    there = databases(postgres_server)
    with pytest.raises(ObjectCorrupt, match="block 3"):
        restore(server, dump, wish(target, on_existing=OnExisting.REPLACE), chunks=broken())
    assert databases(postgres_server) == there


def test_an_error_after_the_last_byte_that_pg_restore_wants_counts_too(
    server: Server, dump: Dump, target: str, postgres_server: PostgresServer
) -> None:
    def late() -> Iterator[bytes]:
        yield from dump.chunks()
        yield b"\0" * 1_000_000
        raise ObjectCorrupt("the last block is not what was written")

    with pytest.raises(ObjectCorrupt, match="last block"):
        restore(server, dump, wish(target, on_existing=OnExisting.REPLACE), chunks=late())
    assert postgres_server.query("SELECT a FROM t", database=target) == [(-1,)]


def test_a_statement_that_fails_is_told_in_the_servers_words(
    postgres_server: PostgresServer, server: Server, dump: Dump
) -> None:
    taken = postgres_server.fresh_database("taken", "CREATE TABLE wide (a int)")
    plan = plan_for(server, dump, wish(postgres_server.new_name("new")))
    with pytest.raises(RestoreFailed, match='relation "wide" already exists'):
        load(server, taken, dump.chunks(), plan, time.monotonic() + SOON)


def test_a_source_that_stalls_ends_at_the_deadline(postgres_server: PostgresServer, server: Server, dump: Dump) -> None:
    def stalling() -> Iterator[bytes]:
        for number, chunk in enumerate(dump.chunks(4096)):
            if number == 10:
                time.sleep(3)
            yield chunk

    empty = postgres_server.fresh_database("empty")
    plan = plan_for(server, dump, wish(postgres_server.new_name("new")))
    with pytest.raises(DeadlineExceeded):
        load(server, empty, stalling(), plan, time.monotonic() + 1)


def test_entries_are_left_out_from_a_stream_that_cannot_seek(
    postgres_server: PostgresServer, server: Server, dump: Dump
) -> None:
    contents = read_contents(dump.chunks(), time.monotonic() + SOON)
    left_out = {
        entry.dump_id
        for entry in contents.entries
        if str(entry) == "TABLE DATA public.wide" or "FK" in entry.description
    }
    plan = plan_for(server, dump, wish(postgres_server.new_name("new")))
    empty = postgres_server.fresh_database("empty")
    load(
        server,
        empty,
        dump.chunks(1000),
        replace(plan, stages=load_stages(contents.entries, left_out=left_out)),
        time.monotonic() + SOON,
    )
    assert postgres_server.query(
        "SELECT (SELECT count(*) FROM wide), (SELECT count(*) FROM narrow), (SELECT count(*) FROM pg_largeobject_metadata)",
        database=empty,
    ) == [(0, 1000, 1)]


def test_what_fails_after_the_data_is_told_in_pg_restores_words(
    postgres_server: PostgresServer, server: Server, dump: Dump
) -> None:
    contents = read_contents(dump.chunks(), time.monotonic() + SOON)
    orphaning = {entry.dump_id for entry in contents.entries if str(entry) == "TABLE DATA public.wide"}
    plan = plan_for(server, dump, wish(postgres_server.new_name("new")))
    plan = replace(plan, stages=load_stages(contents.entries, left_out=orphaning))
    empty = postgres_server.fresh_database("empty")
    with pytest.raises(RestoreFailed, match=r"untouched.*foreign key"):
        load(server, empty, dump.chunks(), plan, time.monotonic() + SOON)


def test_every_difference_from_the_census_is_found_and_named(
    postgres_server: PostgresServer, server: Server, dump: Dump
) -> None:
    name = dump.census.database.name
    assert verify(server, name, dump.census, deadline=time.monotonic() + SOON).is_equal
    tables = [
        table.model_copy(update={"rows": None}) if table.name == "narrow" else table for table in dump.census.tables
    ]
    census = dump.census.model_copy(update={"tables": tables})
    postgres_server.execute(
        "DELETE FROM narrow", "DELETE FROM wide WHERE id = 1", "CREATE TABLE extra (a int)", "SELECT lo_from_bytea(0, 'y')",
        'ALTER TABLE "a b\nc%s ""q"" é" RENAME TO renamed', database=name,
    )  # fmt: skip
    verification = verify(server, name, census, deadline=time.monotonic() + SOON)
    failed = {check.name: check.message for check in verification.checks if check.status is CheckStatus.FAILED}
    assert set(failed) == {"tables", "rows", "largeObjects", "schema"}
    assert "wide has 2999 rows and had 3000" in failed["rows"]
    assert "1 not compared: public.narrow" in failed["rows"]
    assert "extra is not in the census" in failed["tables"]
    assert "is missing" in failed["tables"]
    assert not verification.is_equal


def test_a_setting_that_the_server_refuses_is_listed_and_the_rest_applied(
    postgres_server: PostgresServer, server: Server, dump: Dump
) -> None:
    settings = [
        DatabaseSetting(name="no_such_setting", value="1"),
        DatabaseSetting(role="nobody here", name="work_mem", value="8MB"),
        DatabaseSetting(name="work_mem", value="16MB"),
    ]
    census = dump.census.model_copy(
        update={"database": dump.census.database.model_copy(update={"settings": settings, "connection_limit": 0})}
    )
    target = postgres_server.new_name("settings")
    restored = restore(server, Dump(dump.path, census), wish(target))
    assert sorted(sentence.split(":")[0] for sentence in restored.omitted) == [
        "setting no_such_setting",
        "setting work_mem of role nobody here",
    ]
    assert postgres_server.query("SHOW work_mem", database=target) == [("16MB",)]


def test_the_plain_sql_makes_the_same_database_by_psql(
    postgres_server: PostgresServer, server: Server, dump: Dump, tmp_path: Path
) -> None:
    with (tmp_path / "plain.sql").open("w+b") as output:
        to_sql(dump.chunks(), output, deadline=time.monotonic() + SOON, scratch=tmp_path)
    empty = postgres_server.fresh_database("by_psql")
    subprocess.run(
        [tool("psql"), "-qX", "--set=ON_ERROR_STOP=1", f"--file={tmp_path / 'plain.sql'}", server.conninfo(empty)],
        check=True, timeout=SOON, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert verify(server, empty, dump.census, deadline=time.monotonic() + SOON).is_equal


def test_plain_sql_of_half_an_archive_is_an_error(dump: Dump, tmp_path: Path) -> None:
    content = dump.path.read_bytes()
    with pytest.raises(RestoreFailed, match="exit status 1"):
        to_sql(iter([content[: len(content) // 2]]), io.BytesIO(), deadline=time.monotonic() + SOON, scratch=tmp_path)

    def broken() -> Iterator[bytes]:
        yield content[:100_000]
        raise ObjectCorrupt("block 1 is not what was written")

    with pytest.raises(ObjectCorrupt):
        to_sql(broken(), io.BytesIO(), deadline=time.monotonic() + SOON, scratch=tmp_path)


def test_a_database_that_has_gone_is_told_in_the_servers_words(
    server: Server, dump: Dump, postgres_server: PostgresServer
) -> None:
    plan = plan_for(server, dump, wish(postgres_server.new_name("new")))
    with pytest.raises(RestoreFailed, match='"no such database" does not exist'):
        load(server, "no such database", dump.chunks(), plan, time.monotonic() + SOON)
