"""When a backup's size is odd: beside the last one, beside the last fourteen, and table by table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resguardo.rules.growth import Limits, Oddness, Sample, choose_baseline, judge_size
from tests.unit.histories import DAY, at, backup, every

MIB = 1024 * 1024
NONE = Limits()


def samples(*sizes: float) -> list[Sample]:
    """Backups of so many MiB, of a database with ten tables."""
    return [Sample(bytes=round(size * MIB), tables=10) for size in sizes]


def oddness(made: Sample, baseline: list[Sample], limits: Limits = NONE) -> list[Oddness]:
    return [finding.oddness for finding in judge_size(made, baseline, limits)]


STEADY = [100, 101, 100, 102, 101, 100, 101]
GROWING = [100 * 1.05**day for day in range(14)]
RESTLESS = [100, 160, 90, 150, 100, 170, 95, 140]


@pytest.mark.parametrize(
    ("before", "now", "odd"),
    [
        pytest.param([], 100, [], id="the first backup of all"),
        pytest.param([100], 51, [], id="hardly more than half of the only one before"),
        pytest.param([100], 49, [Oddness.SHRANK], id="less than half of the only one before"),
        pytest.param([100, 100, 100, 100], 1000, [], id="four are too few to know what is much"),
        pytest.param([100, 100, 100, 100, 100], 131, [Oddness.GREW], id="five are enough"),
        pytest.param([100, 100, 100, 100, 100], 129, [], id="nothing within 1.3 times is odd"),
        pytest.param([100, 100, 100, 100, 100], 78, [], id="nor on the other side"),
        pytest.param([100, 100, 100, 100, 100], 76, [Oddness.SHRANK], id="a quarter less is"),
        pytest.param(STEADY, 140, [Oddness.GREW], id="a leap after steady days"),
        pytest.param(STEADY, 40, [Oddness.SHRANK, Oddness.SHRANK], id="both rules have a word"),
        pytest.param(GROWING, GROWING[-1] * 1.05, [], id="growth as every day"),
        pytest.param(RESTLESS, 200, [], id="a database that varies may vary"),
        pytest.param(
            [*STEADY[:-1], 1000], 101, [Oddness.SHRANK], id="less than half of the last, though normal beside all"
        ),
    ],
)
def test_the_size_beside_those_before(before: list[float], now: float, odd: list[Oddness]) -> None:
    assert oddness(samples(now)[0], samples(*before)) == odd


def test_only_the_last_fourteen_count() -> None:
    assert oddness(samples(100)[0], samples(*[1] * 30, *[100] * 14)) == []


@pytest.mark.parametrize(
    ("limits", "now", "odd"),
    [
        pytest.param(Limits(max_increase=0.2), 120, [], id="as much as it may"),
        pytest.param(Limits(max_increase=0.2), 121, [Oddness.GREW], id="more than it may"),
        pytest.param(Limits(max_decrease=0.1), 90, [], id="as little as it may"),
        pytest.param(Limits(max_decrease=0.1), 89, [Oddness.SHRANK], id="less than it may"),
        pytest.param(Limits(minimum_bytes=99 * MIB), 99, [], id="the floor"),
        pytest.param(Limits(minimum_bytes=99 * MIB), 98, [Oddness.SHRANK], id="below the floor"),
    ],
)
def test_limits_of_the_policy(limits: Limits, now: float, odd: list[Oddness]) -> None:
    assert oddness(samples(now)[0], samples(100), limits) == odd


def test_a_floor_holds_for_the_first_backup_too() -> None:
    assert oddness(samples(1)[0], [], Limits(minimum_bytes=2 * MIB)) == [Oddness.SHRANK]


@pytest.mark.parametrize(
    ("before", "now", "odd"),
    [
        pytest.param([{1: 1000}], {1: 0}, True, id="emptied"),
        pytest.param([{1: 1000}], {}, True, id="gone"),
        pytest.param([{1: 999}], {1: 0}, False, id="too small to matter"),
        pytest.param([{1: 1000}], {1: 1}, False, id="one row is not none"),
        pytest.param([{1: 1000}], {1: None}, False, id="not counted today"),
        pytest.param([{1: None}], {1: 0}, False, id="not counted then"),
        pytest.param([{1: 1000}, {}, {1: 1000}], {1: 0}, False, id="it was empty before: it comes and goes"),
        pytest.param([{}, {}, {1: 1000}], {1: 0}, True, id="it is young"),
        pytest.param([{1: 1000}], {2: 500}, False, id="swapped for a new one of half its rows"),
        pytest.param([{1: 1000}], {2: 499}, True, id="a new one that is too small to be it"),
        pytest.param([{1: 1000, 2: 1000}], {3: 1000}, True, id="one new for two old ones"),
        pytest.param([{1: 1000, 2: 1000}], {1: 0, 2: 0, 3: 1000, 4: 1000}, False, id="two for two"),
        pytest.param([{1: 1000, 2: 5000}], {2: 5000}, True, id="gone, though the others are there"),
    ],
)
def test_a_table_of_some_size_that_is_emptied_or_vanishes(
    before: list[dict[int, int | None]], now: dict[int, int | None], odd: bool
) -> None:
    baseline = [Sample(100 * MIB, 10, rows) for rows in before]
    assert oddness(Sample(100 * MIB, 10, now), baseline) == ([Oddness.TABLES_EMPTIED] if odd else [])


def test_a_database_without_tables() -> None:
    assert Oddness.NO_TABLES in oddness(Sample(100 * MIB, 0), samples(100))
    assert oddness(Sample(100 * MIB, 0), [Sample(100 * MIB, 0)]) == []


def test_the_messages_name_sizes_and_no_tables() -> None:
    before = [Sample(100 * MIB, 3, {4711: 5000, 4712: 70000})] * 5
    assert [finding.message for finding in judge_size(Sample(10 * MIB, 0), before, NONE)] == [
        "the database has no tables; at the last backup it had 3",
        "from 100MiB to 10MiB since the last good backup: by more than 50%",
        "10MiB are not between 77MiB and 130MiB, as the last 5 good backups suggest",
        "2 tables with 75,000 rows at the last backup: gone, or without a row now",
    ]


@given(size=st.integers(0, 2**60), count=st.integers(0, 20))
def test_the_same_size_again_is_never_odd(size: int, count: int) -> None:
    same = Sample(size, 10, {1: 5000})
    assert judge_size(same, [same] * count, NONE) == []


@given(sizes=st.lists(st.integers(0, 2**60), max_size=20), size=st.integers(0, 2**60))
def test_any_sizes_at_all_are_judged(sizes: list[int], size: int) -> None:
    findings = judge_size(Sample(size, 1), [Sample(one, 1) for one in sizes], Limits(max_increase=0.5))
    assert all(finding.message for finding in findings)


def test_the_baseline_are_the_last_fourteen_good_ones_of_the_same_database_and_method() -> None:
    history = [
        *every(DAY, first=at("2026-10-01"), last=at("2026-10-31"), source="7301/agepar", method="pgDump"),
        backup(at("2026-11-01"), source="7301/agepar", method="pgDump", odd=True),
        backup(at("2026-11-02"), source="7301/agepar", method="pgDump", outcome="Failed"),
        backup(at("2026-11-03"), source="7302/agepar", method="pgDump"),
        backup(at("2026-11-04"), source="7301/agepar", method="walG"),
    ]
    chosen = choose_baseline(history[::-1], source="7301/agepar", method="pgDump", accepted=frozenset())
    assert [one.started_at.day for one in chosen] == list(range(18, 32))


def test_acceptance_starts_the_baseline_again_with_the_accepted_one() -> None:
    history = every(DAY, first=at("2026-10-01"), last=at("2026-10-31"), source="7301/agepar", method="pgDump")
    accepted = frozenset({history[3].id, history[28].id})
    chosen = choose_baseline(history, source="7301/agepar", method="pgDump", accepted=accepted)
    assert [one.started_at.day for one in chosen] == [29, 30, 31]
