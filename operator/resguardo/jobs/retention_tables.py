"""A plan, and what a policy will hold, as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from resguardo.api.base import print_time
from resguardo.api.sizes import print_size
from resguardo.api.text import printable
from resguardo.jobs.catalog import WIDTH, removal_of
from resguardo.jobs.survey import Survey
from resguardo.rules.retention import Plan
from resguardo.rules.simulation import Holding
from resguardo.rules.tiers import Tier

BAR_WIDTH = 30


def plan_document(plan: Plan) -> list[dict[str, Any]]:
    """One {id, keep, reasons} for each backup, the oldest first."""
    return [
        {"id": verdict.backup.id, "keep": verdict.keep, "reasons": [str(reason) for reason in verdict.reasons]}
        for verdict in plan.verdicts
    ]


def print_plan(plan: Plan, console: Console, removals: Mapping[str, str] | None = None) -> None:
    """One line for each backup, the newest last, and what the plan comes to; `removals` says of some when they go."""
    console.width = max(console.width, WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    headings = ["BACKUP", "STARTED", "SIZE", "KEEP", "WHY", *(["REMOVAL"] if removals else [])]
    for heading in headings:
        table.add_column(heading, no_wrap=heading != "WHY", justify="right" if heading == "SIZE" else "left")
    for verdict in plan.verdicts:
        backup = verdict.backup
        table.add_row(
            Text(printable(backup.id)),
            print_time(backup.started_at),
            print_size(backup.bytes),
            "yes" if verdict.keep else "no",
            Text(printable(", ".join(str(reason) for reason in verdict.reasons))),
            *([removals.get(backup.id, "")] if removals else []),
        )
    console.print(table)
    removed = plan.removed
    console.print(
        f"{len(plan.kept)} stay, {len(removed)} go ({print_size(sum(backup.bytes for backup in removed))})",
        style="bold",
    )


def survey_document(seen: Survey) -> dict[str, Any]:
    """The pause, if there is one, the plan's hash, and one {id, keep, reasons, step, markedAt, goesAt} for each backup, the oldest first.

    `step` is what a run does next, absent where that is nothing.
    """
    steps, removals = seen.steps, seen.removals
    backups = plan_document(seen.plan)
    for backup in backups:
        name = backup["id"]
        trashed = seen.trash.marked.get(name)
        facts = {
            "step": steps[name].value if name in steps else None,
            "markedAt": print_time(trashed.marked_at) if trashed else None,
            "goesAt": print_time(removals[name]) if name in removals else None,
        }
        backup.update({key: value for key, value in facts.items() if value is not None})
    return {"paused": seen.paused_document, "planHash": seen.plan_hash, "backups": backups}


def print_survey(seen: Survey, console: Console) -> None:
    """The plan as a table, when what goes will be gone, and what holds it up."""
    told = {name: removal_of(name, seen) for name in seen.steps}
    print_plan(seen.plan, console, told)
    if seen.paused is not None:
        console.print(printable(f"paused, {seen.paused.pause}: {seen.paused.message}"), style="yellow", markup=False)
    for problem in seen.trash.problems.values():
        console.print(printable(str(problem)), style="red", markup=False)


def simulation_document(held: Sequence[Holding]) -> list[dict[str, Any]]:
    """One {at, backups, bytes, byTier} after each backup."""
    return [
        {
            "at": print_time(holding.at),
            "backups": holding.backups,
            "bytes": holding.bytes,
            "byTier": {tier.value: holding.by_tier[tier] for tier in Tier if holding.by_tier[tier]},
        }
        for holding in held
    ]


def print_simulation(held: Sequence[Holding], console: Console) -> None:
    """What is held at the end of each month, with a bar."""
    tiers = [tier for tier in Tier if any(holding.by_tier[tier] for holding in held)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ["MONTH", "BACKUPS", *(tier.upper() for tier in tiers), "SIZE", ""]:
        table.add_column(heading, no_wrap=True, justify="left" if heading in ("MONTH", "") else "right")
    most = max((holding.bytes for holding in held), default=0) or 1
    ends_of_months = {f"{holding.at:%Y-%m}": holding for holding in held}
    for month, holding in ends_of_months.items():
        table.add_row(
            month,
            str(holding.backups),
            *(str(holding.by_tier[tier]) for tier in tiers),
            print_size(holding.bytes),
            Bar(most, 0, holding.bytes, width=BAR_WIDTH),
        )
    console.print(table if held else "no backup is due in that time")
