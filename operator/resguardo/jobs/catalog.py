"""What a bucket holds, and why each backup is still there: a table for people, a document for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from resguardo.api.base import print_time
from resguardo.api.durations import print_age, print_duration
from resguardo.api.inventory import BackupFacts, Outcome
from resguardo.api.manifest import Manifest, ObjectRole
from resguardo.api.sizes import print_size
from resguardo.api.text import printable
from resguardo.jobs.survey import Survey
from resguardo.rules.removal import Step, is_held_by_pause
from resguardo.rules.retention import Rule, Verdict
from resguardo.rules.tiers import Tier
from resguardo.store.catalogue import CatalogueEntry

#: A table is made for terminals of this width, and is never cut for a narrower one, like kubectl's.
WIDTH = 120
WIDE = 240
#: Where a column has nothing to say, so that each line has as many words.
NOTHING = "-"

_RIGHT = {"TABLES", "ROWS", "SIZE", "TOOK", "BACKUPS"}
#: What may be folded into several lines; all else is of a known length.
_FOLDED = {"DATABASE", "TIERS", "KEPT FOR", "STATE"}


def catalogue_document(seen: Survey) -> dict[str, Any]:
    """Everything as JSON has it: `backups`, `problems`, `attempts`, `totals`, `retention`, `paused`."""
    entries = {entry.id: entry for entry in seen.facts.catalogue.entries}
    committed = [verdict for verdict in seen.plan.verdicts if verdict.backup.is_committed]
    attempts = [backup for backup in seen.facts.backups if backup.outcome in (Outcome.FAILED, Outcome.RUNNING)]
    return {
        "backups": [_backup_document(verdict, entries[verdict.backup.id], seen) for verdict in committed],
        "problems": [{"id": name, "problem": problem} for name, problem in problems_of(seen)],
        "attempts": [
            {
                "id": each.id,
                "startedAt": print_time(each.started_at),
                "outcome": each.outcome.value,
                "trigger": each.trigger.value,
            }
            for each in attempts
        ],
        "totals": {
            "backups": len(committed),
            "bytes": sum(verdict.backup.bytes for verdict in committed),
            "byTier": {
                tier.value: {"backups": len(those), "bytes": sum(verdict.backup.bytes for verdict in those)}
                for tier, those in _by_tier(committed).items()
            },
        },
        "retention": seen.retention_document,
        "paused": seen.paused_document,
    }


def problems_of(seen: Survey) -> Iterator[tuple[str, str]]:
    """What in the bucket cannot be read, by the id that it is about."""
    for entry in seen.facts.catalogue.entries:
        if entry.problem is not None:
            yield entry.id, str(entry.problem)
    for name, problem in seen.trash.problems.items():
        yield name, str(problem)


def _backup_document(verdict: Verdict, entry: CatalogueEntry, seen: Survey) -> dict[str, Any]:
    facts = verdict.backup.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"outcome", "source"})
    manifest = entry.manifest
    marked, goes_at = seen.trash.marked.get(verdict.backup.id), seen.removals.get(verdict.backup.id)
    more: dict[str, Any] = {
        "clockSuspect": verdict.backup.is_clock_suspect,
        "tiers": [tier.value for tier in verdict.tiers],
        "keep": verdict.keep,
        "reasons": [str(reason) for reason in verdict.reasons],
        "markedAt": print_time(marked.marked_at) if marked else None,
        "goesAt": print_time(goes_at) if goes_at else None,
    }
    if manifest is not None:
        more["storageClass"] = _class_of(manifest)
        more |= manifest.model_dump(
            mode="json", by_alias=True, exclude_none=True, include={"source", "census", "completed_at", "oddities"}
        )
    return {key: value for key, value in (facts | more).items() if value is not None}


def print_catalogue(seen: Survey, console: Console, *, wide: bool = False) -> None:
    """One line for each backup, the newest last, then what there is by tier, and what cannot be read."""
    console.width = max(console.width, WIDE if wide else WIDTH)
    entries = {entry.id: entry for entry in seen.facts.catalogue.entries}
    rows = [
        _row(verdict, entries.get(verdict.backup.id), seen)
        for verdict in seen.plan.verdicts
        if verdict.backup.outcome is not Outcome.FAILED
    ]
    headings = _WIDE_HEADINGS if wide else _HEADINGS
    if rows:
        console.print(_table(headings, rows))
        console.print()
        console.print(_table(("TIER", "BACKUPS", "SIZE"), list(_totals(seen))))
    else:
        console.print("no backups")
    for line, style in _footnotes(seen):
        console.print(Text(printable(line), style=style), soft_wrap=True)


_HEADINGS = ("BACKUP", "AGE", "METHOD", "SIZE", "TIERS", "KEPT FOR", "STATE")
_WIDE_HEADINGS = (
    *(
        "BACKUP",
        "STARTED",
        "AGE",
        "METHOD",
        "TRIGGER",
        "DATABASE",
        "VERSION",
        "TABLES",
        "ROWS",
        "SIZE",
        "CLASS",
        "TOOK",
    ),
    *("TIERS", "KEPT FOR", "STATE"),
)


def _table(headings: tuple[str, ...], rows: list[dict[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        justify = "right" if heading in _RIGHT else "left"
        table.add_column(heading, justify=justify, no_wrap=heading not in _FOLDED, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(Text(printable(row.get(heading) or NOTHING)) for heading in headings))
    return table


def _row(verdict: Verdict, entry: CatalogueEntry | None, seen: Survey) -> dict[str, str]:
    backup = verdict.backup
    row = {
        "BACKUP": backup.id,
        "STARTED": print_time(backup.started_at),
        "AGE": print_age(seen.store_now - backup.made_at),
        "TIERS": ",".join(tier.value for tier in verdict.tiers),
        "KEPT FOR": _kept_for(verdict),
        "STATE": ", ".join(_state(backup, entry, seen)) or "good",
    }
    if backup.is_committed:
        row |= {"METHOD": backup.method or "", "SIZE": print_size(backup.bytes), "TRIGGER": backup.trigger.value}
    if entry is not None and entry.manifest is not None:
        row |= _of_manifest(entry.manifest)
    return row


def _of_manifest(manifest: Manifest) -> dict[str, str]:
    at_least = "" if manifest.census.tables_counted == manifest.census.tables else "≥"
    return {
        "DATABASE": manifest.source.database,
        "VERSION": str(manifest.source.server_version_num // 10000),
        "TABLES": f"{manifest.census.tables:,}",
        "ROWS": f"{at_least}{manifest.census.rows:,}",
        "CLASS": _class_of(manifest) or "",
        "TOOK": print_duration(manifest.completed_at - manifest.started_at),
    }


def _class_of(manifest: Manifest) -> str | None:
    """Of the dump, which is nearly all of a backup; None for the store's usual one."""
    return next((entry.storage_class for entry in manifest.objects if entry.role is ObjectRole.DUMP), None)


