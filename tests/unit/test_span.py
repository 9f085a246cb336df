"""How long something is kept: fixed hours, days, weeks; months and years of the calendar."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resguardo.api.durations import Span, parse_span
from tests.unit.histories import at


@pytest.mark.parametrize(
    ("span", "moment", "before"),
    [
        ("36h", "2026-11-23T02:00", "2026-11-21T14:00"),
        ("30d", "2026-03-01", "2026-01-30"),
        ("8w", "2026-11-23", "2026-09-28"),
        ("3mo", "2026-11-23T02:00", "2026-08-23T02:00"),
        ("1mo", "2026-03-31", "2026-02-28"),
        ("1mo", "2024-03-31", "2024-02-29"),
        ("11mo", "2026-11-23", "2025-12-23"),
        ("12mo", "2026-12-23", "2025-12-23"),
        ("1y", "2024-02-29T05:00", "2023-02-28T05:00"),
        ("4y", "2024-02-29", "2020-02-29"),
        ("9999y", "2026-11-23", "0001-01-01"),
        ("9999mo", "0800-01-01", "0001-01-01"),
        ("9999w", "0100-01-01", "0001-01-01"),
    ],
)
def test_a_span_before_a_moment(span: str, moment: str, before: str) -> None:
    assert parse_span(span).before(at(moment)) == at(before)


@pytest.mark.parametrize(
    "text", ["", "30", "d", "0d", "-1d", "30 d", "30D", "1m", "1.5y", "10000d", "30d\n", "1y6mo", "٣d"]
)
def test_what_is_no_span_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(ValueError, match="36h, 30d, 8w, 3mo or 1y"):
        parse_span(text)


SPANS = st.builds(Span, st.integers(1, 9999), st.sampled_from(["h", "d", "w", "mo", "y"]))
MOMENTS = st.datetimes().map(lambda moment: moment.replace(tzinfo=UTC))


@given(span=SPANS)
def test_printing_and_parsing_are_inverse(span: Span) -> None:
    assert parse_span(str(span)) == span


@given(span=SPANS, one=MOMENTS, other=MOMENTS)
def test_a_later_moment_never_gives_an_earlier_result(span: Span, one: datetime, other: datetime) -> None:
    earlier, later = sorted((one, other))
    assert span.before(earlier) <= span.before(later) <= later
