"""Loads an archive into a database as it streams in, or turns it into SQL for psql.

pg_restore reads its standard input, which cannot seek, so data are loaded in the archive's order and by one process. What
comes after them needs no data, only the table of contents: of that a copy is kept, from which several processes make
indexes and constraints at once.

A role that is no superuser may give a table to another role only where that one may CREATE in the table's schema
(ALTER TABLE's manual page), but an archive's GRANTs come last. So for the time of loading, the owners get CREATE on every
schema and on the database, which nobody else can connect to; afterwards that is taken back, and the archive's own
privileges on schemas are set once more.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import psycopg
import structlog
from psycopg import sql

from resguardo.api.errors import DeadlineExceeded, RestoreFailed
from resguardo.postgres.connection import Server
from resguardo.postgres.maintenance import bounded
from resguardo.postgres.run import PIPE, Process, run, seconds_until, tool, words_to_tell
from resguardo.rules.restore_plan import RestorePlan

log = structlog.get_logger()

#: How much of pg_restore's last words a message carries.
LAST_WORDS = 1500
_READ_BYTES = 1024 * 1024

#: Processes, and so sessions, that make indexes and constraints.
JOBS = 4

#: server_version_num.
_FIRST_WITH_MULTIRANGES = 140000


def load(server: Server, database: str, chunks: Iterator[bytes], plan: RestorePlan, deadline: datetime | float) -> None:
    """Load an archive into an empty database.

    Takes every chunk to the last, so that a source that verifies itself has done so. Raises RestoreFailed with the end of
    what pg_restore said, DeadlineExceeded, and whatever the iterator raises; the database is then to be dropped.
    """
    with _owners_admitted(server, database, plan, deadline):
        _load(server, database, chunks, plan, deadline)
        if not plan.without_owners:
            _give_multiranges(server, database, deadline)


def _load(
    server: Server, database: str, chunks: Iterator[bytes], plan: RestorePlan, deadline: datetime | float
) -> None:
    stages, contents = plan.stages, server.folder / "contents.dump"
    with contents.open("wb") as copy:
        copied = _copied(chunks, copy, plan.contents_bytes)
        _restore_entries(server, database, plan, stages.from_stream, deadline, input=copied)
        # pg_restore stops reading after the last entry it wants; the rest has to be seen to be known to be whole.
        for _rest in copied:
            if seconds_until(deadline) <= 0:
                raise DeadlineExceeded("the end of the dump was not read within the time allowed")
    log.info("loaded the data", database=database)
    if stages.side_by_side:
        _restore_entries(server, database, plan, stages.side_by_side, deadline, f"--jobs={JOBS}", str(contents))
    if stages.last:
        _restore_entries(server, database, plan, stages.last, deadline, str(contents))
    log.info("loaded", database=database)


def _copied(chunks: Iterator[bytes], copy: IO[bytes], count: int) -> Iterator[bytes]:
    """The chunks; their first `count` bytes are in the copy once a chunk after them is asked for."""
    for chunk in chunks:
        yield chunk
        if count > 0:
            copy.write(chunk[:count])
            copy.flush()
            count -= len(chunk)


def _restore_entries(
    server: Server,
    database: str,
    plan: RestorePlan,
    dump_ids: Sequence[int],
    deadline: datetime | float,
    *source: str,
    input: Iterator[bytes] | None = None,  # noqa: A002 - as run() has it
) -> None:
    argv = [
        tool("pg_restore", major=plan.tool_major),
        "--format=custom",
        f"--dbname={server.conninfo(database)}",
        "--no-password",
        "--exit-on-error",
        "--no-tablespaces",
        f"--use-list={_write_list(server.folder, dump_ids)}",
    ]
    if plan.without_owners:
        argv += ["--no-owner", "--no-acl"]
    finished = run([*argv, *source], environment=server.tool_environment, deadline=deadline, input=input)
    if finished.exit_status != 0:
        raise RestoreFailed(
            f"pg_restore ended with exit status {finished.exit_status} while loading {plan.database}; "
            f"what was there before is untouched. It said: {words_to_tell(finished, LAST_WORDS)}"
        )


def _write_list(folder: Path, dump_ids: Sequence[int]) -> Path:
    """The entries to load, for --use-list: a line for each, of which pg_restore reads the number before the semicolon."""
    path = folder / "entries.list"
    path.write_text("".join(f"{dump_id};\n" for dump_id in dump_ids))
    return path


def _give_multiranges(server: Server, database: str, deadline: datetime | float) -> None:
    """Give each multirange type to its range's owner: up to 15 at least, ALTER TYPE … OWNER on a range leaves it behind."""
    with (
        server.connect(database) as connection,
        server.translating(database),
        bounded(connection, deadline, f"giving multirange types in {database} to their owners"),
    ):
        if connection.info.server_version < _FIRST_WITH_MULTIRANGES:
            return
        left_behind = connection.execute(
            "SELECT n.nspname, m.typname, pg_catalog.pg_get_userbyid(t.typowner) FROM pg_catalog.pg_range r"
            " JOIN pg_catalog.pg_type t ON t.oid = r.rngtypid JOIN pg_catalog.pg_type m ON m.oid = r.rngmultitypid"
            " JOIN pg_catalog.pg_namespace n ON n.oid = m.typnamespace WHERE m.typowner <> t.typowner"
        ).fetchall()
        for schema, name, owner in left_behind:
            connection.execute(
                sql.SQL("ALTER TYPE {} OWNER TO {}").format(sql.Identifier(schema, name), sql.Identifier(owner))
            )


