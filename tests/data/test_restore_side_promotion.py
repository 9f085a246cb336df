"""Giving the restored database its name while people want the old one, and taking the old one away.

What this alone proves: that a client which reconnects without pause loses, that whatever goes wrong leaves the old database
open, and that nothing is dropped but what carries this request's mark and the name it was given then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from resguardo.api.errors import AlreadyRestored, TargetBusy, TargetNotEmpty
from resguardo.api.request import OnExisting, Ownership
from resguardo.postgres import promote as promoting
from resguardo.postgres.connection import Server
from resguardo.postgres.database import create_database, drop_leftovers
from resguardo.postgres.mark import find_kept_aside, refuse_replay
from resguardo.postgres.previous import drop_previous
from resguardo.postgres.promote import leave_aside, promote, promotion_commands
from resguardo.postgres.target import marked_databases
from tests.data.restore_side import Dump, databases, make_dump, make_mark, plan_for, restore, wish
from tests.fixtures.postgres import ROLE_PASSWORD, PostgresServer

TABLE = ("CREATE TABLE t (a int)", "INSERT INTO t SELECT generate_series(1, 100)")
SOON = 20.0


@pytest.fixture
def dump(postgres_server: PostgresServer, server: Server, tmp_path: Path) -> Dump:
    return make_dump(server, postgres_server.fresh_database("source", *TABLE), tmp_path / "dump")


@pytest.fixture
def target(postgres_server: PostgresServer) -> str:
    """A database in use, with other rows than the dump's."""
    return postgres_server.fresh_database("target", "CREATE TABLE t (a int)", "INSERT INTO t VALUES (-1)")


@pytest.fixture
def limited(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Server]:
    role = postgres_server.make_role("restorer", attributes="LOGIN CREATEDB CREATEROLE")
    with Server(postgres_server.login_as(role, ROLE_PASSWORD), tmp_path) as opened:
        yield opened


def make_temporary(server: Server, dump: Dump, name: str, target: str) -> None:
    create_database(server, name, dump.census.database, make_mark(), target=target, deadline=time.monotonic() + SOON)


def allows_connections(postgres: PostgresServer, name: str) -> bool:
    return postgres.query(f"SELECT datallowconn FROM pg_database WHERE datname = '{name}'") == [(True,)]


