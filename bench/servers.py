"""The servers of a bench: started for it, ended with it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fixtures.postgres import PostgresServer, start_postgres
from tests.fixtures.s3 import ROOT, S3Server, find_versitygw, free_port

#: As a small production server would be set; durability aside, which is off: it is not the disk that is measured.
_SETTINGS = """
shared_buffers = 512MB
maintenance_work_mem = 128MB
max_wal_size = 4GB
"""
READY_SECONDS = 20


@contextmanager
def servers(folder: Path) -> Iterator[tuple[PostgresServer, S3Server]]:
    """A PostgreSQL 15 and an S3 server, both on loopback."""
    postgres = start_postgres(with_tls=False, settings=_SETTINGS)
    try:
        with _s3(folder / "s3") as s3:
            yield postgres, s3
    finally:
        postgres.stop()


@contextmanager
def _s3(folder: Path) -> Iterator[S3Server]:
    data = folder / "data"
    data.mkdir(parents=True)
    binary, port = find_versitygw(), free_port()
    process = subprocess.Popen(
        [binary, "--port", f"127.0.0.1:{port}", "--quiet", "posix", str(data)],
        env={"ROOT_ACCESS_KEY": ROOT.access_key_id, "ROOT_SECRET_KEY": ROOT.secret_access_key},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _await(port)
        yield S3Server(binary, f"http://127.0.0.1:{port}", data)
    finally:
        process.terminate()
        process.wait(10)


def _await(port: int) -> None:
    give_up = time.monotonic() + READY_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
        else:
            return
