"""A database made of everything that PostgreSQL holds, through backup and restore: the same, or what is missing is told.

What this alone proves: that nothing is lost in silence, from 15 and from 17, on servers with and without the roles, with a
superuser's rights and with a managed server's, and from 15 to 17; once by the commands as pods run them, through a bucket, with
what was left out in the Report and in the log. Compared are, by tests.demo.comparison, the content of every table, large object
and sequence, definitions, owners, privileges, settings and comments; and what pg_dump says of the schema. From 15 to 17, the
other side is a database that was made on 17 by the same SQL.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from resguardo.api.errors import RestoreBlocked, ServerVersionUnsupported
from resguardo.api.request import CheckStatus
from resguardo.postgres.connection import Server
from resguardo.postgres.rights import check_server
from tests.data.restore_side import Dump, Restored, databases, make_dump, restore, state, wish
from tests.demo.comparison import Record, differences, record
from tests.fixtures.everything import ROLES, make_everything
from tests.fixtures.place import Place
from tests.fixtures.postgres import (
    MACHINES_MAJOR,
    NEWER_MAJOR,
    ROLE_PASSWORD,
    PostgresServer,
    programs_in,
    start_postgres,
)
from tests.fixtures.s3 import ROOT, S3Server

#: 63 bytes, of characters that have broken command lines. No newline: pg_dump writes no \\connect to such a name (plain SQL).
DATABASE = 'acervo "d\'água" %s; \\ $x `y` = ção /* */ é 63 bytes, nem 64'
assert len(DATABASE.encode()) == 63


@dataclass(frozen=True)
class Original:
    """A database of everything, and how it was."""

    postgres: PostgresServer
    server: Server
    before: Record
    schema: list[str]


@dataclass(frozen=True)
class Source(Original):
    """One that was dumped."""

    dump: Dump


@pytest.fixture(scope="module", autouse=True)
def both_majors(newer_programs: Path) -> Iterator[None]:
    with programs_in(newer_programs):
        yield


@dataclass
class Servers:
    """Starts servers, and makes sources on them, each once; all end with the module."""

    stack: ExitStack
    scratch: Path
    _sources: dict[tuple[int, bool], Source] = field(default_factory=dict)

    def start(self, major: int) -> PostgresServer:
        postgres = start_postgres(major=major, with_tls=False, settings="max_locks_per_transaction = 256\n")
        self.stack.callback(postgres.stop)
        return postgres

    def superuser(self, postgres: PostgresServer) -> Server:
        return self.stack.enter_context(Server(postgres.login, self.scratch))

    def restorer(self, postgres: PostgresServer) -> Server:
        """A role as managed servers give: no superuser, CREATEDB and CREATEROLE."""
        role = postgres.make_role("restorer", attributes="LOGIN CREATEDB CREATEROLE")
        return self.stack.enter_context(Server(postgres.login_as(role, ROLE_PASSWORD), self.scratch))

    def source(self, major: int, *, with_blocking: bool = False) -> Source:
        key = (major, with_blocking)
        if key not in self._sources:
            made = self.original(major, with_blocking=with_blocking)
            dump = make_dump(made.server, DATABASE, self.scratch / f"{major}-{with_blocking}.dump")
            self._sources[key] = Source(made.postgres, made.server, made.before, made.schema, dump)
        return self._sources[key]

    def original(self, major: int, *, with_blocking: bool = False) -> Original:
        """A new one, on a server of its own."""
        postgres = self.start(major)
        create(postgres, DATABASE)
        make_everything(postgres, DATABASE, with_blocking=with_blocking)
        server = self.superuser(postgres)
        return Original(postgres, server, record_of(postgres, DATABASE), state(server, DATABASE, "--schema-only"))

    def target(self, source: Source, place: str) -> PostgresServer:
        """The source's own server, where its database is lost, or another that knows none of its roles."""
        if place == AN_EMPTY_SERVER:
            return self.start(source.postgres.major)
        source.postgres.drop_database(DATABASE)
        return source.postgres


@pytest.fixture(scope="module")
def servers(both_majors: None) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rg-everything-"))))


ITS_OWN_SERVER, AN_EMPTY_SERVER = "its own server", "an empty server"
MAJORS = pytest.mark.parametrize("major", [MACHINES_MAJOR, NEWER_MAJOR])
PLACES = pytest.mark.parametrize("place", [ITS_OWN_SERVER, AN_EMPTY_SERVER])


def create(postgres: PostgresServer, database: str) -> None:
    postgres._execute_composed(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))


def record_of(postgres: PostgresServer, database: str) -> Record:
    login = postgres.login
    return record(
        make_conninfo("", host=login.host, port=login.port, user=login.username, password=login.password), database
    )


def assert_verified(restored: Restored) -> None:
    assert [check for check in restored.verification.checks if check.status is not CheckStatus.PASSED] == []


