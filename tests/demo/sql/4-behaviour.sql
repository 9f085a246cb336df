-- What moves: indexes, views, functions, triggers, row security, a publication. After the rows, so that those come in fast.
SET ROLE agepar_owner;
SET search_path = portal, extensoes, pg_catalog;

CREATE UNIQUE INDEX peticao_protocolo ON peticao (protocolo) INCLUDE (situacao);
CREATE INDEX peticao_titulo ON peticao USING gin (titulo gin_trgm_ops);
CREATE INDEX peticao_formulario ON peticao USING gin (formulario jsonb_path_ops) WHERE situacao = 'deferida';
CREATE INDEX "petição: mês & autor" ON peticao (date_trunc('month', recebida_em AT TIME ZONE 'America/Sao_Paulo') DESC NULLS LAST, autor) WITH (fillfactor = 80);
CREATE INDEX evento_ator ON auditoria.evento (ator, ocorrido_em);
CREATE STATISTICS peticao_dependencias (dependencies, mcv) ON concessionaria, situacao FROM peticao;
COMMENT ON INDEX "petição: mês & autor" IS '%';

CREATE VIEW peticao_publica WITH (security_barrier) AS
  SELECT p.id, p.protocolo, p.situacao, p.titulo, c.nome AS concessionaria, p.recebida_em::date AS dia
  FROM peticao AS p JOIN concessionaria AS c ON c.id = p.concessionaria
  WHERE p.situacao <> 'arquivada "sem resolução"';
CREATE VIEW minhas_sessoes WITH (security_invoker) AS SELECT id, origem, vigencia FROM sessao;
CREATE MATERIALIZED VIEW "relatórios 2026"."petições por mês" AS
  SELECT date_trunc('month', recebida_em, 'America/Sao_Paulo') AS mes, situacao, count(*) AS quantas, sum((formulario ->> 'valor')::numeric) AS "valor total (R$)"
  FROM portal.peticao GROUP BY 1, 2;
CREATE UNIQUE INDEX ON "relatórios 2026"."petições por mês" (mes, situacao);
CREATE MATERIALIZED VIEW "relatórios 2026"."ainda não calculado" AS SELECT 1 / 0 AS nunca WITH NO DATA;

CREATE FUNCTION registra_mudanca() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $corpo$
BEGIN
  IF NEW IS DISTINCT FROM OLD THEN
    INSERT INTO auditoria.evento (ocorrido_em, origem, ator, acao, objeto, antes, depois)
    VALUES (clock_timestamp(), TG_ARGV[0], session_user, 'mudou "situação" d''água; 100%', NEW.id,
            jsonb_build_object('situacao', OLD.situacao), jsonb_build_object('situacao', NEW.situacao));
  END IF;
  RETURN NEW;
END $corpo$;
CREATE TRIGGER "registra mudança" AFTER UPDATE OF situacao, texto ON peticao
  FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION registra_mudanca('portal');
COMMENT ON FUNCTION registra_mudanca() IS E'auditoria\nde petições';

-- Runs as whoever brings the document in, and so owns its large object (see 1-roles.sql for why).
CREATE FUNCTION documento_a_salvo() RETURNS trigger LANGUAGE plpgsql AS $corpo$
BEGIN
  EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO resguardo_backup, agepar_readonly', NEW.conteudo);
  RETURN NEW;
END $corpo$;
CREATE TRIGGER documento_a_salvo AFTER INSERT OR UPDATE OF conteudo ON documento FOR EACH ROW EXECUTE FUNCTION documento_a_salvo();

CREATE PROCEDURE encerra_sessoes(INOUT encerradas bigint, ate timestamptz DEFAULT now()) LANGUAGE sql AS $corpo$
  WITH fim AS (DELETE FROM portal.sessao WHERE upper(vigencia) < ate RETURNING 1) SELECT count(*) FROM fim
$corpo$;
CREATE AGGREGATE junta(text) (SFUNC = pg_catalog.textcat, STYPE = text, INITCOND = '');
CREATE RULE "sem apagar" AS ON DELETE TO extremos DO INSTEAD NOTHING;

ALTER TABLE sessao ENABLE ROW LEVEL SECURITY;
ALTER TABLE sessao FORCE ROW LEVEL SECURITY;
CREATE POLICY "cada um vê as suas" ON sessao FOR SELECT TO agepar_app
  USING (usuario = nullif(current_setting('portal.usuario', true), '')::bigint);
CREATE POLICY "auditoria vê as antigas" ON sessao AS RESTRICTIVE FOR SELECT TO "auditoria externa" USING (upper(vigencia) < '2026-11-20 00:00 -03');
CREATE POLICY "auditoria" ON sessao FOR SELECT TO "auditoria externa" USING (true);

CREATE PUBLICATION "painel público" FOR TABLE peticao (id, situacao, recebida_em) WHERE (id > 100), concessionaria
  WITH (publish = 'insert, update');
RESET ROLE;
RESET search_path;
