"""Marks in database comments: printed and parsed are inverse, and a person's words are never lost or taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resguardo.api.errors import AlreadyRestored
from resguardo.postgres.mark import (
    Mark,
    MarkedDatabase,
    MarkState,
    find_kept_aside,
    find_leftovers,
    parse_mark,
    read_marks,
    refuse_replay,
    strip_mark,
    with_marks,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
marks = st.builds(
    Mark, state=st.sampled_from(MarkState), namespace=texts, name=texts, uid=texts, fingerprint=texts, backup_id=texts,
    kept_as=st.none() | texts, borrowed=st.lists(texts, max_size=3).map(tuple),
)  # fmt: skip


@given(marks)
def test_a_mark_is_one_line_and_reads_as_it_was_written(mark: Mark) -> None:
    assert len(str(mark).splitlines()) == 1
    assert parse_mark(str(mark)) == mark


@given(st.none() | texts.filter(bool), st.lists(marks, max_size=3))
def test_a_comment_comes_back_from_under_its_marks(comment: str | None, added: list[Mark]) -> None:
    assert read_marks(with_marks(comment, added)) == (comment, tuple(added))
    assert strip_mark(with_marks(comment, added)) == comment


@pytest.mark.parametrize("comment", [None, "", "Portal", "a\nb\n", "Restored by Resguardo: from tape"])
def test_a_comment_without_a_mark_has_none(comment: str | None) -> None:
    assert read_marks(comment) == (comment or None, ())


def mark(state: MarkState, uid: str = "u", fingerprint: str = "f", kept_as: str | None = None) -> Mark:
    return Mark(state, "ns", "dr", uid, fingerprint, "b", kept_as)


DONE, BEGUN, ASIDE = MarkState.RESTORED, MarkState.BEING_RESTORED, MarkState.KEPT_ASIDE


@pytest.mark.parametrize(
    ("name", "marks", "refused"),
    [
        ("portal", [mark(DONE)], True),
        ("portal", [mark(DONE, uid="other")], True),
        ("portal", [mark(DONE, fingerprint="other")], True),
        ("portal_restore_3f9a1c", [mark(DONE)], True),
        ("portal_before_3f9a1c", [mark(DONE), mark(ASIDE, "later", "later", "portal_before_3f9a1c")], True),
        ("portal", [mark(DONE, "other", "other")], False),
        ("portal_restore_3f9a1c", [mark(BEGUN)], False),
        ("portal_before_3f9a1c", [mark(ASIDE, kept_as="portal_before_3f9a1c")], False),
    ],
    ids=[
        "itself", "the same content from another cluster", "the same object", "left aside", "replaced since",
        "another request", "unfinished", "only kept aside",
    ],
)  # fmt: skip
def test_a_request_that_brought_its_database_back_is_not_carried_out_again(
    name: str, marks: list[Mark], refused: bool
) -> None:
    databases = [MarkedDatabase(name, tuple(marks))]
    if refused:
        with pytest.raises(AlreadyRestored, match="ns/dr"):
            refuse_replay(databases, target="portal", uid="u", fingerprint="f")
    else:
        refuse_replay(databases, target="portal", uid="u", fingerprint="f")


def test_a_document_without_uid_is_known_by_its_content_alone() -> None:
    refuse_replay(
        [MarkedDatabase("x", (mark(DONE, uid="", fingerprint="other"),))], target="x", uid="", fingerprint="f"
    )


@pytest.mark.parametrize(
    ("marks", "is_leftover"),
    [
        ([mark(BEGUN)], True),
        ([mark(BEGUN, uid="other")], False),
        ([mark(BEGUN, fingerprint="other")], False),
        ([mark(DONE)], False),
        ([mark(DONE), mark(BEGUN)], False),
        ([mark(ASIDE, kept_as="n")], False),
        ([], False),
    ],
    ids=["begun", "by another object", "of other content", "done", "both", "kept aside", "unmarked"],
)
def test_only_what_this_very_request_began_and_never_finished_is_a_leftover(
    marks: list[Mark], is_leftover: bool
) -> None:
    databases = [MarkedDatabase("n", tuple(marks))]
    assert find_leftovers(databases, uid="u", fingerprint="f") == (["n"] if is_leftover else [])


@pytest.mark.parametrize(
    ("name", "marks", "is_found"),
    [
        ("old", [mark(ASIDE, kept_as="old")], True),
        ("old", [mark(DONE, "x", "x"), mark(ASIDE, kept_as="old")], True),
        ("renamed", [mark(ASIDE, kept_as="old")], False),
        ("portal", [mark(ASIDE, kept_as="portal")], False),
        ("old", [mark(ASIDE, "x", "x", "old")], False),
        ("old", [mark(DONE)], False),
    ],
    ids=["kept", "restored before that", "renamed since", "the target itself", "another's", "not kept aside"],
)
def test_the_previous_database_is_the_one_that_still_bears_its_given_name(
    name: str, marks: list[Mark], is_found: bool
) -> None:
    databases = [MarkedDatabase(name, tuple(marks))]
    assert find_kept_aside(databases, target="portal", uid="u", fingerprint="f") == ([name] if is_found else [])
