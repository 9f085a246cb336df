"""Whether a backup's size is normal beside those before it. Facts in, findings out; a finding names no table.

Sizes are compared as logarithms, so that half and double are equally far away, by the median and the median absolute
deviation (MAD), which one odd backup among the others does not move. 1.4826 MAD estimate a standard deviation (Rousseeuw
and Croux, "Alternatives to the Median Absolute Deviation", 1993).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import exp, log
from statistics import median

from resguardo.api.inventory import BackupFacts
from resguardo.api.sizes import print_size

#: How many backups the present one is compared with, and how few are too few to know what varies how much.
BASELINE_MAX = 14
BASELINE_MIN = 5
SIGMA_OF_MAD = 1.4826
SIGMAS = 4
#: Nothing nearer to the median is odd, however little the others vary.
FACTOR_MIN = 1.3
#: Of what the last good backup had.
SHRUNK_SHARE = 0.5
#: A table of fewer rows comes and goes without a word.
ROWS_MIN = 1000


class Oddness(StrEnum):
    """In what way a backup is odd."""

    GREW = "Grew"
    SHRANK = "Shrank"
    NO_TABLES = "NoTables"
    TABLES_EMPTIED = "TablesEmptied"


@dataclass(frozen=True)
class Finding:
    """One thing that is odd, with its numbers."""

    oddness: Oddness
    message: str


@dataclass(frozen=True)
class Limits:
    """What a policy says is too much, whatever was before: shares of the last good backup's bytes, and a floor."""

    max_increase: float | None = None
    max_decrease: float = SHRUNK_SHARE
    minimum_bytes: int = 0


@dataclass(frozen=True)
class Sample:
    """One backup's size."""

    bytes: int
    tables: int
    #: Rows by table, None where they were not counted; a table is known by a number that stays when it is renamed. Of a
    #: former backup those of ROWS_MIN rows and more are enough.
    rows: Mapping[int, int | None] = field(default_factory=dict)


def choose_baseline(
    backups: Iterable[BackupFacts], *, source: str, method: str, accepted: frozenset[str]
) -> list[BackupFacts]:
    """The good backups that a new one is compared with, the newest last.

    From the last one on that a person accepted (`accepted` are ids): what was normal before it is normal no more.
    """
    good = sorted(
        (one for one in backups if one.is_good and (one.source, one.method) == (source, method)),
        key=lambda one: one.by_age,
    )
    starts = [number for number, one in enumerate(good) if one.id in accepted]
    return good[max(starts, default=0) :][-BASELINE_MAX:]


def judge_size(made: Sample, baseline: Sequence[Sample], limits: Limits) -> list[Finding]:
    """What is odd about a backup; nothing is odd where the list is empty.

    `baseline` are those of choose_baseline that were compressed in the same way, the newest last.
    """
    recent = baseline[-BASELINE_MAX:]
    return [
        *_floor(made, limits),
        *_beside_the_last(made, recent[-1:], limits),
        *_beside_all(made, recent),
        *_emptied(made, recent),
    ]


def _floor(made: Sample, limits: Limits) -> Iterator[Finding]:
    if made.bytes < limits.minimum_bytes:
        yield Finding(
            Oddness.SHRANK,
            f"{print_size(made.bytes)} are less than growth.minimumBytes, {print_size(limits.minimum_bytes)}",
        )


def _beside_the_last(made: Sample, last: Sequence[Sample], limits: Limits) -> Iterator[Finding]:
    for former in last:
        if made.tables == 0 and former.tables > 0:
            yield Finding(Oddness.NO_TABLES, f"the database has no tables; at the last backup it had {former.tables}")
        if made.bytes < former.bytes * (1 - limits.max_decrease):
            yield Finding(Oddness.SHRANK, _changed(former.bytes, made.bytes, f"by more than {limits.max_decrease:.0%}"))
        if limits.max_increase is not None and made.bytes > former.bytes * (1 + limits.max_increase):
            yield Finding(Oddness.GREW, _changed(former.bytes, made.bytes, f"by more than {limits.max_increase:.0%}"))


def _beside_all(made: Sample, recent: Sequence[Sample]) -> Iterator[Finding]:
    if len(recent) < BASELINE_MIN:
        return
    sizes = [log(max(1, sample.bytes)) for sample in recent]
    middle = median(sizes)
    spread = median(abs(size - middle) for size in sizes)
    usual = max(SIGMAS * SIGMA_OF_MAD * spread, log(FACTOR_MIN))
    away = log(max(1, made.bytes)) - middle
    if abs(away) > usual:
        low, high = exp(middle - usual), exp(middle + usual)
        yield Finding(
            Oddness.GREW if away > 0 else Oddness.SHRANK,
            f"{print_size(made.bytes)} are not between {print_size(round(low))} and {print_size(round(high))}, as the last "
            f"{len(recent)} good backups suggest",
        )


def _emptied(made: Sample, recent: Sequence[Sample]) -> Iterator[Finding]:
    """Tables that had rows in every backup of the baseline that knew them, and have none now.

    One that is gone is no loss where a new one of at least half its rows is there: that is how nightly loads swap tables.
    """
    if not recent:
        return
    last = recent[-1].rows
    lost = sorted(
        (
            rows
            for table, rows in last.items()
            if rows and rows >= ROWS_MIN and made.rows.get(table, 0) == 0 and _was_always_full(table, recent)
        ),
        reverse=True,
    )
    new = sorted((rows for table, rows in made.rows.items() if rows and table not in last), reverse=True)
    missing = []
    for rows in lost:
        if new and new[0] >= rows * SHRUNK_SHARE:
            new.pop(0)
        else:
            missing.append(rows)
    if missing:
        tables = "a table" if len(missing) == 1 else f"{len(missing)} tables"
        yield Finding(
            Oddness.TABLES_EMPTIED,
            f"{tables} with {sum(missing):,} rows at the last backup: gone, or without a row now",
        )


def _was_always_full(table: int, samples: Sequence[Sample]) -> bool:
    known = [table in sample.rows for sample in samples]
    return all(known[known.index(True) :])


def _changed(before: int, after: int, how_much: str) -> str:
    return f"from {print_size(before)} to {print_size(after)} since the last good backup: {how_much}"
