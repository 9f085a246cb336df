"""What a schema is, as queries on the catalogs: one for each kind of object, with names instead of oids.

https://www.postgresql.org/docs/current/catalogs.html, for versions 13 to 18. Partitions' cloned foreign keys and triggers
are left to their parents; invalid indexes are left out, as pg_dump leaves them out.
"""

# ruff: noqa: S608 - these queries are put together from constants of this project
from __future__ import annotations

from resguardo.postgres.tables import USER_SCHEMA, is_extension_member

#: Columns whose names begin so are expressions: texts that PostgreSQL prints differently once it has read them again.
EXPRESSION_PREFIX = "x_"


def _own(catalog: str, alias: str) -> str:
    """The object is in a schema of a user's, and no extension's."""
    return f"{USER_SCHEMA} AND NOT {is_extension_member(catalog, f'{alias}.oid')}"


_RELATION = f"c.relpersistence <> 't' AND {_own('pg_class', 'c')}"
_FROM_RELATION = "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
_OPTIONS = "(SELECT pg_catalog.array_agg(o ORDER BY o) FROM pg_catalog.unnest({}) o)"

_SCHEMAS = f"""
    SELECT n.nspname FROM pg_catalog.pg_namespace n
    WHERE {_own("pg_namespace", "n")} AND n.nspname <> 'public'
"""

_EXTENSIONS = "SELECT e.extname FROM pg_catalog.pg_extension e"

_RELATIONS = f"""
    SELECT n.nspname, c.relname, c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.relreplident,
           c.relispartition, a.amname, {_OPTIONS.format("c.reloptions")} AS options,
           pg_catalog.pg_get_partkeydef(c.oid) AS x_partition_key,
           pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS x_bound,
           CASE WHEN c.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(c.oid) END AS x_view,
           (SELECT pg_catalog.array_agg(i.inhparent::pg_catalog.regclass::text ORDER BY i.inhseqno)
            FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid) AS parents,
           s.srvname, {_OPTIONS.format("f.ftoptions")} AS foreign_options,
           CASE WHEN c.reloftype <> 0 THEN pg_catalog.format_type(c.reloftype, NULL) END AS of_type
    {_FROM_RELATION}
    LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
    LEFT JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = c.oid
    LEFT JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND {_RELATION}
"""

#: Of attoptions, a server may keep a number of its own there (pg_attver), which differs for each column that is made.
_COLUMNS = f"""
    SELECT n.nspname, c.relname, t.attname, pg_catalog.format_type(t.atttypid, t.atttypmod), t.attnotnull, t.attidentity,
           t.attgenerated, t.attstorage, {{compression}},
           (SELECT pg_catalog.array_agg(o ORDER BY o) FROM pg_catalog.unnest(t.attoptions) o
            WHERE o !~ '^pg_attver=') AS options,
           {_OPTIONS.format("t.attfdwoptions")} AS foreign_options,
           CASE WHEN t.attcollation <> y.typcollation THEN
               (SELECT pg_catalog.format('%I.%I', cn.nspname, co.collname) FROM pg_catalog.pg_collation co
                JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = t.attcollation) END AS collated,
           pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS x_default
    {_FROM_RELATION}
    JOIN pg_catalog.pg_attribute t ON t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped
    JOIN pg_catalog.pg_type y ON y.oid = t.atttypid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = c.oid AND d.adnum = t.attnum
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND {_RELATION}
"""

_SEQUENCES = f"""
    SELECT n.nspname, c.relname, c.relpersistence, pg_catalog.format_type(q.seqtypid, NULL), q.seqstart, q.seqincrement,
           q.seqmax, q.seqmin, q.seqcache, q.seqcycle,
           (SELECT pg_catalog.format('%s.%I', d.refobjid::pg_catalog.regclass, t.attname)
            FROM pg_catalog.pg_depend d
            JOIN pg_catalog.pg_attribute t ON t.attrelid = d.refobjid AND t.attnum = d.refobjsubid
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0
              AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')) AS owned_by
    {_FROM_RELATION}
    JOIN pg_catalog.pg_sequence q ON q.seqrelid = c.oid
    WHERE c.relkind = 'S' AND {_RELATION}
"""

_CONSTRAINTS = f"""
    SELECT n.nspname, c.relname, o.conname, o.contype, pg_catalog.pg_get_constraintdef(o.oid) AS x_definition
    {_FROM_RELATION}
    JOIN pg_catalog.pg_constraint o ON o.conrelid = c.oid
    WHERE {_RELATION} AND o.contype IN ('c', 'p', 'u', 'x', 'f') AND NOT (o.contype = 'f' AND o.conparentid <> 0)
"""