#: PostgreSQL has no ALTER EXTENSION … OWNER: an extension belongs to whoever makes it, by hand or by pg_restore.
OWNERS_OF_EXTENSIONS = [f"owner extension {name} " for name in ("btree_gist", "hstore", "pg_trgm")]


def lost(source: Original, target: PostgresServer, *, before: Record | None = None) -> list[str]:
    """What differs, but for what no program can bring back."""
    lines = differences(before or source.before, record_of(target, DATABASE))
    return [line for line in lines if not any(line.startswith(known) for known in OWNERS_OF_EXTENSIONS)]


@MAJORS
@PLACES
def test_a_superuser_brings_everything_back(servers: Servers, major: int, place: str) -> None:
    source = servers.source(major, with_blocking=True)
    target = servers.target(source, place)
    server = servers.superuser(target)

    restored = restore(server, source.dump, wish(DATABASE))

    assert_verified(restored)
    assert "\n".join(lost(source, target)) == ""
    assert state(server, DATABASE, "--schema-only") == without(source.schema, LABELS)
    labels, *others = restored.omitted
    assert labels == (
        "security labels of a provider that is not loaded on the server: FUNCTION dobro(n integer), TABLE pessoa"
    )
    assert [sentence.partition(":")[0] for sentence in others] == (
        []
        if place == ITS_OWN_SERVER
        else ["login, password and attributes of roles that were missing and were created"]
    )


#: The owner's rights on the table of which it gave some away, which 17 counts and 15 does not.
OF_PESSOA = r"^(GRANT|REVOKE) .* ON TABLE acervo\.pessoa (TO|FROM) acervo_dona;$"
LABELS = r"^SECURITY LABEL |^(secreto .*|\\';)$"


def without(lines: list[str], pattern: str) -> list[str]:
    return [line for line in lines if not re.search(pattern, line)]


ONLY_A_SUPERUSER_CAN_MAKE = [
    "SHELL TYPE acervo.casca",
    "casca_entra",
    " more: restore as a superuser",
    "to postgres, a superuser",
]


@MAJORS
def test_without_superuser_what_only_one_can_make_is_refused_before_anything_is_made(
    servers: Servers, major: int
) -> None:
    source = servers.source(major, with_blocking=True)
    limited = servers.restorer(source.postgres)
    before = databases(source.postgres)

    with pytest.raises(RestoreBlocked) as blocked:
        restore(limited, source.dump, wish("outro"))

    for name in ONLY_A_SUPERUSER_CAN_MAKE:
        assert name in str(blocked.value)
    assert databases(source.postgres) == before


@MAJORS
@PLACES
def test_a_managed_servers_role_brings_back_all_but_what_the_plan_lists(
    servers: Servers, major: int, place: str
) -> None:
    source = servers.source(major)
    target = servers.target(source, place)
    limited = servers.restorer(target)
    if major >= 16 and place == ITS_OWN_SERVER:  # CREATEROLE alone admits nobody to a role that somebody else made
        for role in ROLES:
            target._execute_composed(
                sql.SQL("GRANT {} TO {} WITH ADMIN OPTION").format(
                    sql.Identifier(role), sql.Identifier(limited.login.username)
                )
            )

    restored = restore(limited, source.dump, wish(DATABASE))

    assert_verified(restored)
    foreseen = set(LEFT_OUT) | ({ROLES_MADE} if place == AN_EMPTY_SERVER else set())
    assert set(restored.plan.omitted) == foreseen
    assert set(restored.omitted) == foreseen
    assert_what_is_gone_is_what_was_left_out(servers, source, target)


#: What a role without superuser leaves out: the plan's sentence, and what a comparison then finds missing ("" where the
#: comparison does not look).
LEFT_OUT = {
    "security labels of a provider that is not loaded on the server: FUNCTION dobro(n integer), TABLE pessoa": "",
    'event triggers, which need superuser: vigia "%s" d\'água, vigia_parada': "(comment )?event trigger vigia",
    "publications FOR ALL TABLES or TABLES IN SCHEMA, which need superuser: de tudo % d'água, do_esquema": (
        "publication (de tudo % d'água|do_esquema) |(?s:published table .* in (\"de tudo % d'água\"|do_esquema) is missing)"
    ),
    "privileges on objects of extensions or of the system, which need superuser: FUNCTION pg_sleep(double precision), "
    "FUNCTION similarity(text, text)": "",
    "privileges (all of those objects') that another role than the owner had granted on, which needs superuser: "
    "SCHEMA acervo, SEQUENCE contagem": "privilege (schema acervo|relation acervo.contagem): ",
    'setting acervo.ambiente: permission denied to set parameter "acervo.ambiente"': "setting acervo.ambiente is missing",
    'setting log_statement: permission denied to set parameter "log_statement"': "setting log_statement is missing",
}
ROLES_MADE = "login, password and attributes of roles that were missing and were created: " + ", ".join(sorted(ROLES))

