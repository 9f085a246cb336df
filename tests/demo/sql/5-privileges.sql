-- Who may do what, and how the database itself is set. Run by a superuser in the database; its name is not written here.
DO $$
DECLARE
  here text := current_database();
BEGIN
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', here);
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO agepar_readonly, resguardo_backup', here);
  EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO agepar_app', here);
  EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 60', here);
  EXECUTE format('ALTER DATABASE %I SET timezone = %L', here, 'America/Sao_Paulo');
  EXECUTE format('ALTER DATABASE %I SET search_path = portal, extensoes, "relatórios 2026", public', here);
  EXECUTE format('ALTER DATABASE %I SET default_text_search_config = %L', here, 'pg_catalog.portuguese');
  -- As a portal would, and as would cut a careless backup short: the census of a large table, an idle snapshot.
  EXECUTE format('ALTER DATABASE %I SET statement_timeout = %L', here, '30s');
  EXECUTE format('ALTER DATABASE %I SET idle_in_transaction_session_timeout = %L', here, '10s');
  EXECUTE format('ALTER ROLE agepar_app IN DATABASE %I SET work_mem = %L', here, '8MB');
  EXECUTE format('ALTER ROLE "auditoria externa" IN DATABASE %I SET search_path = "relatórios 2026", portal', here);
  EXECUTE format('ALTER ROLE "auditoria externa" IN DATABASE %I SET default_transaction_read_only = on', here);
  EXECUTE format('COMMENT ON DATABASE %I IS %L', here, 'Portal AGEPAR: petições, auditoria, sessões; 100% "crítico"');
END $$;

SET ROLE agepar_owner;
SET search_path = portal, extensoes, pg_catalog;
GRANT USAGE ON SCHEMA portal, auditoria, "relatórios 2026", extensoes TO agepar_app, agepar_readonly;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA portal TO agepar_app;
GRANT DELETE ON sessao, "cache de páginas" TO agepar_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA portal, auditoria TO agepar_app;
GRANT INSERT ON auditoria.evento TO agepar_app;
GRANT SELECT ON ALL TABLES IN SCHEMA auditoria, "relatórios 2026" TO agepar_readonly;
-- Passed on by one who was given it: the grantor must survive as well.
GRANT SELECT ON peticao_publica, tarifa TO agepar_readonly WITH GRANT OPTION;
SET ROLE agepar_readonly;
GRANT SELECT ON portal.tarifa TO "auditoria externa";
SET ROLE agepar_owner;
-- Column by column.
GRANT SELECT (id, protocolo, situacao), REFERENCES (id) ON peticao TO "auditoria externa";
GRANT SELECT ("valor (R$)") ON "Tarifa ""social"" d'água & 100% grátis; DROP TABLE x; --" TO PUBLIC;
GRANT USAGE ON TYPE situacao TO agepar_app;
REVOKE USAGE ON TYPE endereco FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION registra_mudanca() FROM PUBLIC;
REVOKE EXECUTE ON PROCEDURE encerra_sessoes(bigint, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE encerra_sessoes(bigint, timestamptz) TO agepar_app;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA portal GRANT SELECT, INSERT, UPDATE ON TABLES TO agepar_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA auditoria GRANT SELECT ON TABLES TO agepar_readonly;
RESET ROLE;
ALTER DEFAULT PRIVILEGES FOR ROLE agepar_app GRANT SELECT ON TABLES TO "auditoria externa";
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO agepar_app;
ALTER TABLE portal.audiencia OWNER TO agepar_app;

-- The documents that came in before the trigger that grants this, and those of no row.
SET ROLE agepar_app;
DO $$
DECLARE
  document oid;
BEGIN
  FOR document IN SELECT oid FROM pg_largeobject_metadata LOOP
    EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO resguardo_backup, agepar_readonly', document);
  END LOOP;
END $$;
RESET ROLE;
RESET search_path;
ALTER LARGE OBJECT 399999 OWNER TO agepar_owner;
COMMENT ON LARGE OBJECT 399998 IS 'vazio; de ninguém';
