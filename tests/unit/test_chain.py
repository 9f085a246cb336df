"""What fits in among the backups of a prefix, and what was made elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resguardo.api.backup_id import new_backup_id
from resguardo.rules.chain import Link, broken_links

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
START = datetime(2026, 11, 1, 5, tzinfo=UTC)


def an_id(day: float, mark: str = "aaaaaa") -> str:
    return new_backup_id(START + day * DAY, mark)


def link(day: float, previous: str | None, *, stored: timedelta = HOUR, mark: str = "aaaaaa") -> Link:
    started_at = START + day * DAY
    return Link(an_id(day, mark), previous, started_at, started_at + stored)


@pytest.mark.parametrize(
    "links",
    [
        pytest.param([], id="none"),
        pytest.param([link(0, None)], id="the first"),
        pytest.param([link(0, None), link(1, an_id(0)), link(2, an_id(1))], id="one after the other"),
        pytest.param([link(5, an_id(4)), link(9, an_id(8))], id="those between were removed"),
        pytest.param([link(0, None, stored=40 * DAY), link(1, None, stored=40 * DAY)], id="copied here, and so received later"),
        pytest.param([link(0, None), link(1, an_id(0), stored=30 * HOUR), link(2, an_id(0))], id="two at the same time"),
        pytest.param([link(0, None), link(1, an_id(0)), link(1 + 1 / 24 + 1 / 1440, an_id(0))], id="clocks a minute apart"),
        pytest.param([link(0, None), link(3, an_id(2)), link(2, an_id(0), stored=31 * DAY)], id="one that came later, before another"),
    ],
)  # fmt: skip
def test_what_fits_in(links: list[Link]) -> None:
    assert broken_links(links) == {}


def _made_elsewhere(named: str, there: str) -> str:
    return f"it names {named} as the backup before it, and {there} was here when it started: it was made elsewhere"


@pytest.mark.parametrize(
    ("links", "broken"),
    [
        pytest.param(
            [link(0, None), link(1, an_id(0)), link(2, an_id(0.5, "bbbbbb"), mark="bbbbbb")],
            {an_id(2, "bbbbbb"): _made_elsewhere(an_id(0.5, "bbbbbb"), an_id(1))}, id="of another line, as the newest",
        ),
        pytest.param(
            [link(0, None), link(1, None)], {an_id(1): _made_elsewhere("none", an_id(0))}, id="the first of another prefix",
        ),
        pytest.param(
            [link(0, an_id(3))],
            {an_id(0): f"it names {an_id(3)} as the backup before it, which is not before it"}, id="before what it names",
        ),
        pytest.param(
            [link(0, None), link(1, None, stored=0 * HOUR, mark="bbbbbb"), link(2, an_id(1, "bbbbbb"))],
            {an_id(1, "bbbbbb"): _made_elsewhere("none", an_id(0))}, id="one in the middle, and the next is not blamed",
        ),
        pytest.param(
            # Clocks that differ by days: what is later by its id was there, and so was the one before.
            [link(0, None), link(3, an_id(2), stored=-3 * DAY), link(1, None)],
            {an_id(1): _made_elsewhere("none", an_id(0))}, id="beside one whose clock is days ahead",
        ),
    ],
)  # fmt: skip
def test_what_does_not(links: list[Link], broken: dict[str, str]) -> None:
    assert broken_links(links) == broken


@given(st.data())
def test_no_history_of_one_prefix_breaks_whatever_is_removed(data: st.DataObject) -> None:
    """Each run names the newest committed one that it found; some overlap, and retention removes what it likes."""
    made: list[Link] = []
    for number in range(data.draw(st.integers(1, 12))):
        day = number * 0.5 + data.draw(st.floats(0, 0.4))
        there = [other.id for other in made if other.stored_at <= START + day * DAY and other.id < an_id(day)]
        took = timedelta(minutes=data.draw(st.integers(1, 3000)))
        made.append(link(day, max(there, default=None), stored=took))
    left = [one for one in made if data.draw(st.booleans())]
    assert broken_links(left) == {}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-2, 30), st.integers(0, 100)), max_size=20))
def test_it_says_the_same_as_looking_at_each_pair(drawn: list[tuple[int, int, int]]) -> None:
    links = [
        link(day, None if previous < 0 else an_id(previous), stored=stored * HOUR, mark=f"{number:06x}")
        for number, (day, previous, stored) in enumerate(drawn)
    ]
    expected = set()
    for one in links:
        before = [other.id for other in links if other.id < one.id and other.stored_at + 15 * MINUTE <= one.started_at]
        named = one.previous_id or ""
        if named >= one.id or (before and named < max(before)):
            expected.add(one.id)
    assert broken_links(links).keys() == expected