@contextmanager
def hammering(postgres: PostgresServer, database: str, clients: int = 3) -> Iterator[list[int]]:
    """Clients that connect, ask, and connect again the moment they are thrown out. Gives what they were answered."""
    over = threading.Event()
    seen: list[int] = []

    def hammer() -> None:
        while not over.is_set():
            with suppress(psycopg.Error), postgres.connect(database) as connection:
                while not over.is_set():
                    row = connection.execute("SELECT min(a) FROM t").fetchone()
                    seen.append(row[0] if row else 0)

    threads = [threading.Thread(target=hammer) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.fault
def test_clients_that_reconnect_without_pause_get_the_restored_database(
    postgres_server: PostgresServer, server: Server, dump: Dump, target: str
) -> None:
    with hammering(postgres_server, target) as seen:
        restored = restore(server, dump, wish(target, on_existing=OnExisting.REPLACE))
        give_up = time.monotonic() + SOON
        while (not seen or seen[-1] != 1) and time.monotonic() < give_up:
            time.sleep(0.05)
    assert seen[0] == -1
    assert seen[-1] == 1
    assert postgres_server.query("SELECT a FROM t", database=restored.kept_as or "") == [(-1,)]


@pytest.mark.fault
def test_a_session_that_may_not_be_ended_keeps_the_old_database_and_lets_people_in_again(
    postgres_server: PostgresServer,
    limited: Server,
    dump: Dump,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(promoting, "PATIENCE_SECONDS", 1.0)
    target = postgres_server.fresh_database("busy", "CREATE TABLE t (a int)", owner=limited.login.username)
    there = databases(postgres_server)
    with postgres_server.connect(target) as superuser, hammering(postgres_server, target, clients=1) as seen:
        with pytest.raises(TargetBusy, match=r"may not end the session of pid .*role postgres"):
            restore(limited, dump, wish(target, on_existing=OnExisting.REPLACE, ownership=Ownership.ROLE))
        assert superuser.execute("SELECT 1").fetchone() == (1,)
        postgres_server.connect(target).close()
    assert seen
    assert databases(postgres_server) == there


@pytest.mark.fault
def test_a_promotion_that_is_killed_in_the_middle_changes_nothing_and_keeps_nobody_out(
    postgres_server: PostgresServer, server: Server, dump: Dump, target: str
) -> None:
    name = f"{target}_t"
    make_temporary(server, dump, name, target)
    # Both renames are made and not committed when the session ends, as it does when its process is killed.
    with postgres_server.connect() as killed, killed.transaction(force_rollback=True):
        promotion = promoting._Promotion(server, name, target, f"{target}_k", make_mark(), time.monotonic() + SOON)
        promotion._rename(killed)
        assert killed.execute("SELECT count(*) FROM pg_database WHERE datname = %s", [f"{target}_k"]).fetchone() == (1,)
    assert {name, target} < databases(postgres_server)
    assert allows_connections(postgres_server, target)
    assert postgres_server.query("SELECT a FROM t", database=target) == [(-1,)]
    assert target not in [found.name for found in marked_databases(server, target)]
    kept = promote(server, name, target, keep_as=f"{target}_k", mark=make_mark(), deadline=time.monotonic() + SOON)
    assert kept == f"{target}_k"


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("SELECT pg_create_logical_replication_slot('slot_{0}', 'test_decoding')", "replication slot slot_"),
        ("BEGIN; CREATE TABLE p (a int); PREPARE TRANSACTION 'prepared {0}'", "prepared transaction prepared "),
        (
            "CREATE SUBSCRIPTION sub_{0} CONNECTION 'host=192.0.2.1 dbname=x' PUBLICATION p WITH (connect = false)",
            "subscription sub_",
        ),
    ],
    ids=["slot", "prepared transaction", "subscription"],
)
def test_what_hangs_on_the_old_database_is_named_and_stops_replace(
    postgres_server: PostgresServer, server: Server, dump: Dump, statement: str, named: str
) -> None:
    target = postgres_server.fresh_database("hung", "CREATE TABLE t (a int)")
    postgres_server.execute(statement.format(target), database=target)
    there = databases(postgres_server)
    try:
        with pytest.raises(TargetBusy, match=named):
            restore(server, dump, wish(target, on_existing=OnExisting.REPLACE))
        # And where it appears only after the plan was made:
        name = f"{target}_t"
        make_temporary(server, dump, name, target)
        with pytest.raises(TargetBusy, match=named):
            promote(server, name, target, keep_as=f"{target}_k", mark=make_mark(), deadline=time.monotonic() + SOON)
        assert databases(postgres_server) == there | {name}
        assert allows_connections(postgres_server, target)
    finally:
        if named.startswith("prepared"):
            postgres_server.execute(f"ROLLBACK PREPARED 'prepared {target}'", database=target)
        elif named.startswith("replication"):
            postgres_server.execute(f"SELECT pg_drop_replication_slot('slot_{target}')")


def test_refuse_refuses_a_database_that_holds_anything(
    postgres_server: PostgresServer, server: Server, dump: Dump, target: str
) -> None:
    with pytest.raises(TargetNotEmpty, match="holds 1 tables"):
        restore(server, dump, wish(target))
    assert postgres_server.query("SELECT a FROM t", database=target) == [(-1,)]


def test_an_empty_database_is_put_aside_even_with_refuse(
    postgres_server: PostgresServer, server: Server, dump: Dump
) -> None:
    target = postgres_server.fresh_database("empty", "CREATE EXTENSION pg_trgm")
    restored = restore(server, dump, wish(target))
    assert restored.kept_as in databases(postgres_server)
    assert postgres_server.query("SELECT count(*) FROM t", database=target) == [(100,)]


def test_a_database_that_took_the_name_meanwhile_stays(
    postgres_server: PostgresServer, server: Server, dump: Dump, target: str
) -> None:
    name = f"{target}_t"
    make_temporary(server, dump, name, target)
    with pytest.raises(TargetNotEmpty, match="since the restore began"):
        promote(server, name, target, keep_as=None, mark=make_mark(), deadline=time.monotonic() + SOON)
    assert postgres_server.query("SELECT a FROM t", database=target) == [(-1,)]


def test_a_request_is_carried_out_once(
    postgres_server: PostgresServer, server: Server, dump: Dump, target: str
) -> None:
    restore(
        server, dump, wish(target, on_existing=OnExisting.REPLACE), mark=make_mark(target, fingerprint=f"f{target}")
    )
    marked = marked_databases(server, target)
    for uid, fingerprint in ((target, "other"), ("other", f"f{target}")):
        with pytest.raises(AlreadyRestored, match=target):
            refuse_replay(marked, target=target, uid=uid, fingerprint=fingerprint)
    refuse_replay(marked, target=target, uid="other", fingerprint="other")