_INDEXES = f"""
    SELECT n.nspname, c.relname, i.relname AS index_name, x.indisclustered, x.indisreplident,
           pg_catalog.pg_get_indexdef(i.oid) AS x_definition,
           (SELECT p.inhparent::pg_catalog.regclass::text FROM pg_catalog.pg_inherits p WHERE p.inhrelid = i.oid) AS parent
    {_FROM_RELATION}
    JOIN pg_catalog.pg_index x ON x.indrelid = c.oid
    JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    WHERE {_RELATION} AND c.relkind IN ('r', 'p', 'm') AND x.indisready AND (x.indisvalid OR c.relkind = 'p')
"""

_TRIGGERS = f"""
    SELECT n.nspname, c.relname, g.tgname, g.tgenabled, pg_catalog.pg_get_triggerdef(g.oid) AS x_definition
    {_FROM_RELATION}
    JOIN pg_catalog.pg_trigger g ON g.tgrelid = c.oid
    WHERE {_RELATION} AND NOT g.tgisinternal AND g.tgparentid = 0
"""

_RULES = f"""
    SELECT n.nspname, c.relname, r.rulename, r.ev_enabled, pg_catalog.pg_get_ruledef(r.oid) AS x_definition
    {_FROM_RELATION}
    JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid
    WHERE {_RELATION} AND r.rulename <> '_RETURN'
"""

_POLICIES = f"""
    SELECT n.nspname, c.relname, p.polname, p.polcmd, p.polpermissive,
           (SELECT pg_catalog.array_agg(named.role ORDER BY named.role)
            FROM (SELECT CASE WHEN o.role = 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(o.role) END::text
                  FROM pg_catalog.unnest(p.polroles) AS o (role)) AS named (role)) AS roles,
           pg_catalog.pg_get_expr(p.polqual, p.polrelid) AS x_using,
           pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) AS x_check
    {_FROM_RELATION}
    JOIN pg_catalog.pg_policy p ON p.polrelid = c.oid
    WHERE {_RELATION}
"""

_FUNCTIONS = f"""
    SELECT n.nspname, p.proname, p.prokind, pg_catalog.pg_get_function_arguments(p.oid) AS x_arguments,
           pg_catalog.pg_get_function_result(p.oid), l.lanname, p.provolatile, p.proisstrict, p.prosecdef, p.proleakproof,
           p.proparallel, p.procost, p.prorows, {_OPTIONS.format("p.proconfig")} AS settings, p.probin,
           p.prosrc, {{body}} AS x_body,
           (SELECT pg_catalog.format('%s %s %s %s %s %s %s', a.aggtransfn::pg_catalog.regprocedure, a.aggfinalfn,
                                     a.aggcombinefn, a.aggkind, pg_catalog.format_type(a.aggtranstype, NULL),
                                     a.agginitval, a.aggfinalmodify)
            FROM pg_catalog.pg_aggregate a WHERE a.aggfnoid = p.oid) AS aggregate
    FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE {_own("pg_proc", "p")}
      -- constructors of range types come with their type
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                      AND d.objid = p.oid AND d.deptype = 'i')
"""

_TYPES = f"""
    SELECT n.nspname, t.typname, t.typtype, t.typcategory, t.typnotnull, t.typdefault AS x_default,
           CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) END AS base,
           CASE WHEN t.typtype = 'b' THEN t.typinput::text END AS input,
           CASE WHEN t.typcollation <> 0 THEN t.typcollation::pg_catalog.regcollation::text END AS collated,
           (SELECT pg_catalog.array_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e
            WHERE e.enumtypid = t.oid) AS labels,
           (SELECT pg_catalog.format('%s %s %s %s', pg_catalog.format_type(r.rngsubtype, NULL),
                                     CASE WHEN r.rngcollation <> 0 THEN r.rngcollation::pg_catalog.regcollation END,
                                     r.rngcanonical, r.rngsubdiff)
            FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid) AS range
    FROM pg_catalog.pg_type t
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE {_own("pg_type", "t")} AND t.typtype IN ('d', 'e', 'r') OR t.typtype = 'b' AND t.typelem = 0 AND {_own("pg_type", "t")}
"""

_DOMAIN_CONSTRAINTS = f"""
    SELECT n.nspname, t.typname, o.conname, pg_catalog.pg_get_constraintdef(o.oid) AS x_definition
    FROM pg_catalog.pg_constraint o
    JOIN pg_catalog.pg_type t ON t.oid = o.contypid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE o.contype = 'c' AND {_own("pg_type", "t")}
"""

