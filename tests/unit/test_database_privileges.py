"""Privileges and settings as the catalogs print them, and names that PostgreSQL would cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resguardo.api.census import DatabaseProperties
from resguardo.api.request import Ownership
from resguardo.postgres.aclitem import AclItem, in_order_of_granting, parse_acl_item
from resguardo.postgres.database import kept_name, temporary_name
from resguardo.postgres.restored_properties import split_names, wanted_privileges

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
    wanted = wanted_privileges(properties(acl), Ownership.ROLE, owner="me")
    assert {letter for item in wanted if not item.grantee for letter, _ in item.privileges} == public
    assert {item.grantee for item in wanted if item.grantee} == {"me"}
    assert {item.grantor for item in wanted} == {"me"}
