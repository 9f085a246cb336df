"""A database is replaced while a pooler in front of it connects again without pause."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.fixtures.place import Place, wait_for
from tests.fixtures.postgres import ROLE_PASSWORD
from tests.fixtures.servers import free_port

pytestmark = pytest.mark.fault

CLIENTS = 4
_PGBOUNCER = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"


@contextmanager
def pooler(place: Place, role: str) -> Iterator[str]:
    """A pgbouncer in front of the server; gives the connection string of the place's database through it."""
    folder = place.postgres.folder / f"pgbouncer-{free_port()}"
    folder.mkdir()
    port = free_port()
    (folder / "ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={place.postgres.port} user={role} password={ROLE_PASSWORD}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        "pool_mode = transaction\nmin_pool_size = 4\nserver_login_retry = 0\n"
    )
    process = subprocess.Popen(
        [_PGBOUNCER, "-q", str(folder / "ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **place.postgres.user,
    )
    conninfo = psycopg.conninfo.make_conninfo(
        host="127.0.0.1", port=port, user=role, dbname=place.database, sslmode="disable"
    )
    try:
        wait_for(lambda: answers(conninfo))
        yield conninfo
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def answers(conninfo: str) -> bool:
    try:
        psycopg.connect(conninfo, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_restore_replaces_a_database_behind_a_pooler_that_reconnects_without_pause(place: Place) -> None:
    if not shutil.which(_PGBOUNCER):
        pytest.skip("no pgbouncer here: apt-get install pgbouncer")
    place.run("backup", "-f", place.policy())
    place.postgres.execute("CREATE TABLE of_the_old_one ()", database=place.database)
    role = place.postgres.make_role("app")
    stop, seen = threading.Event(), [0] * CLIENTS
    looking = "SELECT count(*) FROM pg_class WHERE relname = 'of_the_old_one'"
    last: list[object] = [None] * CLIENTS

    def hammer(number: int, conninfo: str) -> None:
        while not stop.is_set():
            try:
                with psycopg.connect(
                    conninfo, connect_timeout=5, autocommit=True, prepare_threshold=None
                ) as connection:
                    while not stop.is_set():
                        last[number] = connection.execute(looking).fetchone()
                        seen[number] += 1
            except psycopg.Error:
                continue

    with pooler(place, role) as conninfo:
        threads = [threading.Thread(target=hammer, args=(number, conninfo)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: all(seen))
            assert set(last) == {(1,)}
            report, _, _ = place.run(
                "restore", "-f", place.request("pooled", onExisting="Replace"), "-f", place.policy()
            )
            assert report.reason == "Restored"
            wait_for(lambda: set(last) == {(0,)})
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
    wait_for(lambda: not place.sessions())
    place.run("backup", "-f", place.policy())