#: The same in what pg_dump says of the schema, line by line.
LEFT_OUT_OF_SCHEMA = "|".join(
    [
        LABELS,
        r"^(CREATE|ALTER|COMMENT ON) EVENT TRIGGER |^ +WHEN TAG IN |^ +EXECUTE FUNCTION acervo\.vigia\(\);$",
        r"^(CREATE|ALTER) PUBLICATION (\"de tudo % d'água\"|do_esquema) ",
        r"^(nova\"\.\"nome|em duas linhas\";)$",  # a table of do_esquema, whose name has three lines
        r"^(GRANT|REVOKE) .* ON FUNCTION (pg_catalog\.pg_sleep|public\.similarity)\(",
        r"^(GRANT|REVOKE) .* ON (SCHEMA acervo|SEQUENCE acervo\.contagem) |^(RE)?SET SESSION AUTHORIZATION",
        r"^ALTER DATABASE .* SET (\"acervo\.ambiente\"|log_statement) TO ",
    ]
)


def assert_what_is_gone_is_what_was_left_out(servers: Servers, original: Original, target: PostgresServer) -> None:
    """No more is gone than the sentences say, and no less."""
    lines = lost(original, target)
    patterns = {sentence: pattern for sentence, pattern in LEFT_OUT.items() if pattern}
    assert [line for line in lines if not any(re.match(pattern, line) for pattern in patterns.values())] == []
    assert [said for said, pattern in patterns.items() if not any(re.match(pattern, line) for line in lines)] == []
    before, after = Counter(original.schema), Counter(state(servers.superuser(target), DATABASE, "--schema-only"))
    assert without(list((before - after).elements()), LEFT_OUT_OF_SCHEMA) == []
    assert list((after - before).elements()) == []


def test_pods_commands_bring_it_back_by_a_managed_servers_role_and_tell_all_that_they_left_out(
    servers: Servers, s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    original, target = servers.original(MACHINES_MAJOR), servers.start(MACHINES_MAJOR)
    owner, restorer = original.postgres.login, servers.restorer(target).login
    place = Place(original.postgres, s3_server, tmp_path, s3_bucket, DATABASE, owner.username)
    place.credentials(store__access_key_id=ROOT.access_key_id, store__secret_access_key=ROOT.secret_access_key)
    place.credentials(database__username=owner.username, database__password=owner.password)
    place.run("backup", "-f", place.policy())

    place.postgres = target
    place.credentials(database__username=restorer.username, database__password=restorer.password)
    report, _, log = place.run("restore", "-f", place.request("dr"), "-f", place.policy())

    assert report.reason == "Restored"
    assert report.restore is not None
    assert {check.status for check in report.restore.checks} == {CheckStatus.PASSED}
    foreseen = sorted([*LEFT_OUT, ROLES_MADE])
    assert sorted(report.restore.omitted) == foreseen  # whole: there is room for these
    told = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert sorted(line["what"] for line in told if line["event"] == "left out or different") == foreseen
    assert_what_is_gone_is_what_was_left_out(servers, original, target)


def test_15_comes_back_on_17_as_if_it_had_been_made_there(servers: Servers) -> None:
    source = servers.source(MACHINES_MAJOR, with_blocking=True)
    native, target = servers.start(NEWER_MAJOR), servers.start(NEWER_MAJOR)
    create(native, DATABASE)
    make_everything(native, DATABASE, with_blocking=True, up_to=MACHINES_MAJOR)
    as_made, server = servers.superuser(native), servers.superuser(target)

    restored = restore(server, source.dump, wish(DATABASE))

    assert [check.name for check in restored.verification.checks if check.status is not CheckStatus.PASSED] == [
        "schema"
    ]
    assert lost(source, target, before=record_of(native, DATABASE)) == [
        # 15 has no such right: where an owner's rights were set, it is none of them.
        "privilege relation acervo.pessoa: MAINTAIN to acervo_dona by acervo_dona is missing; it was: 'granted'"
    ]
    native_schema = without(state(as_made, DATABASE, "--schema-only"), LABELS)
    assert without(state(server, DATABASE, "--schema-only"), OF_PESSOA) == without(native_schema, OF_PESSOA)


def test_17_on_15_is_refused_before_anything_is_made(servers: Servers) -> None:
    source, target = servers.source(NEWER_MAJOR), servers.start(MACHINES_MAJOR)
    before = databases(target)
    with pytest.raises(RestoreBlocked, match="a dump of PostgreSQL 17 does not load into PostgreSQL 15: restore to a"):
        restore(servers.superuser(target), source.dump, wish(DATABASE))
    assert databases(target) == before


def test_a_server_newer_than_the_tools_is_refused(
    newer_postgres: PostgresServer, newer_programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "15").symlink_to(newer_programs / "15")
    with (
        programs_in(tmp_path),
        Server(newer_postgres.login, tmp_path) as server,
        server.connect("postgres") as connection,
        pytest.raises(ServerVersionUnsupported, match="is PostgreSQL 17 and pg_dump here is 15"),
    ):
        check_server(connection)
