"""What makes a database this database, as SQL: each aspect is a query of two texts, what is described and how it is.

Names are told as PostgreSQL tells them with an empty search_path: qualified, and quoted where needed. Objects that belong
to an extension are described by the extension's name and version alone. Numbers that a restore rightly changes (object
ids, attribute numbers with their gaps, file nodes) appear nowhere.
"""

from __future__ import annotations

_OURS = """{schema} NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^(pg_|information_schema$)')
  AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE (e.classid, e.objid, e.deptype) = ('{catalog}'::regclass, {oid}, 'e'))"""


def _ours(catalog: str, oid: str, schema: str) -> str:
    """SQL that is true for what neither PostgreSQL nor an extension brought."""
    return _OURS.format(catalog=catalog, oid=oid, schema=schema)


def _privileges(catalog: str, name: str, acl: str, default: str) -> str:
    """One line for each privilege; default ones are spelled out, so that written and unwritten compare as equal."""
    return f"""
      SELECT {name} || ': ' || privilege_type || ' to ' || CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
             || ' by ' || grantor::regrole, CASE WHEN is_grantable THEN 'with grant option' ELSE 'granted' END
      FROM {catalog}, aclexplode(coalesce({acl}, {default}))"""


#: Of the server rather than the database, so that a dump holds none of it.
DATABASE_ASPECTS = {
    # A restore adds one line of its own to the database's comment (resguardo/postgres/mark.py): so much may differ.
    "database": r"""
      SELECT property, value FROM pg_database AS d, LATERAL (VALUES
        ('owner', datdba::regrole::text), ('encoding', pg_encoding_to_char(encoding)), ('collation', datcollate),
        ('character type', datctype), ('locale provider', datlocprovider::text), ('ICU locale', coalesce(to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale')),
        ('connection limit', datconnlimit::text), ('allows connections', datallowconn::text),
        ('is a template', datistemplate::text), ('comment', nullif(regexp_replace(shobj_description(d.oid, 'pg_database'), '(^|\n)Restored by Resguardo: request [^\n]*$', ''), '')))
        AS p (property, value)
      WHERE datname = current_database()""",
    "database privilege": _privileges("pg_database", "'database'", "datacl", "acldefault('d', datdba)")
    + " WHERE datname = current_database()",
    "setting": """
      SELECT CASE setrole WHEN 0 THEN '' ELSE setrole::regrole || ', ' END || split_part(setting, '=', 1),
             substr(setting, strpos(setting, '=') + 1)
      FROM pg_db_role_setting, unnest(setconfig) AS setting
      WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())""",
    # Everyone that the database names: its owner, owners and grantees of objects, those of policies and of settings.
    "role": """
      SELECT r.oid::regrole::text, CASE WHEN rolinherit THEN 'inherits' ELSE 'does not inherit' END
      FROM pg_roles AS r, (SELECT oid FROM pg_database WHERE datname = current_database()) AS d
      WHERE r.oid > 16383 AND (
        r.oid IN (SELECT refobjid FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass
                  AND (dbid = d.oid OR (classid, objid) = ('pg_database'::regclass, d.oid)))
        OR r.oid IN (SELECT setrole FROM pg_db_role_setting WHERE setdatabase = d.oid))""",
    "membership": """
      SELECT member::regrole || ' in ' || roleid::regrole, CASE WHEN admin_option THEN 'with admin option' ELSE 'member' END
      FROM pg_auth_members WHERE member > 16383 AND roleid > 16383""",
}

_RELATIONS = _ours("pg_class", "c.oid", "c.relnamespace")
_ROUTINES = _ours("pg_proc", "p.oid", "p.pronamespace")
_TYPES = _ours("pg_type", "t.oid", "t.typnamespace")

