"""The servers of a bench: started for it, ended with it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fixtures.postgres import PostgresServer, start_postgres
from tests.fixtures.s3 import ROOT, S3Server
from tests.fixtures.servers import end, find_program, free_port, listens, wait_until_ready

#: As a small production server would be set; durability aside, which is off: it is not the disk that is measured.
_SETTINGS = """
shared_buffers = 512MB
maintenance_work_mem = 128MB
max_wal_size = 4GB
"""


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
    data, log = folder / "data", folder / "log"
    data.mkdir(parents=True)
    binary, port = find_program("versitygw"), free_port()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [binary, "--port", f"127.0.0.1:{port}", "--quiet", "posix", str(data)],
            env={"ROOT_ACCESS_KEY": ROOT.access_key_id, "ROOT_SECRET_KEY": ROOT.secret_access_key},
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_until_ready(process, lambda: listens(port), name="versitygw", log=log)
        yield S3Server(binary, f"http://127.0.0.1:{port}", data)
    finally:
        end(process)
