"""What the tests of the restore side share: a rich database, its dump and census, and one whole restore of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from resguardo.api.census import Census
from resguardo.api.request import Globals, OnExisting, Ownership
from resguardo.postgres.analyze import analyzing
from resguardo.postgres.census import take_census
from resguardo.postgres.connection import Server
from resguardo.postgres.contents import read_contents
from resguardo.postgres.database import create_database, drop_unfinished, kept_name, temporary_name
from resguardo.postgres.load import load
from resguardo.postgres.mark import Mark, MarkState, read_marks, strip_mark
from resguardo.postgres.promote import promote
from resguardo.postgres.restored_properties import apply_properties
from resguardo.postgres.roles import create_roles
from resguardo.postgres.run import tool
from resguardo.postgres.snapshot import open_snapshot
from resguardo.postgres.target import read_target_facts
from resguardo.postgres.verify import Verification, verify
from resguardo.rules.restore_plan import RestorePlan, Wishes, plan_restore
from tests.fixtures.postgres import PostgresServer

# ruff: noqa: ISC004 - one statement of SQL on several lines
SECONDS = 120


@dataclass(frozen=True)
class Dump:
    """A dump in a file, which stands for the store, and the census of the same moment."""

    path: Path
    census: Census

    def chunks(self, size: int = 65536) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while chunk := file.read(size):
                yield chunk


def make_dump(server: Server, database: str, path: Path) -> Dump:
    deadline = time.monotonic() + SECONDS
    with open_snapshot(server, database, lock_timeout=timedelta(seconds=10), deadline=deadline) as snapshot:
        subprocess.run(
            [tool("pg_dump", major=server.major), "-Fc", "-Z0", f"--snapshot={snapshot.id}", f"--file={path}", f"--dbname={server.conninfo(database)}"],
            check=True, timeout=SECONDS,
        )  # fmt: skip
        census = take_census(server, database, snapshot, budget=timedelta(seconds=60), deadline=deadline)
    return Dump(path, census)


def describe(server: Server, database: str, *options: str, tool_major: int | None = None) -> str:
    """The whole of a database as SQL, what differs from run to run taken off."""
    said = subprocess.run(
        [tool("pg_dump", major=tool_major or server.major), "--create", *(options or ["--inserts"]), f"--dbname={server.conninfo(database)}"],
        check=True, timeout=SECONDS, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return "\n".join(line for line in said.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def state(server: Server, database: str, *options: str, tool_major: int | None = None) -> list[str]:
    """All that pg_dump says of a database, the mark aside; sorted, since settings and grants come in the order of making."""
    with server.connect("postgres") as connection:
        row = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [database]
        ).fetchone()
    text = describe(server, database, *options, tool_major=tool_major)
    comment = row[0] if row else None
    if comment and read_marks(comment)[1]:
        text = text.replace(comment.replace("'", "''"), (strip_mark(comment) or "").replace("'", "''"))
    return sorted(in_one_order(line) for line in text.splitlines() if line and not line.startswith("--"))


def in_one_order(line: str) -> str:
    """pg_dump writes a policy's roles in the order in which the server finds them in pg_authid."""
    return " ".join(sorted(line.replace(",", "").split())) if line.startswith("CREATE POLICY") else line


@dataclass
class Restored:
    plan: RestorePlan
    verification: Verification
    omitted: list[str] = field(default_factory=list)
    temporary: str = ""
    kept_as: str | None = None


def make_mark(uid: str = "7f1c", *, fingerprint: str = "0a1b") -> Mark:
    return Mark(MarkState.BEING_RESTORED, "agepar", "dr-1", uid, fingerprint, "20261123T050000Z-3f9a1c")


def wish(
    database: str,
    *,
    on_existing: OnExisting = OnExisting.REFUSE,
    ownership: Ownership = Ownership.ORIGINAL,
    globals_: Globals = Globals.CREATE_MISSING,
    free_space_bytes: int | None = None,
) -> Wishes:
    return Wishes(database, on_existing, ownership, globals_, free_space_bytes)


def plan_for(server: Server, dump: Dump, wishes: Wishes) -> RestorePlan:
    contents = read_contents(dump.chunks(), time.monotonic() + SECONDS)
    facts = read_target_facts(server, wishes.database, contents=contents, wanted=dump.census.database)
    return plan_restore(wishes, contents, dump.census, facts)


def restore(
    server: Server, dump: Dump, wishes: Wishes, *, mark: Mark | None = None, chunks: Iterator[bytes] | None = None
) -> Restored:
    """A restore from its plan to the promotion, as jobs/restore.py composes it."""
    deadline = time.monotonic() + SECONDS
    mark = mark or make_mark()
    target, census = wishes.database, dump.census
    plan = plan_for(server, dump, wishes)
    plan.require_clear()
    token = f"{time.monotonic_ns() % 0xFFFFFF:06x}"
    temporary = temporary_name(target, token)
    kept_as = kept_name(target, token) if plan.replaces else None
    create_roles(server, plan.roles_to_create, target=target)
    mark = replace(mark, borrowed=plan.roles_to_borrow)
    try:
        create_database(server, temporary, census.database, mark, target=target, deadline=deadline)
        load(server, temporary, chunks or dump.chunks(), plan, deadline)
        with analyzing(server, temporary, deadline):
            verification = verify(server, temporary, census, deadline=deadline)
        left = apply_properties(
            server, temporary, census.database, mark,
            ownership=wishes.ownership, privileges=plan.database_privileges, target=target, deadline=deadline,
        )  # fmt: skip
        promote(server, temporary, target, keep_as=kept_as, mark=mark, deadline=deadline)
    finally:
        drop_unfinished(server, temporary, mark, target=target)
    return Restored(plan, verification, list(dict.fromkeys([*plan.omitted, *left])), temporary, kept_as)


