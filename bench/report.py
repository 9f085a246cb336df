"""Results as Markdown: medians, every single run, the ratio to the side that is compared with, and what is aimed at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.measure import Run


@dataclass(frozen=True)
class Comparison:
    """Resguardo beside another way of doing the same; the runs of both were made in turns."""

    task: str
    other: str
    ours: Sequence[Run]
    theirs: Sequence[Run]
    #: Our time as a part of theirs, at most.
    aim: float

    @property
    def ratio(self) -> float:
        """Median against median."""
        return median(run.seconds for run in self.ours) / median(run.seconds for run in self.theirs)


def render(
    facts: Mapping[str, str], *, database_bytes: int, stored_bytes: int, comparisons: Sequence[Comparison]
) -> str:
    """The whole report."""
    lines = [
        f"A portal's database of {database_bytes / 1e9:.2f} GB (`pg_database_size`), {stored_bytes / 1e6:.0f} MB in the bucket.",
        "Both sides on one machine with their servers, in turns; times are medians, in brackets every run.",
        "",
        *(f"- {name}: {fact}" for name, fact in facts.items()),
        "",
        "| task | Resguardo | against | its time | ratio | aim | peak memory of Resguardo and its children |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {c.task} | {_times(c.ours)} | {c.other} | {_times(c.theirs)} | {c.ratio:.2f} | ≤ {c.aim:.2f}"
            f" | {max(run.peak_bytes for run in c.ours) / 2**20:.0f} MiB |"
            for c in comparisons
            if c.ours
        ),
    ]
    return "\n".join(lines) + "\n"


def _times(runs: Sequence[Run]) -> str:
    seconds = [run.seconds for run in runs]
    return f"{median(seconds):.1f} s ({', '.join(f'{value:.1f}' for value in seconds)})"
