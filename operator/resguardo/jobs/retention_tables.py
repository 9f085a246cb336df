"""A plan, and what a policy will hold, as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from resguardo.api.base import print_time
from resguardo.api.sizes import print_size
from resguardo.jobs.catalog import MIN_WIDTH, printable
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


def print_plan(plan: Plan, console: Console) -> None:
    """One line for each backup, the newest last, and what the plan comes to."""
    console.width = max(console.width, MIN_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ["BACKUP", "STARTED", "SIZE", "KEEP", "WHY"]:
        table.add_column(heading, no_wrap=heading != "WHY", justify="right" if heading == "SIZE" else "left")
    for verdict in plan.verdicts:
        backup = verdict.backup
        table.add_row(
            Text(printable(backup.id)),
            print_time(backup.started_at),
            print_size(backup.bytes),
            "yes" if verdict.keep else "no",
            Text(printable(", ".join(str(reason) for reason in verdict.reasons))),
        )
    console.print(table)
    removed = plan.removed
    console.print(
        f"{len(plan.kept)} stay, {len(removed)} go ({print_size(sum(backup.bytes for backup in removed))})",
        style="bold",
    )


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