def databases(postgres: PostgresServer) -> set[str]:
    return {name for (name,) in postgres.query("SELECT datname FROM pg_database")}


def rows(postgres: PostgresServer, database: str, query: str) -> list[tuple[Any, ...]]:
    return postgres.query(query, database=database)


#: A database with one of everything that a restore has been seen to lose.
RICH = [
    "CREATE EXTENSION pg_trgm",
    "COMMENT ON EXTENSION pg_trgm IS 'trigramas'",
    'CREATE SCHEMA "Auditoria ção" AUTHORIZATION {app}',
    'CREATE TABLE "Auditoria ção"."trilha; DROP ""%s" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, '
    "at timestamptz, what text)",
    'ALTER TABLE "Auditoria ção"."trilha; DROP ""%s" OWNER TO {odd}',
    'INSERT INTO "Auditoria ção"."trilha; DROP ""%s" (at, what) '
    "SELECT '2026-11-23'::timestamptz + n * interval '1 s', repeat('x', n % 50) FROM generate_series(1, 500) n",
    'CREATE TABLE "new\nline" (a int)',
    'ALTER TABLE "new\nline" OWNER TO {app}',
    "CREATE TABLE submission (id int PRIMARY KEY, protocol text NOT NULL CHECK (protocol <> ''), year int NOT NULL, "
    "total numeric(12,2), taxed numeric(12,2) GENERATED ALWAYS AS (total * 1.1) STORED)",
    "ALTER TABLE submission OWNER TO {app}",
    "INSERT INTO submission SELECT n, 'P' || n, 2020 + n % 5, n FROM generate_series(1, 1000) n",
    "CREATE INDEX ON submission USING gin (protocol gin_trgm_ops)",
    "COMMENT ON TABLE submission IS 'Protocolos — \"100%\"'",
    "CREATE TABLE session (id int, at date) PARTITION BY RANGE (at)",
    "CREATE TABLE session_2025 PARTITION OF session FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
    "CREATE TABLE session_2026 PARTITION OF session FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    "INSERT INTO session SELECT n, date '2025-06-01' + n FROM generate_series(1, 400) n",
    "ALTER TABLE session OWNER TO {app}",
    "ALTER TABLE session_2025 OWNER TO {app}",
    "ALTER TABLE session_2026 OWNER TO {odd}",
    "CREATE VIEW recent AS SELECT * FROM submission WHERE year > 2022",
    "ALTER VIEW recent OWNER TO {app}",
    "CREATE MATERIALIZED VIEW per_year AS SELECT year, count(*) FROM submission GROUP BY year",
    "ALTER MATERIALIZED VIEW per_year OWNER TO {app}",
    "CREATE FUNCTION secret() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    "ALTER FUNCTION secret() OWNER TO {app}",
    "REVOKE ALL ON FUNCTION secret() FROM PUBLIC",
    "CREATE TYPE state AS ENUM ('sent', 'accepted')",
    "ALTER TYPE state OWNER TO {odd}",
    "ALTER TABLE submission ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY own ON submission FOR SELECT TO {reader}, {odd} USING (year > 2000)",
    "GRANT SELECT ON submission, recent TO {reader}",
    'GRANT USAGE ON SCHEMA "Auditoria ção" TO {reader} WITH GRANT OPTION',
    "GRANT CREATE ON SCHEMA public TO {app}",
    "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
    "GRANT USAGE ON SCHEMA public TO {reader}, {odd}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {odd} IN SCHEMA public GRANT SELECT ON TABLES TO {reader}",
    "SELECT lo_from_bytea(0, 'first'), lo_from_bytea(0, 'second')",
    "DO $$ DECLARE o oid; BEGIN FOR o IN SELECT oid FROM pg_largeobject_metadata LOOP "
    "EXECUTE format('ALTER LARGE OBJECT %s OWNER TO {app}', o); END LOOP; END $$",
    "CREATE PUBLICATION one FOR TABLE submission",
    "ALTER PUBLICATION one OWNER TO {app}",
    "ALTER DATABASE {database} SET application_name TO 'produção; \"x\" \\ '''",
    'ALTER DATABASE {database} SET search_path TO "$user", public, "Auditoria ção"',
    "ALTER DATABASE {database} SET default_transaction_read_only TO on",
    "ALTER ROLE {reader} IN DATABASE {database} SET statement_timeout TO '5s'",
    "COMMENT ON DATABASE {database} IS 'Portal — produção\nsegunda linha'",
    "REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC",
    "REVOKE TEMPORARY ON DATABASE {database} FROM {app}",
    "GRANT CONNECT ON DATABASE {database} TO {reader} WITH GRANT OPTION",
    "GRANT CREATE ON DATABASE {database} TO {odd}",
    "ALTER DATABASE {database} CONNECTION LIMIT 17",
]
#: What only a superuser may load.
FOR_SUPERUSERS = [
    "ALTER DATABASE {database} SET \"agepar.env\" TO 'produção; \"x\" '''",
    "CREATE PUBLICATION everything FOR ALL TABLES",
    "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    "ALTER FUNCTION watch() OWNER TO {app}",
    "CREATE EVENT TRIGGER watcher ON ddl_command_end EXECUTE FUNCTION watch()",
    "ALTER EVENT TRIGGER watcher DISABLE",
    "COMMENT ON EVENT TRIGGER watcher IS 'olha'",
    "CREATE SUBSCRIPTION far CONNECTION 'host=192.0.2.1 dbname=x' PUBLICATION p WITH (connect = false)",
    'SET ROLE {reader}; GRANT USAGE ON SCHEMA "Auditoria ção" TO {other}; RESET ROLE',
]