@contextmanager
def _owners_admitted(server: Server, database: str, plan: RestorePlan, deadline: datetime | float) -> Iterator[None]:
    owners = plan.owners_to_admit
    if not owners:
        yield
        return
    with server.connect(database) as connection, server.translating(database):
        _admit(connection, database, owners)
    yield
    with (
        server.connect(database) as connection,
        server.translating(database),
        bounded(connection, deadline, f"setting the privileges of the schemas in {database}"),
        connection.transaction(),
    ):
        _dismiss(connection, database, owners)
        # pg_dump's statements name every object with its schema, but look operators and types up in pg_catalog alone.
        for statements in plan.schema_privileges:
            connection.execute(statements.encode())


def _admit(connection: psycopg.Connection[Any], database: str, owners: Sequence[str]) -> None:
    roles = _identifiers(owners)
    with connection.transaction():
        connection.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(database), roles))
        connection.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(roles))
        connection.execute(sql.SQL("ALTER DEFAULT PRIVILEGES GRANT CREATE ON SCHEMAS TO {}").format(roles))


def _dismiss(connection: psycopg.Connection[Any], database: str, owners: Sequence[str]) -> None:
    roles = _identifiers(owners)
    connection.execute(sql.SQL("REVOKE CREATE ON DATABASE {} FROM {}").format(sql.Identifier(database), roles))
    connection.execute(sql.SQL("ALTER DEFAULT PRIVILEGES REVOKE CREATE ON SCHEMAS FROM {}").format(roles))
    schemas = connection.execute(
        "SELECT n.nspname, pg_catalog.pg_get_userbyid(n.nspowner) FROM pg_catalog.pg_namespace n"
        " WHERE n.nspacl IS NOT NULL AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
    ).fetchall()
    for schema, owner in schemas:
        # An owner's own CREATE is no grant of anybody's.
        if others := [name for name in owners if name != owner]:
            connection.execute(
                sql.SQL("REVOKE CREATE ON SCHEMA {} FROM {}").format(sql.Identifier(schema), _identifiers(others))
            )


def _identifiers(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def to_sql(
    chunks: Iterator[bytes],
    output: IO[bytes],
    *,
    deadline: datetime | float,
    scratch: Path,
    kept: Sequence[int] | None = None,
    without_owners: bool = False,
) -> None:
    """Write an archive as plain SQL that psql runs. No server is needed.

    Raises RestoreFailed, DeadlineExceeded, BrokenPipeError where the output's reader is gone, and whatever the iterator
    raises. What was written before an error is not whole: it ends without pg_dump's last line.
    """
    argv = [tool("pg_restore"), "--format=custom", "--file=-"]
    if without_owners:
        argv += ["--no-owner", "--no-acl"]
    if kept is not None:
        argv.append(f"--use-list={_write_list(scratch, kept)}")
    with Process.start(argv, environment={}, stdin=PIPE) as process:
        feeder = _Feeder(process, chunks)
        alarm = threading.Timer(seconds_until(deadline), process.kill)
        alarm.daemon = True
        alarm.start()
        try:
            while piece := process.stdout.read1(_READ_BYTES):  # type: ignore[attr-defined]
                output.write(piece)
            output.flush()
        except ValueError:
            pass  # the stream was closed by kill(): the deadline, or the feeder's error, is told below
        except BaseException:
            # The output's reader is gone, or we are: the feeder must let go of the chunks before they are closed.
            feeder.abandon()
            raise
        finally:
            alarm.cancel()
        feeder.join()
        status = process.wait(deadline)
    if seconds_until(deadline) <= 0:
        raise process.late()
    if status != 0:
        raise RestoreFailed(f"pg_restore ended with exit status {status}: {words_to_tell(process, LAST_WORDS)}")


class _Feeder:
    """A thread that writes a program's stdin while somebody else reads its stdout; its error is raised by join()."""

    def __init__(self, process: Process, chunks: Iterator[bytes]) -> None:
        self._process = process
        self._chunks = chunks
        self._error: BaseException | None = None
        self._is_abandoned = False
        self._thread = threading.Thread(target=self._feed, name=f"stdin of {process.name}", daemon=True)
        self._thread.start()

    def _feed(self) -> None:
        wanted = itertools.takewhile(lambda _chunk: not self._is_abandoned, self._chunks)
        try:
            self._process.feed(wanted)
            for _rest in wanted:
                pass
        except BaseException as error:
            self._error = error
            # Half an archive must not look like a whole one.
            self._process.kill()

    def abandon(self) -> None:
        """End the program and the feeding of it; nobody wants to know how they end."""
        self._is_abandoned = True
        self._process.kill()
        self._thread.join()

    def join(self) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error
