"""What is in the bucket, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from resguardo.api.base import print_time
from resguardo.api.durations import print_duration
from resguardo.api.sizes import print_size
from resguardo.store.catalogue import CatalogueEntry, backup_summary


def to_document(entries: Sequence[CatalogueEntry]) -> dict[str, Any]:
    """A JSON document: a list of manifests, and of what could not be read."""
    return {
        "backups": [json.loads(entry.manifest.to_json()) for entry in entries if entry.manifest],
        "problems": [{"id": entry.id, "problem": str(entry.problem)} for entry in entries if entry.problem],
    }


MIN_WIDTH = 140


def printable(text: str) -> str:
    """The text with what would speak to a terminal, and not to a person, written as an escape.

    >>> print(printable("São João\\x1b[31m\\n"))
    São João\\x1b[31m\\n
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def print_table(entries: Sequence[CatalogueEntry], console: Console) -> None:
    """One line for each backup, the newest last. Like kubectl's, a line is never cut to fit a narrow terminal."""
    console.width = max(console.width, MIN_WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ["BACKUP", "STARTED", "TRIGGER", "DATABASE", "VERSION"]:
        table.add_column(heading, overflow="fold", no_wrap=heading != "DATABASE")
    for heading in ["TABLES", "ROWS", "SIZE", "TOOK"]:
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in entries:
        if entry.manifest is None:
            table.add_row(entry.id, f"[red]{type(entry.problem).__name__}[/red]")
            continue
        manifest = entry.manifest
        summary = backup_summary(manifest)
        counted = "" if manifest.census.tables_counted == manifest.census.tables else "≥"
        table.add_row(
            manifest.id,
            print_time(manifest.started_at),
            manifest.trigger,
            Text(printable(manifest.source.database)),
            str(manifest.source.server_version_num // 10000),
            f"{manifest.census.tables:,}",
            f"{counted}{manifest.census.rows:,}",
            print_size(manifest.bytes),
            print_duration(manifest.completed_at - manifest.started_at) if summary.duration_seconds else "<1s",
        )
    console.print(table)
    for entry in entries:
        if entry.problem is not None:
            console.print(printable(f"{entry.id}: {entry.problem}"), style="red", markup=False)
    if not entries:
        console.print("no backups")
