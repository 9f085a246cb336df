"""pg_dump and pg_dumpall, streaming, and how they ended."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Generator
from datetime import datetime, timedelta

import structlog

from resguardo.api.errors import DumpFailed, LockTimeout, PermissionDenied, PostgresError
from resguardo.postgres.connection import Server
from resguardo.postgres.run import Process, run, tool, words_to_tell

log = structlog.get_logger()

READ_BYTES = 1024 * 1024
#: Between a program that got no connection and the next.
PAUSE_SECONDS = 1.0
#: What a program says that got none; pg_dumpall does not say why (pg_dumpall.c, main: its --database may fail in silence).
_NO_CONNECTION = re.compile(
    r"^pg_dump(all)?: error: (connection to server|could not translate host name|could not connect to database)",
    re.MULTILINE,
)
#: The end of a program's stderr that goes into a message.
WORDS_SHOWN = 1500
VERSION_SECONDS = 10.0


def dump(server: Server, database: str, snapshot_id: str, *, lock_timeout: timedelta) -> Process:
    """Start pg_dump of the whole database, large objects included, as the snapshot shows it.

    Its stdout is the custom format, not compressed: that is done outside, on several threads. Whoever reads it to its end
    calls finish() before believing it.
    """
    return Process.start(
        [
            tool("pg_dump", major=server.major),
            "--format=custom",
            "--compress=0",
            "--no-password",
            f"--snapshot={snapshot_id}",
            f"--lock-wait-timeout={max(1, int(lock_timeout.total_seconds() * 1000))}",
            f"--dbname={server.conninfo(database)}",
        ],
        environment=server.tool_environment,
    )


def dump_globals(server: Server, database: str) -> Process:
    """Start pg_dumpall of roles, memberships and tablespaces, as SQL, without passwords: a role may not read those.

    It logs in to `database`, the one that the role is known to be let into.
    """
    conninfo = server.conninfo(database)
    return Process.start(
        [
            tool("pg_dumpall", major=server.major),
            "--globals-only",
            "--no-role-passwords",
            "--no-password",
            f"--dbname={conninfo}",
            # Without this it would look into database postgres first. A connection string, since a name alone that holds
            # a "=" would be taken for one.
            f"--database={conninfo}",
        ],
        environment=server.tool_environment,
    )


def output(
    start: Callable[[], Process], server: Server, database: str, deadline: datetime | float
) -> Generator[bytes, None, None]:
    """What a dump writes, to its end, and then an error unless it ended well. Closing the iterator ends the dump.

    A program that got no connection has written nothing, and may not say why. So a connection of our own is made, which
    waits for one that a moment later may be had, and says why where it may not; then `start` is asked for another program.

    Raises what finish() and Server.connect() raise.
    """
    give_up = time.monotonic() + server.patience.total_seconds()
    while True:
        with start() as process:
            while chunk := process.stdout.read(READ_BYTES):
                yield chunk
            process.wait(deadline)
            if not _NO_CONNECTION.search(process.stderr_tail) or time.monotonic() >= give_up:
                finish(process, deadline)
                return
        log.warning("beginning again, since it got no connection", program=process.name, said=process.stderr_tail)
        server.connect(database).close()
        time.sleep(PAUSE_SECONDS)


def finish(process: Process, deadline: datetime | float) -> None:
    """Wait for a dump that has written all it has to say, and raise unless it ended well.

    Raises DumpFailed with the end of stderr, LockTimeout where that says so, DeadlineExceeded.
    """
    status = process.wait(deadline)
    if status == 0:
        return
    words = words_to_tell(process, WORDS_SHOWN)
    if status < 0:
        name = signal.Signals(-status).name
        hint = "; SIGKILL often comes from a memory limit: see spec.jobs.resources" if name == "SIGKILL" else ""
        raise DumpFailed(f"{process.name} was ended by {name}{hint}. Its last words: {words}")
    raise _kind_of(words)(f"{process.name} failed with exit status {status}: {words}")


def _kind_of(words: str) -> type[PostgresError]:
    if "permission denied" in words:
        return PermissionDenied
    # pg_dump turns --lock-wait-timeout into a statement_timeout for its LOCK TABLE. Behind the snapshot's own locks it waits
    # only when somebody else, with an ALTER TABLE or the like, has come to stand between.
    if re.search(r"timeout|could not obtain lock", words) and "LOCK TABLE" in words:
        return LockTimeout
    return DumpFailed


def tool_versions(major: int | None = None) -> dict[str, str]:
    """The version of each client program that a backup of a server of this major version uses; without: of the newest."""
    return {name: _version(tool(name, major=major)) for name in ("pg_dump", "pg_dumpall")}


def _version(path: str) -> str:
    done = run([path, "--version"], environment={}, deadline=time.monotonic() + VERSION_SECONDS)
    found = re.search(r"\(PostgreSQL\) (\S+)", done.stdout.decode(errors="replace"))
    if done.exit_status or not found:
        raise DumpFailed(f"{path} --version does not say its version: {done.stderr_tail}")
    return found.group(1)