SCHEMA_ASPECTS = {
    "extension": "SELECT extname, extversion || ' in ' || extnamespace::regnamespace FROM pg_extension",
    "schema": f"SELECT oid::regnamespace::text, 'there' FROM pg_namespace AS n WHERE {_ours('pg_namespace', 'n.oid', 'n.oid')}",
    "relation": f"""
      SELECT c.oid::regclass::text, concat_ws(', ', 'kind ' || relkind::text, 'persistence ' || relpersistence::text, am.amname,
        'replica identity ' || relreplident::text, 'row security ' || relrowsecurity || relforcerowsecurity,
        'populated ' || relispopulated, array_to_string(ARRAY(SELECT unnest(reloptions) ORDER BY 1), ' '),
        pg_get_expr(relpartbound, c.oid), CASE relkind WHEN 'p' THEN pg_get_partkeydef(c.oid) END,
        CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END, 'of ' || nullif(reloftype, 0)::regtype)
      FROM pg_class AS c LEFT JOIN pg_am AS am ON am.oid = relam WHERE relkind NOT IN ('i', 'I', 't') AND {_RELATIONS}""",
    "column": f"""
      SELECT c.oid::regclass || '.' || quote_ident(attname), concat_ws(', ',
        row_number() OVER (PARTITION BY c.oid ORDER BY attnum), format_type(atttypid, atttypmod),
        'collation ' || nullif(attcollation, 0)::regcollation, 'not null ' || attnotnull, 'identity ' || nullif(attidentity, '')::text,
        'generated ' || nullif(attgenerated, '')::text, pg_get_expr(adbin, adrelid), 'storage ' || attstorage::text,
        'compression ' || nullif(attcompression, '')::text, 'statistics ' || nullif(attstattarget, -1),
        -- pg_attver is a stamp of the server's own, new for each table.
        array_to_string(ARRAY(SELECT o FROM unnest(attoptions) AS o WHERE o !~ '^pg_attver=' ORDER BY 1), ' '),
        'local ' || attislocal)
      FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = attrelid LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
      WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'c', 'f') AND {_RELATIONS}""",
    "inheritance": f"""
      SELECT inhrelid::regclass || ' of ' || inhparent::regclass, inhseqno::text
      FROM pg_inherits JOIN pg_class AS c ON c.oid = inhparent WHERE relkind IN ('r', 'p', 'f') AND {_RELATIONS}""",
    "constraint": f"""
      SELECT quote_ident(conname) || ' on ' || CASE conrelid WHEN 0 THEN contypid::regtype::text ELSE conrelid::regclass::text END,
             concat_ws(', ', pg_get_constraintdef(k.oid), 'validated ' || convalidated)
      FROM pg_constraint AS k WHERE {_ours("pg_constraint", "k.oid", "k.connamespace")}""",
    "index": f"""
      SELECT c.oid::regclass::text, concat_ws(', ', pg_get_indexdef(c.oid), 'valid ' || indisvalid,
        'clustered ' || indisclustered, 'replica identity ' || indisreplident)
      FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid WHERE {_RELATIONS}""",
    "trigger": f"""
      SELECT quote_ident(tgname) || ' on ' || tgrelid::regclass, pg_get_triggerdef(t.oid) || ', enabled ' || tgenabled::text
      FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = tgrelid WHERE NOT tgisinternal AND {_RELATIONS}""",
    "rule": f"""
      SELECT quote_ident(rulename) || ' on ' || ev_class::regclass, pg_get_ruledef(r.oid) || ', enabled ' || ev_enabled::text
      FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = ev_class WHERE rulename <> '_RETURN' AND {_RELATIONS}""",
    "policy": """
      SELECT quote_ident(policyname) || ' on ' || format('%I.%I', schemaname, tablename), concat_ws(', ', permissive, cmd, 'to ' || roles::text,
        'using ' || qual, 'check ' || with_check) FROM pg_policies""",
    "routine": f"""
      SELECT p.oid::regprocedure::text, CASE prokind WHEN 'a' THEN (
          SELECT concat_ws(', ', aggtransfn::regproc, nullif(aggfinalfn, 0)::regproc, aggtranstype::regtype, agginitval, aggkind)
          FROM pg_aggregate WHERE aggfnoid = p.oid) ELSE pg_get_functiondef(p.oid) END
      FROM pg_proc AS p WHERE {_ROUTINES}""",
    "type": f"""
      SELECT t.oid::regtype::text, concat_ws(', ', 'type ' || typtype::text, 'base ' || nullif(typbasetype, 0)::regtype, 'modifier ' || typtypmod,
        'default ' || typdefault, 'not null ' || typnotnull, 'collation ' || nullif(typcollation, 0)::regcollation,
        (SELECT string_agg(quote_literal(enumlabel), ' ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid),
        (SELECT concat_ws(' ', rngsubtype::regtype, rngmultitypid::regtype, rngsubdiff::regproc, rngcanonical::regproc) FROM pg_range WHERE rngtypid = t.oid))
      FROM pg_type AS t WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = typrelid AND relkind <> 'c')
        AND NOT EXISTS (SELECT FROM pg_type AS e WHERE e.typarray = t.oid) AND {_TYPES}""",
    "collation": f"""
      SELECT o.oid::regcollation::text, concat_ws(', ', collprovider, collisdeterministic, collcollate, collctype,
        coalesce(to_jsonb(o) ->> 'colliculocale', to_jsonb(o) ->> 'colllocale'), to_jsonb(o) ->> 'collicurules')
      FROM pg_collation AS o WHERE {_ours("pg_collation", "o.oid", "o.collnamespace")}""",
    "statistics object": f"""
      SELECT format('%s.%I', stxnamespace::regnamespace, stxname), pg_get_statisticsobjdef(s.oid) || concat(', target ' || nullif(stxstattarget, -1))
      FROM pg_statistic_ext AS s WHERE {_ours("pg_statistic_ext", "s.oid", "s.stxnamespace")}""",
    "publication": """
      SELECT pubname, concat_ws(', ', puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot) FROM pg_publication""",
    "published table": """
      SELECT format('%I.%I in %I', schemaname, tablename, pubname), concat_ws(', ', attnames::text, rowfilter) FROM pg_publication_tables""",
    "event trigger": "SELECT evtname, concat_ws(', ', evtevent, evtfoid::regproc, evtenabled, evttags::text) FROM pg_event_trigger",
    "comment": """
      SELECT concat_ws(' ', o.type, o.identity), description FROM pg_description AS d,
        pg_identify_object(classoid, objoid, objsubid) AS o
      WHERE objoid > 16383 AND NOT EXISTS (SELECT FROM pg_depend AS e WHERE (e.classid, e.objid, e.deptype) = (classoid, objoid, 'e'))""",
    # What the bootstrap superuser owns depends on nobody (it is pinned) and is absent on both sides. A range type's
    # multirange type is left out: PostgreSQL 15's ALTER TYPE … OWNER, and so pg_restore, leaves it with who made it.
    "owner": """
      SELECT concat_ws(' ', o.type, o.identity), refobjid::regrole::text FROM pg_shdepend, pg_identify_object(classid, objid, objsubid) AS o
      WHERE deptype = 'o' AND classid <> 'pg_default_acl'::regclass
        AND NOT EXISTS (SELECT FROM pg_type WHERE (classid, oid, typtype) = ('pg_type'::regclass, objid, 'm')) AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())""",
    "privilege": " UNION ALL ".join(
        [
            _privileges("pg_namespace AS n", "'schema ' || n.oid::regnamespace", "nspacl", "acldefault('n', nspowner)")
            + " WHERE nspname !~ '^pg_(toast|temp)'",
            _privileges(
                "pg_class AS c",
                "'relation ' || c.oid::regclass",
                "relacl",
                "acldefault((CASE relkind WHEN 'S' THEN 's' ELSE 'r' END)::\"char\", relowner)",
            )
            + f" WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {_RELATIONS}",
            _privileges(
                "pg_attribute AS a JOIN pg_class AS c ON c.oid = attrelid",
                "'column ' || c.oid::regclass || '.' || quote_ident(attname)",
                "attacl",
                "acldefault('c', relowner)",
            )
            + f" WHERE attnum > 0 AND NOT attisdropped AND {_RELATIONS}",
            _privileges("pg_proc AS p", "'routine ' || p.oid::regprocedure", "proacl", "acldefault('f', proowner)")
            + f" WHERE {_ROUTINES}",
            _privileges("pg_type AS t", "'type ' || t.oid::regtype", "typacl", "acldefault('T', typowner)")
            + f" WHERE typtype <> 'm' AND NOT EXISTS (SELECT FROM pg_type AS e WHERE e.typarray = t.oid) AND {_TYPES}",
            _privileges("pg_language AS l", "'language ' || lanname", "lanacl", "acldefault('l', lanowner)"),
            _privileges(
                "pg_largeobject_metadata AS o", "'large object ' || o.oid", "lomacl", "acldefault('L', lomowner)"
            ),
        ]
    ),
    # An entry without a schema replaces the built-in privileges, one with a schema adds to them: its absence is no grant.
    "default privilege": """
      SELECT concat_ws(' ', 'for', defaclrole::regrole, 'in ' || nullif(defaclnamespace, 0)::regnamespace, 'on', defaclobjtype::text || ':',
               coalesce(privilege_type || ' to ' || CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, 'nothing')),
             CASE WHEN is_grantable THEN 'with grant option' ELSE 'granted' END
      FROM pg_default_acl LEFT JOIN LATERAL aclexplode(defaclacl) ON true""",
}

