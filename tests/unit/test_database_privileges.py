"""Privileges and settings as the catalogs print them, and names that PostgreSQL would cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resguardo.api.census import DatabaseProperties, Role
from resguardo.api.request import Ownership
from resguardo.postgres.database import kept_name, temporary_name
from resguardo.postgres.restored_properties import split_names
from resguardo.rules.aclitem import AclItem, in_order_of_granting, parse_acl_item
from resguardo.rules.database_privileges import plan_database_privileges
from resguardo.rules.restore_facts import RoleFacts, TargetFacts
from resguardo.rules.restore_roles import roles_to_act_as

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
privileges = st.lists(st.tuples(st.sampled_from("CcT"), st.booleans()), max_size=3).map(tuple)


@given(st.builds(AclItem, grantee=names, privileges=privileges, grantor=names))
def test_an_aclitem_reads_as_it_was_written(item: AclItem) -> None:
    assert parse_acl_item(str(item)) == item


@pytest.mark.parametrize("text", ["", "app", "app=c", "a b=c", "app=c1/x", '"app=c/x'])
def test_what_is_no_aclitem_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an aclitem"):
        parse_acl_item(text)


def test_letters_outside_ascii_may_stand_without_quotes() -> None:
    assert parse_acl_item("ação=c/joão") == AclItem("ação", (("c", False),), "joão")


def test_each_grant_comes_after_the_one_that_allows_it() -> None:
    texts = ["c=c/b", "b=c*/a", "a=c*/owner", "owner=CTc/owner", "lost=c/nobody"]
    ordered = [str(item) for item in in_order_of_granting([parse_acl_item(text) for text in texts], "owner")]
    assert ordered.index("a=c*/owner") < ordered.index("b=c*/a") < ordered.index("c=c/b")
    assert sorted(ordered) == sorted(texts)


@given(st.lists(names, max_size=5))
def test_a_list_of_names_is_split_as_it_was_quoted(wanted: list[str]) -> None:
    assert split_names(", ".join('"' + name.replace('"', '""') + '"' for name in wanted)) == wanted


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=63))
def test_made_up_names_fit_and_keep_their_ending(target: str) -> None:
    for make, ending in ((temporary_name, "_restore_3f9a1c"), (kept_name, "_before_3f9a1c")):
        name = make(target, "3f9a1c")
        assert len(name.encode()) <= 63
        assert name.endswith(ending)
        assert target.startswith(name.removesuffix(ending))


def properties(acl: list[str] | None) -> DatabaseProperties:
    return DatabaseProperties(
        name="x", encoding="UTF8", locale_provider="c", collate="C", ctype="C", owner="app", acl=acl, size_bytes=1
    )


@pytest.mark.parametrize(
    ("acl", "public"),
    [(None, {"c", "T"}), (["app=CTc/app"], set()), (["=c/app", "app=CTc/app", "reader=c/app"], {"c"})],
    ids=["the default", "closed to PUBLIC", "CONNECT only"],
)
def test_a_copy_never_opens_more_to_public_than_the_original(acl: list[str] | None, public: set[str]) -> None:
    planned = plan_database_privileges(properties(acl), Ownership.ROLE, facts(), acts_as=())
    assert {letter for item in planned.granted if not item.grantee for letter, _ in item.privileges} == public
    assert {item.grantee for item in planned.granted if item.grantee} == {"me"}
    assert {item.grantor for item in planned.granted} == {"me"}
    assert planned.omitted == ()


OWNERS = ["=c/app", "app=CTc/app", "dba=C*c*/app"]


@pytest.mark.parametrize(
    ("acl", "acts_as", "left_out"),
    [
        (OWNERS, set(), []),
        ([*OWNERS, "reader=c/dba"], set(), ["reader=c/dba"]),
        ([*OWNERS, "reader=c/dba"], {"dba"}, []),
        (["last=c/reader", "reader=c*/dba", *OWNERS], {"reader"}, ["last=c/reader", "reader=c*/dba"]),
        ([*OWNERS, "reader=C*/dba", "reader=c*/app", "last=Cc/reader"], {"reader"}, ["last=C/reader", "reader=C*/dba"]),
        ([*OWNERS, "=T/dba"], set(), ["=T/dba"]),
    ],
    ids=[
        "the owner's grants",
        "another's",
        "one's as which the role may act",
        "what rests on what is left out",
        "of one item, what does not rest on what is left out stays",
        "to PUBLIC",
    ],
)
def test_privileges_in_the_name_of_whom_the_role_cannot_act_are_named_and_not_granted(
    acl: list[str], acts_as: set[str], left_out: list[str]
) -> None:
    planned = plan_database_privileges(properties(acl), Ownership.ORIGINAL, facts(), acts_as=acts_as)
    sentence = (
        "privileges on the database that another role than its owner had granted, in whose name role me cannot grant: "
    )
    assert planned.omitted == ((sentence + ", ".join(left_out),) if left_out else ())
    assert single_grants(map(str, planned.granted)) == single_grants(acl) - single_grants(left_out)


def test_a_superuser_grants_in_anybodys_name() -> None:
    acl = ["last=c/reader", "reader=c*/dba", *OWNERS]
    everybody = replace(facts(), is_superuser=True)
    planned = plan_database_privileges(properties(acl), Ownership.ORIGINAL, everybody, acts_as=())
    assert sorted(map(str, planned.granted)) == sorted(acl)
    assert planned.omitted == ()


BORROWED_BY_ANOTHER = RoleFacts(is_settable=True, is_borrowed=True)


@pytest.mark.parametrize(
    ("roles", "borrowed", "created", "acts_as"),
    [
        ({"me": RoleFacts()}, (), [], set()),
        (
            {"me": RoleFacts(member_of=("dba",)), "dba": RoleFacts(member_of=("team",)), "team": RoleFacts()},
            (),
            [],
            {"dba", "team"},
        ),
        (
            {"me": RoleFacts(), "dba": RoleFacts(member_of=("team",)), "team": RoleFacts()},
            ("dba",),
            [],
            {"dba", "team"},
        ),
        ({"me": RoleFacts(), "dba": RoleFacts(member_of=("me",))}, ("dba",), [], {"dba"}),
        ({"me": RoleFacts(member_of=("dba",)), "dba": BORROWED_BY_ANOTHER}, (), [], set()),
        ({"me": RoleFacts(member_of=("dba",)), "dba": BORROWED_BY_ANOTHER}, ("dba",), [], {"dba"}),
        ({"me": RoleFacts()}, ("new",), [Role(name="new", member_of=["group"]), Role(name="group")], {"new", "group"}),
        ({"me": RoleFacts()}, (), [Role(name="new")], set()),
    ],
    ids=[
        "none",
        "a member of a member",
        "by a membership that it gives itself",
        "in a circle",
        "not what another restore takes back",
        "what another restore has borrowed and this one too",
        "one that is made, and its groups",
        "not every one that is made",
    ],
)
def test_as_whom_a_restore_may_act(
    roles: dict[str, RoleFacts], borrowed: tuple[str, ...], created: list[Role], acts_as: set[str]
) -> None:
    assert roles_to_act_as(replace(facts(), roles=roles), borrowed=borrowed, created=created) == acts_as | {"me"}


def single_grants(texts: Iterable[str]) -> set[tuple[str, tuple[str, bool], str]]:
    items = map(parse_acl_item, texts)
    return {(item.grantee, privilege, item.grantor) for item in items for privilege in item.privileges}


def facts() -> TargetFacts:
    return TargetFacts(server_version_num=150000, tool_major=15, role="me")
