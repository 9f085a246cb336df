"""A restore is stopped or killed at its worst moments: nothing is left on the server, or the next run removes it.

What this alone proves: that a CREATE DATABASE which works on though its client is gone leaves no database, and that
memberships which a killed restore had borrowed are given back.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from psycopg import sql

from resguardo.api.errors import Stopped
from resguardo.jobs.task import Interrupted
from resguardo.postgres import database as database_module
from resguardo.postgres.connection import Server
from resguardo.postgres.database import create_database, drop_unfinished, temporary_name
from tests.data.restore_side import databases, make_dump, make_mark
from tests.data.test_fault_processes import kill_everything
from tests.fixtures.place import Place, wait_for
from tests.fixtures.postgres import PostgresServer, programs_in, start_postgres

pytestmark = pytest.mark.fault


@pytest.fixture
def lost(place: Place) -> Place:
    """The place, whose database was backed up and is gone."""
    place.run("backup", "-f", place.policy())
    place.postgres.drop_database(place.database)
    return place


@contextmanager
def creation_frozen(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """A restore, of which the server's process that makes its database stands still until the block ends."""
    creating = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'CREATE DATABASE%'"
    found: list[Any] = []
    with place.postgres.connect() as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE pg_catalog.pg_database IN SHARE MODE")
        process = place.start("restore", "-f", place.request("cut"), "-f", place.policy())
        wait_for(lambda: found.extend(place.postgres.query(creating)) or found)
        ((pid,),) = found
        os.kill(pid, signal.SIGSTOP)
        holder.rollback()
    try:
        yield process
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_stop_while_the_server_makes_the_database_leaves_none(lost: Place) -> None:
    before = lost.databases()
    waiting = "SELECT FROM pg_stat_activity WHERE application_name = 'resguardo' AND query LIKE '%pg_advisory_lock%'"
    with creation_frozen(lost) as process:
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: process.poll() is not None or lost.postgres.query(waiting))
    _, errors = process.communicate()
    assert lost.failed(process, errors).reason == "Stopped"
    wait_for(lambda: not lost.sessions())
    assert lost.databases() == before
    report, _, _ = lost.run("restore", "-f", lost.request("cut"), "-f", lost.policy())
    assert report.reason == "Restored"


def test_what_the_server_makes_for_a_killed_restore_goes_with_the_next_run_of_whatever_request(lost: Place) -> None:
    before = lost.databases()
    with creation_frozen(lost) as process:
        kill_everything(process)
    wait_for(lambda: not lost.sessions())
    assert len(lost.databases() - before) == 1, "an empty database, which nobody can connect to"
    lost.run("restore", "-f", lost.request("another"), "-f", lost.policy())
    assert lost.databases() == before | {lost.database}


class StopsAtLine:
    """Interrupts, once, where the so-manieth line of a function begins: where a signal could have come."""

    def __init__(self, function: str, number: int) -> None:
        self.function, self.left, self.is_over = function, number, False

    def __call__(self, frame: FrameType, event: str, _argument: object) -> StopsAtLine | None:
        code = frame.f_code
        if self.is_over or code.co_filename != database_module.__file__ or code.co_name != self.function:
            return None
        if event == "line":
            self.left -= 1
            if not self.left:
                self.is_over = True
                raise Interrupted(Stopped("told to stop"))
        return self


@pytest.mark.parametrize("function", ["create_database", "_patiently"])
def test_a_stop_before_any_line_of_making_a_database_leaves_none(
    postgres_server: PostgresServer, server: Server, tmp_path: Path, function: str
) -> None:
    source = postgres_server.fresh_database("source")
    census = make_dump(server, source, tmp_path / "dump").census
    before, mark = databases(postgres_server), make_mark()
    for number in range(1, 100):
        name = temporary_name("stopped", f"{number:06x}")
        stops = StopsAtLine(function, number)
        sys.settrace(stops)
        try:
            create_database(server, name, census.database, mark, target="stopped", deadline=time.monotonic() + 60)
        except Interrupted:
            pass
        finally:
            sys.settrace(None)
        assert (name in databases(postgres_server)) or stops.is_over
        drop_unfinished(server, name, mark, target="stopped")
        assert databases(postgres_server) == before, f"stopped before line {number} of {function}"
        if not stops.is_over:
            break
    else:
        pytest.fail("no function of this project is that long")
    assert number > 3


