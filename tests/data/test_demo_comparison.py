"""The demo's proof can fail: each kind of change to the portal's database is seen, named, and nothing else is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from resguardo.postgres.run import tool
from tests.demo import portal
from tests.demo.comparison import Record, differences, record
from tests.fixtures.postgres import PostgresServer

AWKWARD = """portal."Tarifa ""social"" d'água & 100% grátis; DROP TABLE x; --" """


@dataclass
class Portal:
    """A small portal, and how it was when it was last looked at: a test sees its own change only."""

    dsn: str
    database: str
    latest: Record

    def change(self, statements: str) -> None:
        with psycopg.connect(self.dsn, dbname=self.database, autocommit=True) as connection:
            connection.execute(statements.encode())

    def seen(self) -> list[str]:
        before, self.latest = self.latest, record(self.dsn, self.database)
        return differences(before, self.latest)


@pytest.fixture(scope="module")
def small_portal(postgres_server: PostgresServer) -> Iterator[Portal]:
    login = postgres_server.login
    dsn = make_conninfo(
        host=login.host, port=login.port, user=login.username, password=login.password, dbname="postgres"
    )
    database = postgres_server.new_name("portal")
    portal.fill(dsn, megabytes=1, database=database, locale="C.UTF-8", passwords={portal.BACKUP_ROLE: "s'e\\c"})
    yield Portal(dsn, database, record(dsn, database))
    portal.drop(dsn, database=database, roles=True)


CHANGES = {
    "one cell": ("UPDATE portal.peticao SET texto = texto || ' ' WHERE id = 7", ["table portal.peticao was"]),
    "a null for an empty text": ("UPDATE portal.sessao SET agente = '' WHERE ctid = (SELECT min(ctid) FROM portal.sessao WHERE agente IS NULL)",
                                 ["table portal.sessao was"]),
    "two cells exchanged": (("UPDATE portal.usuario SET nome = CASE id WHEN 1 THEN (SELECT nome FROM portal.usuario WHERE id = 2) ELSE"
                            " (SELECT nome FROM portal.usuario WHERE id = 1) END WHERE id IN (1, 2)"), ["table portal.usuario was"]),
    "a row twice, another gone": (("DELETE FROM portal.tarifa_historica WHERE valor = 2.26; INSERT INTO portal.tarifa_historica"
                                  " SELECT * FROM portal.tarifa_historica WHERE valor = 2.27"), ["table portal.tarifa_historica was"]),
    "a row that is in another partition": ("UPDATE auditoria.evento SET ocorrido_em = ocorrido_em + interval '31 days' WHERE id = 1000",
                                           ['table auditoria."evento 2026-', 'table auditoria."evento 2026-']),
    "a row of a table without columns": ('INSERT INTO portal."sem colunas" DEFAULT VALUES', ['table portal."sem colunas" was']),
    "a cell under awkward names": (f"UPDATE {AWKWARD} SET \"%s %I $1 \\n\" = '%d' WHERE \"select\" = 1", ['table portal."Tarifa ""social""']),
    "the last digit of a double": ("UPDATE portal.extremos SET d = d * (1 - 1e-15) WHERE id = 2", ["table portal.extremos was"]),
    "an index beside a rewritten table": ("CLUSTER portal.peticao USING peticao_protocolo", ["index portal.peticao_protocolo was"]),
    "one byte of a large object": ("SELECT lo_put(400003, 70000, '\\x00')", ["large object 400003 was"]),
    "a large object less": ("SELECT lo_unlink(399998)", ["comment large object 399998 is missing", "large object 399998 is missing",
                            "owner large object 399998", *["privilege large object 399998"] * 4]),
    "a sequence one further": ("SELECT nextval('portal.protocolo_numero')", ["sequence portal.protocolo_numero was"]),
    "a sequence that counts otherwise": ('ALTER SEQUENCE portal."senha de atendimento" NO CYCLE', ['sequence portal."senha de atendimento" was']),
    "an owner": ("ALTER VIEW portal.minhas_sessoes OWNER TO agepar_app", ["owner view portal.minhas_sessoes was: 'agepar_owner'"]),
    "a grant": ("GRANT DELETE ON portal.peticao TO agepar_app", ["privilege relation portal.peticao: DELETE to agepar_app"]),
    "a grant on a column": ("REVOKE SELECT (protocolo) ON portal.peticao FROM \"auditoria externa\"", ["privilege column portal.peticao.protocolo"]),
    "a grant option": ("REVOKE GRANT OPTION FOR SELECT ON portal.peticao_publica FROM agepar_readonly",
                       ["privilege relation portal.peticao_publica: SELECT to agepar_readonly"]),
    "a function for everybody again": ("GRANT EXECUTE ON FUNCTION portal.registra_mudanca() TO PUBLIC", ["privilege routine portal.registra_mudanca()"]),
    "a default privilege": ("ALTER DEFAULT PRIVILEGES FOR ROLE agepar_owner IN SCHEMA auditoria REVOKE SELECT ON TABLES FROM agepar_readonly",
                            ["default privilege for agepar_owner in auditoria"]),
    "connecting for everybody again": ("DO $$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO PUBLIC', current_database()); END $$",
                                       ["database privilege database: CONNECT to PUBLIC"]),
    "the connection limit": ("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT -1', current_database()); END $$",
                             ["database connection limit was: '60'; is: '-1'"]),
    "the database's owner": ("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO agepar_app', current_database()); END $$",
                             ["database owner was: 'agepar_owner'; is: 'agepar_app'"]),
    "the database's comment": ("DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE %I IS NULL', current_database()); END $$", ["database comment was"]),
    "a setting of the database": ("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = %L', current_database(), 'UTC'); END $$",
                                  ["setting TimeZone was: 'America/Sao_Paulo'; is: 'UTC'"]),
    "a setting of a role here": ("DO $$ BEGIN EXECUTE format('ALTER ROLE agepar_app IN DATABASE %I RESET work_mem', current_database()); END $$",
                                 ["setting agepar_app, work_mem is missing"]),
    "a membership": ("REVOKE agepar_readonly FROM \"auditoria externa\"", ['membership "auditoria externa" in agepar_readonly is missing']),
    "an extension": ("DROP EXTENSION btree_gist CASCADE", ["extension btree_gist is missing", 'constraint "uma audiência por sala"', 'index portal."uma audiência por sala"']),
    "a column's type": ("ALTER TABLE portal.documento ALTER nome TYPE varchar(200)", ["column portal.documento.nome was"]),
    "a constraint": ('ALTER TABLE portal.sessao DROP CONSTRAINT "começa antes de acabar"', ["constraint", "começa antes de acabar"]),
    "a trigger that sleeps": ("ALTER TABLE portal.documento DISABLE TRIGGER documento_a_salvo", ["trigger documento_a_salvo on portal.documento was"]),
    "row security": ("ALTER TABLE portal.sessao NO FORCE ROW LEVEL SECURITY", ["relation portal.sessao was"]),
    "a policy": ('ALTER POLICY "auditoria" ON portal.sessao USING (false)', ["policy auditoria on portal.sessao was"]),
    "a view": ("CREATE OR REPLACE VIEW portal.minhas_sessoes WITH (security_invoker) AS SELECT id, origem, vigencia FROM portal.sessao LIMIT 1",
               ["relation portal.minhas_sessoes was"]),
    "a function's body": ("CREATE OR REPLACE FUNCTION portal.documento_a_salvo() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
                          ["routine portal.documento_a_salvo() was"]),
    "a type's new word": ("ALTER TYPE portal.situacao ADD VALUE 'nova'", ["type portal.situacao was"]),
    "a publication": ('ALTER PUBLICATION "painel público" DROP TABLE portal.concessionaria', ["published table portal.concessionaria"]),
    "a comment": ("COMMENT ON COLUMN portal.peticao.digitos IS 'outra coisa'", ["comment table column portal.peticao.digitos was"]),
    "a table that came": ("CREATE TABLE public.intrusa (x integer)", ["relation public.intrusa was not there", "table public.intrusa was not there"]),
}  # fmt: skip


@pytest.mark.parametrize(("statements", "expected"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_is_seen(small_portal: Portal, statements: str, expected: list[str]) -> None:
    small_portal.change(statements)
    seen = small_portal.seen()
    assert seen, "nothing was seen"
    for part in expected:
        assert any(part in line for line in seen), seen


def test_the_order_of_rows_and_their_place_on_disk_are_no_difference(small_portal: Portal) -> None:
    small_portal.change("VACUUM FULL portal.usuario")
    small_portal.change(
        "WITH moved AS (DELETE FROM portal.audiencia RETURNING *) INSERT INTO portal.audiencia SELECT * FROM moved ORDER BY random()"
    )
    assert small_portal.seen() == []


def test_a_plain_dump_and_restore_is_no_difference(small_portal: Portal, tmp_path: Path) -> None:
    with psycopg.connect(small_portal.dsn) as connection:
        info = connection.info
        environment = {
            "PGHOST": info.host,
            "PGPORT": str(info.port),
            "PGUSER": info.user,
            "PGPASSWORD": info.password,
            "LC_ALL": "C.UTF-8",
        }
    before = record(small_portal.dsn, small_portal.database)
    dump = tmp_path / "portal.dump"
    for argv in (
        [tool("pg_dump"), "-Fc", "--create", "-f", str(dump), small_portal.database],
        [tool("dropdb"), "--force", small_portal.database],
        [tool("pg_restore"), "--create", "--exit-on-error", "-d", "postgres", str(dump)],
    ):
        subprocess.run(argv, env=environment, check=True, timeout=120)
    assert differences(before, record(small_portal.dsn, small_portal.database)) == []


def test_a_database_that_the_demo_did_not_make_is_left_alone(postgres_server: PostgresServer) -> None:
    theirs = postgres_server.fresh_database("theirs")
    login = postgres_server.login
    dsn = make_conninfo(
        host=login.host, port=login.port, user=login.username, password=login.password, dbname="postgres"
    )
    with pytest.raises(portal.NotOurs, match="was not made by the demo"):
        portal.drop(dsn, database=theirs, roles=False)
    assert postgres_server.query(f"SELECT 1 FROM pg_database WHERE datname = '{theirs}'")
