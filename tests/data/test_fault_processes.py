"""Processes and sessions are killed under a backup or a restore; the server is restarted; the next run works again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from resguardo.api.errors import LockTimeout, ResguardoError, SchemaChanging
from resguardo.jobs import backup
from resguardo.postgres.census import census_beside
from tests.fixtures.place import Place, wait_for
from tests.fixtures.postgres import start_postgres

pytestmark = pytest.mark.fault

Harm = Callable[[subprocess.Popen[bytes], Place], None]


def children(pid: int) -> dict[int, str]:
    """The descendants of a process of ours, by id, with their names."""
    found: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            name, rest = (entry / "stat").read_text().rsplit(")", 1)
            if int(rest.split()[1]) == pid:
                found |= {int(entry.name): name.split("(", 1)[1], **children(int(entry.name))}
    return found


def kill_child(name: str) -> Harm:
    def kill(process: subprocess.Popen[bytes], _place: Place) -> None:
        (pid,) = [pid for pid, found in children(process.pid).items() if found == name]
        os.kill(pid, signal.SIGKILL)

    return kill


def end_sessions(where: str) -> Harm:
    def end(_process: subprocess.Popen[bytes], place: Place) -> None:
        assert place.postgres.query(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'resguardo' AND {where}"
        )

    return end


def restart_at_once(_process: subprocess.Popen[bytes], place: Place) -> None:
    place.postgres.restart()


def kill_everything(process: subprocess.Popen[bytes]) -> None:
    """What happens to a pod whose node is lost, or that is out of memory: nobody has a moment to clean up."""
    everybody = [process.pid, *children(process.pid)]
    for pid in everybody:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture
def own_server(place: Place) -> Iterator[Place]:
    """The place on a server of its own, which may be restarted."""
    server = start_postgres(with_tls=False)
    place.postgres = server
    place.database = server.fresh_database("portal", "CREATE TABLE peticoes AS SELECT 1 AS id, 'x'::text AS texto")
    place.credentials(database__username=server.make_role("copia", attributes="LOGIN SUPERUSER"))
    yield place
    server.stop()


@pytest.mark.parametrize(
    ("harm", "reasons"),
    [
        pytest.param(kill_child("pg_dump"), {"DumpFailed"}, id="pg_dump"),
        pytest.param(end_sessions("query LIKE 'COPY %'"), {"DumpFailed"}, id="pg_dump's session"),
        pytest.param(
            end_sessions("query NOT LIKE 'COPY %'"),
            {"CensusFailed", "DumpFailed"},
            id="the session that holds the locks",
        ),
    ],
)
def test_a_backup_of_which_a_part_is_killed(place: Place, harm: Harm, reasons: set[str]) -> None:
    place.grow()
    process = place.start("backup", "-f", place.policy())
    place.wait_for_copying()
    harm(process, place)
    _, errors = process.communicate()
    assert place.failed(process, errors).reason in reasons
    place.assert_nothing_is_left()
    place.run("backup", "-f", place.policy())


@pytest.mark.parametrize(
    ("harm", "reasons"),
    [
        pytest.param(kill_child("pg_restore"), {"RestoreFailed"}, id="pg_restore"),
        pytest.param(end_sessions("query LIKE 'COPY %'"), {"RestoreFailed"}, id="pg_restore's session"),
    ],
)
def test_a_restore_of_which_a_part_is_killed(place: Place, harm: Harm, reasons: set[str]) -> None:
    place.grow()
    place.run("backup", "-f", place.policy())
    place.postgres.drop_database(place.database)
    before, memberships = place.databases(), place.memberships()
    process = place.start("restore", "-f", place.request("killed"), "-f", place.policy())
    place.wait_for_copying()
    harm(process, place)
    _, errors = process.communicate()
    assert place.failed(process, errors).reason in reasons
    assert (place.databases(), place.memberships()) == (before, memberships)
    wait_for(lambda: not place.sessions())
    report, _, _ = place.run("restore", "-f", place.request("killed"), "-f", place.policy())
    assert report.reason == "Restored"


def test_a_server_that_is_restarted_in_the_middle_of_a_backup(own_server: Place) -> None:
    place = own_server
    place.grow()
    process = place.start("backup", "-f", place.policy())
    place.wait_for_copying()
    restart_at_once(process, place)
    _, errors = process.communicate()
    assert place.failed(process, errors).reason in {"DumpFailed", "CensusFailed", "DatabaseUnreachable"}
    place.assert_nothing_is_left()
    place.run("backup", "-f", place.policy())


def test_a_server_that_is_restarted_in_the_middle_of_a_restore(own_server: Place) -> None:
    place = own_server
    place.grow()
    place.run("backup", "-f", place.policy())
    place.postgres.drop_database(place.database)
    before = place.databases()
    process = place.start("restore", "-f", place.request("restarted"), "-f", place.policy())
    place.wait_for_copying()
    restart_at_once(process, place)
    _, errors = process.communicate()
    assert place.failed(process, errors).reason in {"RestoreFailed", "DatabaseUnreachable"}
    assert place.databases() == before
    report, _, _ = place.run("restore", "-f", place.request("restarted"), "-f", place.policy())
    assert report.reason == "Restored"


def test_a_backup_whose_processes_are_all_killed_at_once_leaves_no_backup(place: Place) -> None:
    place.grow()
    process = place.start("backup", "-f", place.policy())
    place.wait_for_copying()
    kill_everything(process)
    assert place.backup_keys() == []
    wait_for(lambda: not place.sessions())
    report, _, _ = place.run("backup", "-f", place.policy())
    assert report.inventory is not None
    assert report.inventory.backups == 1


def test_a_restore_whose_processes_are_all_killed_at_once_is_carried_out_by_the_next_run(place: Place) -> None:
    place.grow()
    place.run("backup", "-f", place.policy())
    place.postgres.drop_database(place.database)
    before = place.databases()
    process = place.start("restore", "-f", place.request("killed"), "-f", place.policy())
    place.wait_for_copying()
    kill_everything(process)
    wait_for(lambda: not place.sessions())
    assert len(place.databases() - before) == 1, "half of a database, under a name that nobody uses"
    report, _, _ = place.run("restore", "-f", place.request("killed"), "-f", place.policy())
    assert report.reason == "Restored"
    assert place.databases() == before | {place.database}


def test_a_disk_without_room_is_told_with_the_file(place: Place) -> None:
    full = place.folder / "full"
    full.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=2", "tmpfs", str(full)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"a full file system needs mount: {mounted.stderr.decode()}")
    try:
        place.environment["TMPDIR"] = str(full)
        for report in (
            place.fail("check", "-f", place.policy()),
            place.fail("backup", "-f", place.policy()),
        ):
            assert report.reason == "DiskFull"
            assert str(full) in report.message
        place.assert_nothing_is_left()
    finally:
        subprocess.run(["umount", str(full)], check=True)
    place.run("backup", "-f", place.policy())


@pytest.fixture
def impatient(place: Place) -> Place:
    """A role and a database on which every timeout there is would end a session at once."""
    place.grow()
    timeouts = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"]
    if place.postgres.query("SHOW server_version_num")[0][0] >= "170000":
        timeouts.append("transaction_timeout")
    for name in timeouts:
        place.postgres.execute(
            f"ALTER ROLE {place.role} SET {name} = '20ms'",
            f"ALTER DATABASE \"{place.database}\" SET {name} = '20ms'",
        )
    return place


def test_timeouts_of_the_role_and_the_database_end_neither_a_backup_nor_a_restore(impatient: Place) -> None:
    place = impatient
    place.run("backup", "-f", place.policy())
    report, _, _ = place.run("restore", "-f", place.request("replaced", onExisting="Replace"), "-f", place.policy())
    assert report.reason == "Restored"
    wait_for(lambda: not place.sessions())
    (settings,) = place.postgres.query(
        "SELECT cardinality(setconfig) FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase"
        f" WHERE setrole = 0 AND d.datname = '{place.database.replace(chr(39), chr(39) * 2)}'"
    )
    assert settings[0] >= 4, "the restored database has them again"


class TestSomebodyElsesDdl:
    def test_one_that_holds_a_lock_for_ever_is_named(self, place: Place) -> None:
        with place.postgres.connect(place.database, application_name="migration 42") as holder:
            holder.execute("BEGIN; ALTER TABLE peticoes ADD j int")
            report = place.fail("backup", "-f", place.policy(timeout="15s"))
            assert report.reason == "LockTimeout"
            assert "peticoes" in report.message
            assert "migration 42" in report.message
            place.assert_nothing_is_left()
            holder.execute("ROLLBACK")
        place.run("backup", "-f", place.policy())

    def test_one_that_comes_between_the_snapshot_and_the_dump_is_let_through_and_the_backup_begins_again(
        self, place: Place
    ) -> None:
        """pg_dump waits behind an ALTER TABLE, which waits for our snapshot's locks: one of the two has to give way."""
        names = [f"t{number}" for number in range(30)]
        place.postgres.execute(*(f"CREATE TABLE {name} AS SELECT 7 AS i" for name in names), database=place.database)
        locked = "SELECT FROM pg_locks WHERE relation = 't29'::regclass AND mode = 'AccessShareLock' AND granted"
        with place.postgres.connect(place.database) as connection:
            for number in range(5):  # pg_dump may be quicker than the ALTER TABLE, once in a while
                process = place.start("backup", "-f", place.policy(timeout="60s"))
                wait_for(lambda: connection.execute(locked.encode()).fetchall())
                connection.execute(f"ALTER TABLE t7 ADD j{number} int DEFAULT 3".encode())
                _, errors = process.communicate()
                assert process.returncode == 0, errors.decode()
                assert place.report().succeeded
                if b"beginning again" in errors:
                    return
        pytest.fail("no ALTER TABLE came in between")

    def test_a_census_that_gives_up_when_the_dump_is_whole_begins_again_under_another_name(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The last dump is another one, smaller: what stands in the bucket of the others must not stay or be mixed in."""
        place.grow_noise()
        in_the_way: list[ResguardoError] = [LockTimeout("somebody is in the way"), SchemaChanging("again")]

        @contextmanager
        def giving_up(*args: Any, **options: Any) -> Iterator[Future[Any]]:
            with census_beside(*args, **options) as future:
                if not in_the_way:
                    yield future
                    return
                future.result()
                place.postgres.execute(
                    f"CREATE TABLE later_{len(in_the_way)} (i int)", "DELETE FROM peticoes", database=place.database
                )
                failed: Future[Any] = Future()
                failed.set_exception(in_the_way.pop())
                yield failed

        monkeypatch.setattr(backup, "census_beside", giving_up)
        monkeypatch.setattr(backup, "PAUSE_SECONDS", 0.1)
        report = place.back_up_here().report
        assert report.succeeded, report.message
        assert in_the_way == []
        assert report.inventory is not None
        assert (report.inventory.backups, place.uploads()) == (1, [])
        dumps = {Path(key).name for key in place.backup_keys() if "/dump" in key}
        assert dumps == {"dump-3.zst", "dump-3.zst.blocks"}
        place.postgres.drop_database(place.database)
        report, _, _ = place.run("restore", "-f", place.request("second"), "-f", place.policy())
        assert report.reason == "Restored"
        assert place.postgres.query("SELECT count(*) FROM peticoes, later_1, later_2", database=place.database) == [
            (0,)
        ]