LARGE_OBJECTS = """
  SELECT oid::text, octet_length(bytes) || ' bytes, SHA-256 ' || encode(sha256(bytes), 'hex')
  FROM (SELECT oid, lo_get(oid) AS bytes FROM pg_largeobject_metadata ORDER BY oid OFFSET 0) AS o"""

#: Tables with rows of their own: schema, name, and whether they can be read at all.
TABLES = """
  SELECT nspname, relname, c.oid::regclass::text, relispopulated FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
  WHERE relkind IN ('r', 'm') AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^(pg_|information_schema$)')
  ORDER BY 1, 2"""

#: Twice 64 bits of MD5 over each row as text, added up: the order of rows does not matter, their number and each byte does.
#: The alias stands for the whole row whatever the columns are called, and where there are none.
CONTENT = """
  SELECT count(*) || ' rows, content ' || coalesce(sum(('x' || left(digest, 16))::bit(64)::bigint), 0)
         || '/' || coalesce(sum(('x' || right(digest, 16))::bit(64)::bigint), 0)
  FROM (SELECT md5(("a row of the table".*)::text) AS digest FROM ONLY {} AS "a row of the table") AS d"""

SEQUENCES = """
  SELECT nspname, relname, c.oid::regclass::text, concat_ws(', ', s.seqtypid::regtype, 'start ' || seqstart, 'increment ' || seqincrement,
    'from ' || seqmin || ' to ' || seqmax, 'cache ' || seqcache, 'cycles ' || seqcycle)
  FROM pg_sequence AS s JOIN pg_class AS c ON c.oid = seqrelid JOIN pg_namespace AS n ON n.oid = relnamespace ORDER BY 1, 2"""
SEQUENCE_VALUE = "SELECT 'value ' || last_value || ', called ' || is_called FROM {}"
