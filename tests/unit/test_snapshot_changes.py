"""What makes a snapshot unfit, as a decision on facts."""

from __future__ import annotations

import pytest

from resguardo.postgres.snapshot import find_changes
from resguardo.postgres.tables import Table, quote_name


def table(name: str, *, oid: int = 1, kind: str = "r", then: int = 7, now: int | None = 7) -> Table:
    return Table(oid, "public", name, kind, "p", then, now, None, oid)


@pytest.mark.parametrize(
    ("tables", "held", "expected"),
    [
        ([], set(), []),
        ([table("t")], {1}, []),
        ([table("t")], {1, 2}, []),
        ([table("t")], {2}, ["public.t was made or renamed after the tables were listed"]),
        ([table("t", now=8)], {1}, ["public.t was truncated or rewritten after the snapshot"]),
        ([table("t", now=None)], {1}, ["public.t was truncated or rewritten after the snapshot"]),
        ([table("parted", kind="p", then=0, now=None)], {1}, []),
        ([table("parted", kind="p", then=0, now=None)], set(), ["public.parted was made or renamed after the tables were listed"]),
        (
            [table("a b", oid=1, now=8), table("c", oid=2), table("D", oid=3)],
            {1, 2},
            ['public."a b" was truncated or rewritten after the snapshot', 'public."D" was made or renamed after the tables were listed'],
        ),
    ],
)  # fmt: skip
def test_find_changes(tables: list[Table], held: set[int], expected: list[str]) -> None:
    assert find_changes(tables, held) == expected


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("plain_1", "plain_1"),
        ("Upper", '"Upper"'),
        ("a b", '"a b"'),
        ('q"t', '"q""t"'),
        ("é", '"é"'),
        ("1a", '"1a"'),
        ("", '""'),
    ],
)
def test_names_are_quoted_unless_plain(name: str, quoted: str) -> None:
    assert quote_name(name) == quoted
