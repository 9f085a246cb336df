-- The roles of the portal, and the one that backs it up. Run by a superuser, in any database; may run again.
-- Passwords are set by portal.py, hashed on the client, so that none stands in a file or in the server's log.
DO $$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['agepar_owner', 'agepar_app', 'agepar_readonly', 'auditoria externa', 'resguardo_backup'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
      EXECUTE format('CREATE ROLE %I', wanted);
    END IF;
  END LOOP;
END $$;

ALTER ROLE agepar_owner NOLOGIN;
ALTER ROLE agepar_app LOGIN;
ALTER ROLE agepar_readonly NOLOGIN;
ALTER ROLE "auditoria externa" LOGIN CONNECTION LIMIT 3;
GRANT agepar_readonly TO "auditoria externa";
COMMENT ON ROLE "auditoria externa" IS 'Tribunal de Contas: lê, nunca escreve';

-- What a backup by pg_dump needs, and nothing else:
-- * LOGIN, and CONNECT on the database (5-privileges.sql), because PUBLIC has lost it there;
-- * pg_read_all_data: SELECT on every table, view and sequence, USAGE on every schema, those of tomorrow included;
-- * BYPASSRLS: pg_dump turns row_security off, and then any policy that would hide rows from it is an error;
-- * SELECT on each large object. pg_read_all_data does not cover those (PostgreSQL 15), and they know no default
--   privileges: the trigger portal.documento_a_salvo() grants it for each document that comes in (4-behaviour.sql).
--   The other way is ALTER ROLE … SET lo_compat_privileges = on, which lets the role write every one of them as well.
-- Not needed: superuser, replication, ownership or membership of anything.
ALTER ROLE resguardo_backup LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS CONNECTION LIMIT 5;
GRANT pg_read_all_data TO resguardo_backup;
