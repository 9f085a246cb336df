"""The schema's fingerprint through a real pg_dump and pg_restore: equal for what comes back, another for any change."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest

from resguardo.postgres.connection import Server
from resguardo.postgres.dump import tool_versions
from resguardo.postgres.fingerprint import describe_schema, loosen, schema_fingerprint
from resguardo.postgres.run import run, tool
from tests.fixtures.postgres import PostgresServer

#: One of each, and what is known to print differently once it was dumped and restored.
RICH = """
CREATE EXTENSION hstore;
CREATE EXTENSION btree_gist;
CREATE SCHEMA "Área 51";
CREATE TYPE situacao AS ENUM ('recebida', 'em análise', 'encerrada');
ALTER TYPE situacao ADD VALUE 'adiada' BEFORE 'encerrada';
CREATE TYPE endereco AS (rua text, numero int, cep varchar(9));
CREATE TYPE faixa AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE DOMAIN cpf AS varchar(14) CHECK (VALUE ~ '^[0-9.-]+$') NOT NULL DEFAULT '0';
CREATE COLLATION sem_acento (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
CREATE SEQUENCE protocolo AS int START 7 INCREMENT 3 MINVALUE 5 MAXVALUE 9000 CACHE 4 CYCLE;
CREATE FUNCTION dobro(n int DEFAULT 2 + 3) RETURNS int LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT n * 2';
CREATE FUNCTION "Soma%"(VARIADIC ns int[]) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER COST 17
    SET search_path = pg_catalog, public SET work_mem = '9MB' AS $f$ BEGIN RETURN (SELECT sum(n) FROM unnest(ns) n); END $f$;
CREATE FUNCTION moderno(a int, b int) RETURNS int LANGUAGE sql RETURN (a + b)::bigint::int;
CREATE PROCEDURE nada() LANGUAGE plpgsql AS 'BEGIN END';
CREATE AGGREGATE soma2(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE FUNCTION igual(situacao, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1::text = $2';
CREATE OPERATOR === (LEFTARG = situacao, RIGHTARG = text, FUNCTION = igual);
CREATE FUNCTION para_texto(endereco) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1.rua';
CREATE CAST (endereco AS text) WITH FUNCTION para_texto(endereco);
CREATE TABLE pessoa (
    id bigint GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 10) PRIMARY KEY,
    nome text COLLATE sem_acento NOT NULL,
    apagada int,
    documento cpf,
    onde endereco,
    estado varchar(2) DEFAULT 'PR' CHECK (estado IN ('PR', 'SC', 'RS')),
    nivel numeric(10,2) DEFAULT (1 + 2)::numeric / 3,
    criada timestamptz DEFAULT now(),
    dobrado int GENERATED ALWAYS AS (length(nome) * 2) STORED,
    extra hstore,
    CONSTRAINT "nome não vazio" CHECK (nome <> '' AND (estado IS NULL OR estado <> ALL (ARRAY['XX'::varchar, 'YY'])))
);
ALTER TABLE pessoa DROP COLUMN apagada;
ALTER TABLE pessoa ADD COLUMN depois date DEFAULT '2026-11-23';
ALTER TABLE pessoa ALTER nome SET STORAGE external, ALTER nome SET STATISTICS 50;
CREATE UNIQUE INDEX ON pessoa (lower(nome) DESC NULLS LAST) INCLUDE (documento) WHERE estado IN ('PR', 'SC');
CREATE INDEX "gin %" ON pessoa USING gin (to_tsvector('portuguese', nome)) WITH (fastupdate = off);
CREATE STATISTICS juntas (dependencies) ON estado, nivel FROM pessoa;
CREATE TABLE "Área 51"."Pedido ""x"" 1" (
    id int DEFAULT nextval('protocolo'), de bigint REFERENCES pessoa ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    quando tstzrange, EXCLUDE USING gist (de WITH =, quando WITH &&), UNIQUE (id, de)
) WITH (fillfactor = 70, autovacuum_enabled = false);
CREATE TABLE dona (n int, v varchar(2)); ALTER SEQUENCE protocolo OWNED BY dona.n;
CREATE TABLE auditoria (id int NOT NULL, quando timestamptz NOT NULL, quem bigint REFERENCES pessoa)
    PARTITION BY RANGE (quando, (id % 2));
CREATE TABLE auditoria_2026 PARTITION OF auditoria FOR VALUES FROM ('2026-01-01', MINVALUE) TO ('2027-01-01', MAXVALUE);
CREATE TABLE auditoria_resto PARTITION OF auditoria DEFAULT;
CREATE INDEX ON auditoria (id);
CREATE TABLE pai (a int, b text);
CREATE TABLE filha (c int) INHERITS (pai);
ALTER TABLE pai ADD COLUMN tardia int DEFAULT 4 CHECK (tardia > 0);
CREATE UNLOGGED TABLE rascunho (i int);
CREATE VIEW resumo (estado, quantas, total) AS
    SELECT p.estado, count(*), sum(CASE WHEN p.nivel > 2 THEN 1 ELSE 0 END)
    FROM pessoa p LEFT JOIN "Área 51"."Pedido ""x"" 1" o ON (o.de = p.id) WHERE p.estado IN ('PR', 'SC')
    GROUP BY p.estado HAVING (count(*) > 0) ORDER BY (2) DESC;
CREATE VIEW usando AS SELECT a, b, pai.tardia, c FROM pai JOIN filha USING (a, b) WHERE (pai.a = ANY ('{1,2}'::int[]));
CREATE RECURSIVE VIEW desce (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM desce WHERE n < 9;
CREATE MATERIALIZED VIEW contagem AS SELECT estado, count(*) AS n FROM pessoa GROUP BY 1 WITH NO DATA;
CREATE UNIQUE INDEX ON contagem (estado);
CREATE RULE calada AS ON INSERT TO resumo DO INSTEAD NOTHING;
CREATE FUNCTION gatilho() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER antes BEFORE UPDATE OF nome ON pessoa FOR EACH ROW WHEN (((OLD.estado)::text <> 'PR')) EXECUTE FUNCTION gatilho('a', 'b');
CREATE TRIGGER nas_partes AFTER INSERT ON auditoria FOR EACH ROW EXECUTE FUNCTION gatilho();
ALTER TABLE pessoa DISABLE TRIGGER antes;
CREATE CONSTRAINT TRIGGER conferida AFTER INSERT ON pai DEFERRABLE FOR EACH ROW EXECUTE FUNCTION gatilho();
ALTER TABLE pessoa ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY so_pr ON pessoa AS RESTRICTIVE FOR UPDATE TO PUBLIC USING (estado IN ('PR', 'SC')) WITH CHECK (nome <> '');
ALTER TABLE pai REPLICA IDENTITY FULL;
CREATE TEXT SEARCH DICTIONARY simples (TEMPLATE = simple, STOPWORDS = portuguese);
CREATE TEXT SEARCH CONFIGURATION busca (COPY = portuguese);
ALTER TEXT SEARCH CONFIGURATION busca ALTER MAPPING FOR asciiword WITH simples;
INSERT INTO pessoa (nome) VALUES ('Ana'), ('Zé');
"""

#: Each is a change that the fingerprint must show.
CHANGES = [
    "ALTER TABLE dona ALTER v TYPE varchar(3)",
    "ALTER TABLE pessoa ALTER estado SET DEFAULT 'SC'",
    "ALTER TABLE pessoa ALTER estado SET NOT NULL",
    "ALTER TABLE pessoa DROP COLUMN depois",
    "ALTER TABLE pessoa ADD COLUMN nova int",
    "ALTER TABLE pai ALTER a SET (n_distinct = 5)",
    "ALTER TABLE pessoa RENAME COLUMN depois TO antes_de",
    "ALTER TABLE dona ALTER v TYPE varchar(2) COLLATE \"C\"",
    "ALTER TABLE pessoa ALTER id SET GENERATED BY DEFAULT",
    "ALTER TABLE pessoa ALTER dobrado DROP EXPRESSION",
    "ALTER TABLE pessoa DROP CONSTRAINT \"nome não vazio\"",
    "ALTER TABLE pai ADD CONSTRAINT c CHECK (a > 0)",
    "ALTER TABLE pai ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
    "ALTER TABLE pai ADD PRIMARY KEY (a)",
    "DROP INDEX contagem_estado_idx",
    "CREATE INDEX ON pai (a)",
    "ALTER TABLE \"Área 51\".\"Pedido \"\"x\"\" 1\" SET (fillfactor = 80)",
    "ALTER TABLE auditoria DETACH PARTITION auditoria_resto",
    "CREATE OR REPLACE VIEW usando AS SELECT a, b, pai.tardia, c FROM pai JOIN filha USING (a, b) WHERE pai.a = 3",
    "DROP VIEW desce",
    "CREATE OR REPLACE FUNCTION dobro(n int DEFAULT 2 + 3) RETURNS int LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT n * 3'",
    "ALTER FUNCTION dobro(int) VOLATILE",
    "CREATE OR REPLACE FUNCTION moderno(a int, b int) RETURNS int LANGUAGE sql RETURN a - b",
    "ALTER FUNCTION \"Soma%\"(int[]) SET work_mem = '10MB'",
    "DROP AGGREGATE soma2(int)",
    "DROP TRIGGER antes ON pessoa",
    "ALTER TABLE pessoa ENABLE TRIGGER antes",
    "DROP POLICY so_pr ON pessoa",
    "ALTER POLICY so_pr ON pessoa USING (estado = 'RS')",
    "ALTER TABLE pessoa NO FORCE ROW LEVEL SECURITY",
    "ALTER TYPE situacao ADD VALUE 'nova'",
    "ALTER TYPE endereco ADD ATTRIBUTE bairro text",
    "ALTER DOMAIN cpf DROP DEFAULT",
    "ALTER DOMAIN cpf ADD CHECK (VALUE <> 'x')",
    "ALTER SEQUENCE protocolo INCREMENT 4",
    "ALTER SEQUENCE protocolo OWNED BY NONE",
    "CREATE EXTENSION citext",
    "CREATE SCHEMA vazio",
    "DROP CAST (endereco AS text)",
    "DROP OPERATOR === (situacao, text)",
    "DROP RULE calada ON resumo",
    "DROP STATISTICS juntas",
    "ALTER TABLE rascunho SET LOGGED",
    "ALTER TABLE pai REPLICA IDENTITY DEFAULT",
    "ALTER TEXT SEARCH CONFIGURATION busca DROP MAPPING FOR asciiword",
]  # fmt: skip

#: Each changes nothing that a schema is.
NO_CHANGES = [
    "INSERT INTO pessoa (nome) VALUES ('Bia')",
    "SELECT nextval('protocolo')",
    "ALTER TABLE pai ADD COLUMN passageira int; ALTER TABLE pai DROP COLUMN passageira",
    "REVOKE ALL ON pessoa FROM PUBLIC; GRANT SELECT ON pessoa TO pg_monitor",
    "ALTER TABLE pai OWNER TO pg_monitor",
    "COMMENT ON TABLE pai IS 'x'",
    "VACUUM FULL pai",
    "ANALYZE",
    "CREATE TEMP TABLE passa (i int)",
    "ALTER TABLE pai ALTER a SET STATISTICS 7",
    "REFRESH MATERIALIZED VIEW contagem",
]


@pytest.fixture(scope="module")
def rich(postgres_server: PostgresServer) -> str:
    name = postgres_server.fresh_database("rich")
    postgres_server.execute(RICH, database=name)
    return name


def copy_of(postgres_server: PostgresServer, server: Server, database: str, *options: str) -> str:
    """Dumped and restored by PostgreSQL's own programs."""
    target = postgres_server.fresh_database("copy")
    give_up = time.monotonic() + 60
    archive = run(
        [tool("pg_dump"), "-Fc", f"--dbname={server.conninfo(database)}"],
        environment=server.tool_environment,
        deadline=give_up,
    )
    assert archive.exit_status == 0, archive.stderr_tail
    done = run(
        [tool("pg_restore"), "--exit-on-error", *options, f"--dbname={server.conninfo(target)}"],
        environment=server.tool_environment, deadline=give_up, input=[archive.stdout],
    )  # fmt: skip
    assert done.exit_status == 0, done.stderr_tail
    return target


def lines(server: Server, database: str) -> set[str]:
    with server.connect(database) as connection:
        return set(describe_schema(connection))


def fingerprint(server: Server, database: str) -> str:
    with server.connect(database) as connection:
        return schema_fingerprint(connection)


class TestThroughDumpAndRestore:
    @pytest.mark.parametrize(
        "options", [[], ["--no-owner", "--no-acl"]], ids=["as it was", "without owners and privileges"]
    )
    def test_a_rich_schema_comes_back_equal_and_so_does_the_copys_copy(
        self, postgres_server: PostgresServer, server: Server, rich: str, options: list[str]
    ) -> None:
        copy = copy_of(postgres_server, server, rich, *options)
        assert lines(server, rich) ^ lines(server, copy) == set()
        assert fingerprint(server, rich) == fingerprint(server, copy)
        again = copy_of(postgres_server, server, copy, *options)
        assert fingerprint(server, again) == fingerprint(server, rich)

    def test_every_kind_of_object_is_in_the_description(self, server: Server, rich: str) -> None:
        kinds = {line.split('"')[1] for line in lines(server, rich)}
        assert kinds == {
            "schema", "extension", "relation", "column", "sequence", "constraint", "index", "trigger", "rule", "policy",
            "function", "type", "domain constraint", "collation", "statistics", "operator", "text search configuration",
            "text search dictionary", "cast",
        }  # fmt: skip

    def test_an_extensions_members_are_not(self, server: Server, rich: str) -> None:
        assert not [line for line in lines(server, rich) if "hstore_to_json" in line or "gbt_" in line]


class TestChanges:
    @pytest.mark.parametrize("change", CHANGES)
    def test_a_change_is_seen(self, server: Server, rich: str, change: str) -> None:
        with server.connect(rich, autocommit=False) as connection:
            before = schema_fingerprint(connection)
            connection.rollback()
            connection.execute("SET search_path = public")
            connection.execute(change.encode())
            assert schema_fingerprint(connection) != before
            connection.rollback()

    @pytest.mark.parametrize("change", NO_CHANGES)
    def test_what_changes_no_schema_is_not(self, postgres_server: PostgresServer, server: Server, change: str) -> None:
        # Each on a small schema of its own: VACUUM wants no transaction, and others would stay.
        database = postgres_server.fresh_database(
            "db",
            "CREATE TABLE pessoa (id serial, nome text); CREATE TABLE pai (a int, b text); CREATE SEQUENCE protocolo;"
            " CREATE MATERIALIZED VIEW contagem AS SELECT 1 AS x WITH NO DATA",
        )
        before = fingerprint(server, database)
        postgres_server.execute(*change.split("; "), database=database)
        assert fingerprint(server, database) == before

    def test_it_does_not_depend_on_the_sessions_settings(
        self, postgres_server: PostgresServer, server: Server, rich: str
    ) -> None:
        with postgres_server.connect(rich) as connection:
            connection.execute(
                "SET search_path = public; SET datestyle = 'German'; SET timezone = 'Asia/Tokyo'; SET quote_all_identifiers = on;"
                " SET intervalstyle = 'iso_8601'; SET extra_float_digits = -5"
            )
            assert schema_fingerprint(connection) == fingerprint(server, rich)
            assert connection.execute("SHOW search_path").fetchone() == ("public",)

    def test_a_role_that_owns_nothing_sees_the_same(
        self, postgres_server: PostgresServer, server: Server, tmp_path: Path, rich: str
    ) -> None:
        role = postgres_server.make_role()
        with Server(postgres_server.login_as(role), tmp_path, patience=timedelta(0)) as other:
            assert fingerprint(other, rich) == fingerprint(server, rich)


class TestLoosening:
    @pytest.mark.parametrize(
        ("printed", "again"),
        [
            (
                "CHECK (((x)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])))",
                "CHECK (((x)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])))",
            ),
            ("('x'::public.\"My Type\")", "'x'::text"),
            ("a::numeric(10,2)[]", "(a)"),
            ("now()::timestamp(3) without time zone + '1 day'::interval", "now() + '1 day'"),
        ],
    )
    def test_what_postgresql_prints_in_two_ways_is_one(self, printed: str, again: str) -> None:
        assert loosen(printed) == loosen(again)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("'a (b)'", "'a b'"),
            ("'a::text'", "'a'"),
            ("E'it\\\\s ''(x)'''", "E'it\\\\s ''x'''"),
            ("a + b", "a - b"),
            ('"a b"', '"a  b"'),
            ("'a  b'", "'a b'"),
        ],
    )
    def test_literals_and_names_stay_as_they_are(self, one: str, other: str) -> None:
        assert loosen(one) != loosen(other)


def test_the_tools_say_their_versions() -> None:
    assert tool_versions().keys() == {"pg_dump", "pg_dumpall"}
    assert tool_versions()["pg_dump"][0].isdigit()