def _kept_for(verdict: Verdict) -> str:
    """The rules that keep a backup, tiers aside; of a pause a word where nothing else does."""
    if not verdict.keep:
        return ""
    if is_held_by_pause(verdict):
        return "the pause"
    others = [reason for reason in verdict.reasons if reason.tier is None and reason.rule not in _PAUSES]
    return ", ".join(str(reason) if reason.rule is Rule.DEPENDED_ON else reason.rule.value for reason in others)


_PAUSES = (Rule.PAUSED, Rule.SUSPENDED)


def _state(backup: BackupFacts, entry: CatalogueEntry | None, seen: Survey) -> Iterator[str]:
    if backup.outcome is Outcome.RUNNING:
        yield "running"
    elif not backup.is_committed:
        yield entry.problem.reason if entry is not None and entry.problem is not None else "unreadable"
    if backup.damaged:
        yield "damaged"
    if backup.odd:
        yield "odd"
    if backup.is_clock_suspect:
        yield "clock-suspect"
    if backup.proven_at is not None:
        yield f"proven {backup.proven_at:%Y-%m-%d}"
    if removal := removal_of(backup.id, seen):
        yield removal


def removal_of(backup_id: str, seen: Survey) -> str:
    """What is to become of a backup that goes, or was to; empty for one that nothing is to be done about."""
    goes_at = seen.removals.get(backup_id)
    until = f"{goes_at:%Y-%m-%dT%H:%MZ}" if goes_at else ""
    match seen.steps.get(backup_id):
        case Step.MARK:
            return f"to be marked, goes after {until}"
        case Step.WAIT:
            return f"marked, goes after {until}" if until else "marked, held by the pause"
        case Step.TAKE_BACK:
            return "marked, to be taken back"
        case Step.PURGE:
            return "marked, goes with the next run"
        case None:
            return "its marker cannot be read" if backup_id in seen.trash.problems else ""


def _by_tier(verdicts: list[Verdict]) -> dict[Tier, list[Verdict]]:
    found = {tier: [verdict for verdict in verdicts if tier in verdict.tiers] for tier in Tier}
    return {tier: those for tier, those in found.items() if those}


def _totals(seen: Survey) -> Iterator[dict[str, str]]:
    committed = [verdict for verdict in seen.plan.verdicts if verdict.backup.is_committed]
    groups = {tier.value: those for tier, those in _by_tier(committed).items()}
    if none := [verdict for verdict in committed if not verdict.tiers]:
        groups["none"] = none
    for name, those in (groups | {"total": committed}).items():
        size = print_size(sum(verdict.backup.bytes for verdict in those))
        yield {"TIER": name, "BACKUPS": str(len(those)), "SIZE": size}


def _footnotes(seen: Survey) -> Iterator[tuple[str, str]]:
    failed = [backup for backup in seen.facts.backups if backup.outcome is Outcome.FAILED]
    if failed:
        yield f"failed attempts: {len(failed)}, the last {failed[-1].id}", ""
    kept = ", ".join(f"{name} {value}" for name, value in (seen.retention_document or {}).items())
    whose = "" if seen.is_asked else " (as the newest backup in the bucket says)"
    yield f"retention: {kept or 'none, nothing is ever removed'}{whose}", ""
    if seen.paused is not None:
        yield f"paused, {seen.paused.pause}: {seen.paused.message}", "yellow"
    for name, problem in problems_of(seen):
        yield f"{name}: {problem}", "red"