def test_the_old_database_is_dropped_once_and_only_it(
    postgres_server: PostgresServer, limited: Server, dump: Dump
) -> None:
    owner = postgres_server.make_role("owner")
    target = postgres_server.fresh_database("old", "CREATE TABLE t (a int)", owner=owner)
    mark = make_mark(f"uid {target}", fingerprint=f"f{target}")
    restored = restore(limited, dump, wish(target, on_existing=OnExisting.REPLACE, ownership=Ownership.ROLE), mark=mark)
    there = databases(postgres_server)

    assert drop_previous(limited, target=target, uid="another", fingerprint="another") == []
    with postgres_server.connect(restored.kept_as or ""), pytest.raises(TargetBusy, match="somebody is in it"):
        drop_previous(limited, target=target, uid=mark.uid, fingerprint=mark.fingerprint)
    assert databases(postgres_server) == there

    assert drop_previous(limited, target=target, uid=mark.uid, fingerprint=mark.fingerprint) == [restored.kept_as]
    assert databases(postgres_server) == there - {restored.kept_as}
    assert drop_previous(limited, target=target, uid=mark.uid, fingerprint=mark.fingerprint) == []
    assert not postgres_server.query(f"SELECT FROM pg_auth_members WHERE member = '{limited.login.username}'::regrole")


def test_an_old_database_that_somebody_took_back_is_nobodys_to_drop(
    postgres_server: PostgresServer, server: Server, dump: Dump, target: str
) -> None:
    mark = make_mark(f"uid {target}", fingerprint=f"f{target}")
    restored = restore(server, dump, wish(target, on_existing=OnExisting.REPLACE), mark=mark)
    postgres_server.execute(
        f'ALTER DATABASE "{target}" RENAME TO "{target}_bad"',
        f'ALTER DATABASE "{restored.kept_as}" RENAME TO "{target}"',
    )
    assert (
        find_kept_aside(marked_databases(server, target), target=target, uid=mark.uid, fingerprint=mark.fingerprint)
        == []
    )
    assert drop_previous(server, target=target, uid=mark.uid, fingerprint=mark.fingerprint) == []
    assert postgres_server.query("SELECT a FROM t", database=target) == [(-1,)]


def test_what_an_interrupted_run_left_is_dropped_by_the_same_request_alone_and_not_while_it_works(
    postgres_server: PostgresServer, server: Server, dump: Dump, target: str
) -> None:
    mark = make_mark(f"uid {target}", fingerprint=f"f{target}")
    name = f"{target}_left"
    create_database(server, name, dump.census.database, mark, target=target, deadline=time.monotonic() + SOON)
    marked = marked_databases(server, target)

    for uid, fingerprint in ((mark.uid, "other"), ("other", mark.fingerprint), ("", mark.fingerprint)):
        assert drop_leftovers(server, marked, target=target, uid=uid, fingerprint=fingerprint) == []
    with postgres_server.connect(name), pytest.raises(TargetBusy, match="another run of this request"):
        drop_leftovers(server, marked, target=target, uid=mark.uid, fingerprint=mark.fingerprint)
    assert drop_leftovers(server, marked, target=target, uid=mark.uid, fingerprint=mark.fingerprint) == [name]
    assert name not in databases(postgres_server)


def test_a_database_left_aside_is_finished_and_the_commands_promote_it(
    postgres_server: PostgresServer, server: Server, dump: Dump, target: str
) -> None:
    mark = make_mark(f"uid {target}", fingerprint=f"f{target}")
    name, kept = f'{target} "l\'x"', f"{target} \\kept"
    create_database(server, name, dump.census.database, mark, target=target, deadline=time.monotonic() + SOON)
    leave_aside(server, name, mark=mark, target=target)
    marked = marked_databases(server, target)
    assert drop_leftovers(server, marked, target=target, uid=mark.uid, fingerprint=mark.fingerprint) == []
    with pytest.raises(AlreadyRestored, match="stands as"):
        refuse_replay(marked, target=target, uid=mark.uid, fingerprint=mark.fingerprint)

    with postgres_server.connect(target) as somebody:
        postgres_server.execute(*promotion_commands(name, target, keep_as=kept).splitlines())
        with pytest.raises(psycopg.OperationalError):
            somebody.execute("SELECT 1")
    assert kept in databases(postgres_server)
    assert name not in databases(postgres_server)
    assert postgres_server.query("SELECT to_regclass('t')", database=target) == [(None,)]


def test_the_maintenance_database_itself_can_be_the_target(
    postgres_server: PostgresServer, server: Server, dump: Dump
) -> None:
    plan = plan_for(server, dump, wish("postgres", on_existing=OnExisting.REPLACE))
    assert plan.blockers == ()
    assert plan.replaces
    assert plan_for(server, dump, wish("template1", on_existing=OnExisting.REPLACE)).blockers != ()