_COLLATIONS = f"""
    SELECT n.nspname, o.collname, o.collprovider, o.collisdeterministic, o.collencoding, o.collcollate, o.collctype
    FROM pg_catalog.pg_collation o
    JOIN pg_catalog.pg_namespace n ON n.oid = o.collnamespace
    WHERE {_own("pg_collation", "o")}
"""

_STATISTICS = f"""
    SELECT n.nspname, s.stxname, pg_catalog.pg_get_statisticsobjdef(s.oid) AS x_definition
    FROM pg_catalog.pg_statistic_ext s
    JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
    WHERE {_own("pg_statistic_ext", "s")}
"""

_OPERATORS = f"""
    SELECT o.oid::pg_catalog.regoperator::text, o.oprcode::text, o.oprrest::text, o.oprjoin::text, o.oprcanhash,
           o.oprcanmerge
    FROM pg_catalog.pg_operator o
    JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
    WHERE o.oprcode <> 0 AND {_own("pg_operator", "o")}
"""

_OPERATOR_CLASSES = f"""
    SELECT n.nspname, o.opcname, a.amname, pg_catalog.format_type(o.opcintype, NULL), o.opcdefault
    FROM pg_catalog.pg_opclass o
    JOIN pg_catalog.pg_namespace n ON n.oid = o.opcnamespace
    JOIN pg_catalog.pg_am a ON a.oid = o.opcmethod
    WHERE {_own("pg_opclass", "o")}
"""

_TEXT_SEARCH_CONFIGURATIONS = f"""
    SELECT n.nspname, o.cfgname,
           (SELECT pg_catalog.array_agg(pg_catalog.format('%s %s %s', m.maptokentype, m.mapseqno,
                                                          m.mapdict::pg_catalog.regdictionary)
                                        ORDER BY m.maptokentype, m.mapseqno)
            FROM pg_catalog.pg_ts_config_map m WHERE m.mapcfg = o.oid)
    FROM pg_catalog.pg_ts_config o
    JOIN pg_catalog.pg_namespace n ON n.oid = o.cfgnamespace
    WHERE {_own("pg_ts_config", "o")}
"""

_TEXT_SEARCH_DICTIONARIES = f"""
    SELECT n.nspname, o.dictname, o.dictinitoption
    FROM pg_catalog.pg_ts_dict o
    JOIN pg_catalog.pg_namespace n ON n.oid = o.dictnamespace
    WHERE {_own("pg_ts_dict", "o")}
"""

#: Casts and languages are in no schema: those made after initdb (FirstNormalObjectId, transam.h).
_CASTS = f"""
    SELECT pg_catalog.format_type(o.castsource, NULL), pg_catalog.format_type(o.casttarget, NULL), o.castcontext,
           o.castmethod, CASE WHEN o.castfunc <> 0 THEN o.castfunc::pg_catalog.regprocedure::text END
    FROM pg_catalog.pg_cast o WHERE o.oid >= 16384 AND NOT {is_extension_member("pg_cast", "o.oid")}
"""

_SERVERS = f"""
    SELECT o.srvname, w.fdwname, o.srvtype, o.srvversion, {_OPTIONS.format("o.srvoptions")}
    FROM pg_catalog.pg_foreign_server o JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = o.srvfdw
    WHERE NOT {is_extension_member("pg_foreign_server", "o.oid")}
"""


def schema_queries(server_version_num: int) -> dict[str, str]:
    """By kind of object, the query whose rows describe all objects of that kind."""
    has_14 = server_version_num >= 140000
    return {
        "schema": _SCHEMAS,
        "extension": _EXTENSIONS,
        "relation": _RELATIONS,
        "column": _COLUMNS.format(compression="t.attcompression" if has_14 else "NULL::text"),
        "sequence": _SEQUENCES,
        "constraint": _CONSTRAINTS,
        "index": _INDEXES,
        "trigger": _TRIGGERS,
        "rule": _RULES,
        "policy": _POLICIES,
        "function": _FUNCTIONS.format(body="pg_catalog.pg_get_function_sqlbody(p.oid)" if has_14 else "NULL::text"),
        "type": _TYPES,
        "domain constraint": _DOMAIN_CONSTRAINTS,
        "collation": _COLLATIONS,
        "statistics": _STATISTICS,
        "operator": _OPERATORS,
        "operator class": _OPERATOR_CLASSES,
        "text search configuration": _TEXT_SEARCH_CONFIGURATIONS,
        "text search dictionary": _TEXT_SEARCH_DICTIONARIES,
        "cast": _CASTS,
        "foreign server": _SERVERS,
    }
