"""What a restore decides before it makes anything: a world without problems, and beside it each world with one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resguardo.api.census import Census, DatabaseProperties, Extension, Role
from resguardo.api.errors import ResguardoError, RestoreBlocked, TargetBusy, TargetNotEmpty
from resguardo.api.request import Globals, OnExisting, Ownership
from resguardo.rules.archive import Contents, Entry, Section
from resguardo.rules.restore_facts import AvailableExtension, ExistingDatabase, RoleFacts, TargetFacts
from resguardo.rules.restore_plan import RestorePlan, Wishes, plan_restore
from resguardo.rules.restore_roles import policy_roles

OWN = RoleFacts(is_inherited=True, is_settable=True)
GRANTABLE = RoleFacts(is_grantable=True)

DATABASE_ENTRY = Entry(1, "DATABASE", "portal", owner="app")
SCHEMA = Entry(2, "SCHEMA", "audit", owner="app")
TABLE = Entry(3, "TABLE", "trail", "audit", "app", dependencies=(2,))
DATA = Entry(4, "TABLE DATA", "trail", "audit", "app", dependencies=(3,))
GRANT = Entry(
    5, "ACL", "TABLE trail", "audit", "app", "GRANT SELECT ON TABLE audit.trail TO reader;\n", dependencies=(3,)
)
SCHEMA_GRANT = Entry(6, "ACL", "SCHEMA audit", "", "app", "GRANT USAGE ON SCHEMA audit TO reader;\n", dependencies=(2,))
EXTENSION = Entry(7, "EXTENSION", "pg_trgm")
ENTRIES = (DATABASE_ENTRY, SCHEMA, TABLE, DATA, GRANT, SCHEMA_GRANT, EXTENSION)

CENSUS = Census(
    server_version_num=150020,
    system_identifier="1",
    taken_at=datetime(2026, 11, 23, tzinfo=UTC),
    lsn="0/1",
    database=DatabaseProperties(
        name="portal", encoding="UTF8", locale_provider="c", collate="C", ctype="C", owner="app", size_bytes=1000
    ),
    roles=[Role(name="app"), Role(name="reader", inherit=False, member_of=["app", "staff"])],
    extensions=[Extension(name="pg_trgm", version="1.6", schema_name="public")],
    schema_fingerprint="0",
    tables=[],
    large_objects=0,
)
FACTS = TargetFacts(
    server_version_num=150020,
    tool_major=15,
    role="restorer",
    can_create_databases=True,
    can_create_roles=True,
    roles={"restorer": OWN, "app": GRANTABLE, "reader": GRANTABLE},
    extensions={"pg_trgm": AvailableExtension("1.6", needs_superuser=True, is_trusted=True)},
)
SUPERUSER = replace(FACTS, is_superuser=True)
WISHES = Wishes("portal", OnExisting.REFUSE, Ownership.ORIGINAL, Globals.CREATE_MISSING)


def plan(
    *more: Entry,
    facts: TargetFacts = FACTS,
    census: Census = CENSUS,
    server: str = "15.20",
    tool: str = "15.20",
    **wishes: Any,
) -> RestorePlan:
    contents = Contents("portal", server, tool, (*ENTRIES, *more))
    return plan_restore(replace(WISHES, **wishes), contents, census, facts)


def database(**changes: Any) -> Census:
    return CENSUS.model_copy(update={"database": CENSUS.database.model_copy(update=changes)})


def loaded(plan: RestorePlan) -> set[int]:
    return {*plan.stages.from_stream, *plan.stages.side_by_side, *plan.stages.last}


def test_a_world_without_problems_is_clear_and_leaves_nothing_out() -> None:
    for facts in (FACTS, SUPERUSER):
        found = plan(facts=facts)
        found.require_clear()
        assert loaded(found) == {entry.dump_id for entry in ENTRIES}
        assert (found.omitted, found.notes, found.roles_to_create, found.replaces) == ((), (), (), False)


PROBLEMS: dict[str, tuple[dict[str, Any], str]] = {
    "an older server": ({"server": "16.2"}, "a dump of PostgreSQL 16 does not load into PostgreSQL 15"),
    "an older pg_restore": ({"tool": "17.0"}, "pg_restore 15 does not read an archive of pg_dump 17"),
    "a pg_restore that is too new": ({"facts": replace(FACTS, tool_major=17)}, "transaction_timeout"),
    "no CREATEDB": ({"facts": replace(FACTS, can_create_databases=False)}, "ALTER ROLE restorer CREATEDB"),
    "no room": ({"free_space_bytes": 999}, "freeSpace"),
    "an unknown encoding": ({"facts": replace(FACTS, is_encoding_known=False)}, "encoding UTF8"),
    "an unknown locale": ({"facts": replace(FACTS, locale_refusal="it knows no locale C")}, "knows no locale C"),
    "a template": ({"database": "template1"}, "template1 is the template"),
    "an extension that is not there": ({"facts": replace(FACTS, extensions={})}, "extension pg_trgm is not available"),
    "an extension for superusers": (
        {"facts": replace(FACTS, extensions={"pg_trgm": AvailableExtension("1.6", needs_superuser=True)})},
        "extension pg_trgm can only be created by a superuser",
    ),
    "no CREATEROLE": (
        {"facts": replace(FACTS, roles={"restorer": OWN}, can_create_roles=False)},
        "ALTER ROLE restorer CREATEROLE",
    ),
    "missing roles that may not be made": (
        {"facts": replace(FACTS, roles={"restorer": OWN, "app": GRANTABLE}), "globals": Globals.NONE},
        "role reader is missing: CREATE ROLE reader",
    ),
    "an owner out of reach": (
        {"facts": replace(FACTS, roles={"restorer": OWN, "app": RoleFacts(), "reader": OWN})},
        "GRANT app TO restorer",
    ),
    "an owner that is superuser": (
        {"facts": replace(FACTS, roles={"restorer": OWN, "app": RoleFacts(is_superuser=True), "reader": OWN})},
        "cannot give objects to app, a superuser",
    ),
    "a role that does not inherit": ({"facts": replace(FACTS, inherits=False)}, "ALTER ROLE restorer INHERIT"),
}


@pytest.mark.parametrize(("world", "said"), PROBLEMS.values(), ids=PROBLEMS)
def test_each_problem_alone_is_one_blocker_that_says_what_to_do(world: dict[str, Any], said: str) -> None:
    found = plan(**world)
    assert len(found.blockers) == 1, found.blockers
    assert said in found.blockers[0]
    with pytest.raises(RestoreBlocked):
        found.require_clear()


def test_what_belongs_to_a_superuser_is_named_as_far_as_it_is_no_data() -> None:
    facts = replace(FACTS, roles={**FACTS.roles, "postgres": RoleFacts(is_superuser=True)})
    (blocker,) = plan(
        Entry(20, "BLOB", "16400", owner="postgres"),
        Entry(21, "TABLE DATA", "trail", "audit", "postgres", dependencies=(3,), section=Section.DATA),
        facts=facts,
    ).blockers
    assert "to postgres, a superuser (BLOB 16400): restore as a superuser, or with ownership: Role" in blocker


@pytest.mark.parametrize(
    ("entry", "is_blocked"),
    [
        (Entry(20, "OPERATOR CLASS", "oc", "public", "app"), True),
        (Entry(20, "FOREIGN DATA WRAPPER", "w", "", "app"), True),
        (Entry(20, "CAST", "CAST (a AS b)", definition="CREATE CAST (a AS b) WITHOUT FUNCTION;"), True),
        (Entry(20, "CAST", "CAST (a AS b)", definition="CREATE CAST (a AS b) WITH FUNCTION f(a);"), False),
        (Entry(20, "FUNCTION", "f()", "public", "app", "CREATE FUNCTION f() RETURNS int\n    LANGUAGE c STRICT\n    AS 'x', 'y';"), True),
        (Entry(20, "FUNCTION", "f()", "public", "app", "CREATE FUNCTION f() RETURNS int\n    LANGUAGE sql LEAKPROOF\n    AS $$x$$;"), True),
        (Entry(20, "FUNCTION", "f()", "public", "app", "CREATE FUNCTION f() RETURNS int\n    LANGUAGE sql\n    AS $$\n    LANGUAGE c LEAKPROOF\n$$;"), False),
        (Entry(20, "TABLE DATA", "config", "public", "app", dependencies=(999,)), True),
        (Entry(20, "VIEW", "v", "public", "app"), False),
    ],
)  # fmt: skip
def test_what_only_a_superuser_can_make_is_told_before_loading(entry: Entry, is_blocked: bool) -> None:
    assert bool(plan(entry).blockers) is is_blocked
    assert plan(entry, facts=SUPERUSER).blockers == ()


def test_all_problems_are_told_in_one_error() -> None:
    facts = replace(FACTS, can_create_databases=False, extensions={}, roles={"restorer": OWN}, locale_refusal="no")
    with pytest.raises(RestoreBlocked) as caught:
        plan(facts=facts, globals=Globals.NONE, free_space_bytes=1).require_clear()
    for part in ("CREATEDB", "pg_trgm", "role app", "role reader", "locale", "freeSpace", "6 problem(s)"):
        assert part in str(caught.value), part


SLOT = "database portal has replication slot s"


@pytest.mark.parametrize(
    ("existing", "on_existing", "error"),
    [
        (None, OnExisting.REFUSE, None),
        (ExistingDatabase("restorer"), OnExisting.REFUSE, None),
        (ExistingDatabase("restorer", ("1 tables",)), OnExisting.REFUSE, TargetNotEmpty),
        (ExistingDatabase("restorer", ("1 tables",), (SLOT,)), OnExisting.REFUSE, TargetNotEmpty),
        (ExistingDatabase("restorer", ("1 tables",)), OnExisting.REPLACE, None),
        (ExistingDatabase("restorer", ("1 tables",), (SLOT,)), OnExisting.REPLACE, TargetBusy),
        (ExistingDatabase("restorer", (), (SLOT,)), OnExisting.REFUSE, TargetBusy),
    ],
)
def test_the_database_that_has_the_name(
    existing: ExistingDatabase | None, on_existing: OnExisting, error: type[ResguardoError] | None
) -> None:
    found = plan(facts=replace(FACTS, existing=existing), on_existing=on_existing)
    assert found.replaces is (existing is not None)
    if error is None:
        found.require_clear()
    else:
        with pytest.raises(error):
            found.require_clear()


def test_replacing_needs_the_ownership_of_what_is_there() -> None:
    roles = {**FACTS.roles, "other": RoleFacts()}
    found = plan(facts=replace(FACTS, roles=roles, existing=ExistingDatabase("other")), ownership=Ownership.ROLE)
    assert found.blockers == ("role restorer cannot give objects to other: GRANT other TO restorer",)


def test_missing_roles_are_made_with_memberships_among_themselves_only() -> None:
    roles = {"restorer": OWN, "staff": OWN}
    found = plan(facts=replace(FACTS, roles=roles))
    assert found.roles_to_create == (Role(name="app"), Role(name="reader", inherit=False, member_of=["app"]))
    assert found.roles_to_borrow == ("app",)
    assert "reader in staff" in " ".join(found.omitted)
    found.require_clear()


def test_predefined_roles_are_never_made() -> None:
    entry = Entry(20, "TABLE", "t", "public", "pg_new_power")
    assert "pg_new_power" in plan(entry, facts=SUPERUSER).blockers[0]


def test_memberships_are_borrowed_only_where_they_are_missing_and_superusers_borrow_none() -> None:
    assert plan().roles_to_borrow == ("app",)
    assert plan(facts=replace(FACTS, roles={**FACTS.roles, "app": OWN})).roles_to_borrow == ()
    assert plan(facts=SUPERUSER).roles_to_borrow == ()
    assert plan().owners_to_admit == ("app",)
    assert plan(facts=SUPERUSER).owners_to_admit == ()
    assert plan().schema_privileges == (SCHEMA_GRANT.definition,)


def test_a_copy_owned_by_the_role_needs_no_roles_but_those_of_policies() -> None:
    policy = Entry(20, "POLICY", "trail p", "audit", "app", "CREATE POLICY p ON audit.trail TO auditor USING (true);\n")
    facts = replace(FACTS, roles={"restorer": OWN})
    found = plan(policy, facts=facts, ownership=Ownership.ROLE)
    assert found.roles_to_create == (Role(name="auditor"),)
    assert (found.roles_to_borrow, found.owners_to_admit, found.without_owners) == ((), (), True)
    assert plan(policy, facts=facts, ownership=Ownership.ROLE, globals=Globals.NONE).blockers == (
        "role auditor is missing: CREATE ROLE auditor, or set globals: CreateMissing",
    )
    assert any("all privileges" in sentence for sentence in found.omitted)


EVERYWHERE = True
LEFT_OUT: dict[str, tuple[list[Entry], set[int], bool]] = {
    "a subscription and its comment": (
        [Entry(20, "SUBSCRIPTION", "far", owner="app"), Entry(21, "COMMENT", "SUBSCRIPTION far", dependencies=(20,))],
        {20, 21},
        EVERYWHERE,
    ),
    "an event trigger": ([Entry(20, "EVENT TRIGGER", "watcher", owner="postgres")], {20}, False),
    "a publication of everything": (
        [Entry(20, "PUBLICATION", "p", owner="postgres", definition="CREATE PUBLICATION p FOR ALL TABLES WITH (x);")],
        {20},
        False,
    ),
    "a publication of a schema, with its tables": (
        [
            Entry(20, "PUBLICATION", "p", owner="app", definition="CREATE PUBLICATION p WITH (publish = 'insert');"),
            Entry(21, "PUBLICATION TABLES IN SCHEMA", "p audit", dependencies=(20, 2)),
            Entry(22, "PUBLICATION TABLE", "p trail", dependencies=(20, 3)),
        ],
        {20, 21, 22},
        False,
    ),
    "a publication of tables stays": (
        [Entry(20, "PUBLICATION", '" FOR ALL TABLES"', owner="app", definition='CREATE PUBLICATION "x" WITH (publish = \' FOR ALL TABLES\');')],
        set(),
        False,
    ),
    "the comment on plpgsql": ([Entry(20, "COMMENT", "EXTENSION plpgsql")], {20}, False),
    "the comment on an extension that is made here stays": (
        [Entry(20, "COMMENT", "EXTENSION pg_trgm", dependencies=(7,))],
        set(),
        False,
    ),
    "privileges on an extension's function": (
        [Entry(20, "ACL", "FUNCTION similarity(text, text)", "public", "postgres", "GRANT …", dependencies=(999,))],
        {20},
        False,
    ),
    "privileges on schema public stay": (
        [Entry(20, "ACL", "SCHEMA public", "", "pg_database_owner", "GRANT …", dependencies=(999,))],
        set(),
        False,
    ),
    "privileges that were granted on": (
        [Entry(20, "ACL", "TABLE trail", "audit", "app", "GRANT …;\nSET SESSION AUTHORIZATION reader;\nGRANT …", dependencies=(3,))],
        {20},
        False,
    ),
    "a label of an absent provider": (
        [Entry(20, "SECURITY LABEL", "TABLE trail", definition='SECURITY LABEL FOR "no one" ON TABLE x IS 1', dependencies=(3,))],
        {20},
        EVERYWHERE,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("entries", "left_out", "by_superusers_too"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_cannot_be_loaded_is_left_out_and_told(
    entries: list[Entry], left_out: set[int], by_superusers_too: bool
) -> None:
    roles = {**FACTS.roles, "postgres": RoleFacts(is_superuser=True), "pg_database_owner": RoleFacts()}
    world = {"absent_label_providers": frozenset({"no one"}), "roles": roles}
    for facts, expected in (
        (replace(FACTS, **world), left_out),
        (replace(SUPERUSER, **world), left_out if by_superusers_too else set()),
    ):
        found = plan(*entries, facts=facts)
        every = {entry.dump_id for entry in (*ENTRIES, *entries)}
        assert every - loaded(found) == expected
        assert bool(found.omitted) is bool(expected)
        assert found.blockers == ()


def test_what_is_merely_different_is_a_note() -> None:
    table = Entry(20, "TABLE", "t", "public", "app", tablespace="fast")
    facts = replace(FACTS, collation_version="2.36", extensions={"pg_trgm": AvailableExtension("1.7", True, True)})
    found = plan(table, facts=facts, census=database(collation_version="2.31"))
    assert found.blockers == ()
    for part in ("fast", "1.7 here and was 1.6", "2.36 here and was 2.31"):
        assert any(part in note for note in found.notes), part


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@given(names, names, names, st.lists(names, min_size=1, max_size=4))
def test_a_policys_roles_are_read_whatever_the_names(policy: str, schema: str, table: str, roles: list[str]) -> None:
    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    definition = (
        f"CREATE POLICY {quoted(policy)} ON {quoted(schema)}.{quoted(table)} AS RESTRICTIVE FOR SELECT "
        f"TO {', '.join(map(quoted, roles))} USING ((x = ' TO y USING '));\n"
    )
    assert policy_roles(definition) == roles


@given(st.lists(st.integers(2, 40), unique=True, max_size=20), st.booleans())
def test_what_is_kept_is_in_the_archives_order_and_nothing_is_kept_that_nobody_wrote(ids: list[int], odd: bool) -> None:
    entries = [
        Entry(100 + number, "EVENT TRIGGER" if number % 2 == odd else "VIEW", str(number), "public", "app")
        for number in ids
    ]
    found = plan(*entries)
    order = [entry.dump_id for entry in (*ENTRIES, *entries)]
    kept = loaded(found)
    for stage in (found.stages.from_stream, found.stages.side_by_side, found.stages.last):
        assert list(stage) == [dump_id for dump_id in order if dump_id in set(stage)]
    assert set(order) - kept == {entry.dump_id for entry in entries if entry.description == "EVENT TRIGGER"}