class TestWithoutSuperuser:
    @pytest.fixture(params=[15, 17])
    def managed(self, request: pytest.FixtureRequest, place: Place) -> Iterator[Place]:
        """A server of its own whose role is no superuser, and a database lost whose table belongs to another role."""
        with programs_in(request.getfixturevalue("newer_programs")):
            server = start_postgres(major=request.param, with_tls=False)
            place.postgres, place.database = server, "portal"
            place.environment["RESGUARDO_POSTGRESQL"] = os.environ["RESGUARDO_POSTGRESQL"]
            server.execute("CREATE ROLE dona", "CREATE DATABASE portal OWNER dona")
            server.execute(
                "CREATE TABLE peticoes AS SELECT 1 AS id, 'x'::text AS texto",
                "ALTER TABLE peticoes OWNER TO dona",
                database="portal",
            )
            place.grow()
            place.credentials(database__username=server.make_role("copia", attributes="LOGIN SUPERUSER"))
            place.run("backup", "-f", place.policy())
            server.drop_database("portal")
            restorer = server.make_role("restaura", attributes="LOGIN CREATEDB CREATEROLE")
            if request.param >= 16:  # CREATEROLE alone admits nobody to a role that somebody else made
                server._execute_composed(
                    sql.SQL("GRANT dona TO {} WITH ADMIN OPTION, INHERIT FALSE, SET FALSE").format(
                        sql.Identifier(restorer)
                    )
                )
            place.credentials(database__username=restorer)
            yield place
            server.stop()

    @staticmethod
    def memberships(place: Place) -> list[Any]:
        return place.postgres.query("SELECT a::text FROM pg_auth_members a ORDER BY 1")

    def kill_one(self, place: Place, name: str, **target: Any) -> None:
        process = place.start("restore", "-f", place.request(name, **target), "-f", place.policy())
        copying = "SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COPY public.peticoes%'"
        wait_for(lambda: place.postgres.query(copying) or process.poll() is not None)
        kill_everything(process)
        wait_for(lambda: not place.sessions())

    def test_each_killed_restore_gives_back_by_its_next_run_what_no_other_needs(self, managed: Place) -> None:
        there, members = managed.databases(), len(self.memberships(managed))
        self.kill_one(managed, "first")
        assert len(self.memberships(managed)) == members + 1
        # It finds itself a member already; from the first one's view, it could be at work still.
        self.kill_one(managed, "second", database="outro")
        report, _, _ = managed.run("restore", "-f", managed.request("first"), "-f", managed.policy())
        assert report.reason == "Restored"
        assert len(self.memberships(managed)) == members + 1
        report, _, _ = managed.run("restore", "-f", managed.request("second", database="outro"), "-f", managed.policy())
        assert report.reason == "Restored"
        assert len(self.memberships(managed)) == members
        assert managed.databases() == there | {"portal", "outro"}

    def test_a_large_object_of_a_superuser_is_told_before_anything_is_loaded(self, managed: Place) -> None:
        restorer = (managed.folder / "credentials/database/username").read_text()
        managed.postgres.execute(
            "CREATE DATABASE portal OWNER dona", "CREATE ROLE guarda LOGIN SUPERUSER PASSWORD 'secret'"
        )
        managed.postgres.execute("SELECT lo_from_bytea(77777, 'x')", database="portal")
        managed.credentials(database__username="guarda")
        managed.prefix = "large-object"  # beside the fixture's backup, this one shrank and would be passed over
        managed.run("backup", "-f", managed.policy())
        managed.postgres.drop_database("portal")
        managed.credentials(database__username=restorer)
        before = managed.databases()
        report = managed.fail("restore", "-f", managed.request("blocked"), "-f", managed.policy())
        assert report.reason == "RestoreBlocked"
        assert re.search(r"to postgres, a superuser \(BLOB( METADATA)? 77777\)", report.message), report.message
        assert managed.databases() == before
        report, _, said = managed.run(
            "restore", "-f", managed.request("mine", ownership="Role"), "-f", managed.policy()
        )
        assert (report.reason, report.restore is not None) == ("Restored", True)
        left_out = report.restore.omitted if report.restore else []
        assert left_out
        assert [sentence for sentence in left_out if sentence not in said] == [], "the log has all of them"
