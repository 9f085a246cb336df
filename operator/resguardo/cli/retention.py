"""`resguardo retention`: carries a policy's retention out, or shows what it keeps, of a bucket, of a list, of a time to come."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resguardo.cli.inputs import Files, Output, OutputOption, fail, print_document, read_policy, refuse
from resguardo.cli.tasks import CredentialsDirectory, perform, surroundings

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from resguardo.api.policy import BackupPolicy, Retention

retention = typer.Typer(no_args_is_help=True)


@retention.callback(invoke_without_command=True)
def enforce_(
    context: typer.Context,
    filename: Annotated[
        list[Path] | None,
        typer.Option("--filename", "-f", help="File with a BackupPolicy (YAML or JSON); - is standard input."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what a run would do, and why; change nothing.")
    ] = False,
    credentials: CredentialsDirectory = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Carry a policy's retention out on its bucket; with --dry-run, show what that would do. Or plan and simulate."""
    if context.invoked_subcommand is not None:
        return
    if not filename:
        refuse("give the BackupPolicy with --filename")
    document = read_policy(filename)
    if dry_run:
        _warn(document)
        _show(document, credentials, output)
        return
    from functools import partial

    from resguardo.api.durations import parse_duration
    from resguardo.api.report import Task
    from resguardo.jobs.retention import enforce
    from resguardo.jobs.task import subject_of

    timeout = parse_duration(document.spec.timeout)
    perform(Task.RETENTION, subject_of(document), partial(enforce, document), timeout, credentials)


def _show(document: BackupPolicy, credentials: Path | None, output: Output) -> None:
    from rich.console import Console

    from resguardo.api.errors import ResguardoError
    from resguardo.api.roles import Role
    from resguardo.jobs.retention_tables import print_survey, survey_document
    from resguardo.jobs.survey import survey

    found, _ = surroundings(credentials)
    try:
        seen = survey(document, found.open_store(document.spec.store, role=Role.READER), now=datetime.now(UTC))
    except ResguardoError as error:
        fail(error)
    if output is Output.TABLE:
        print_survey(seen, Console())
    else:
        print_document(survey_document(seen), output)


@retention.command()
def plan(
    inventory: Annotated[
        Path, typer.Option(help="JSON list of {id, startedAt, storedAt, outcome, …}; - is standard input.")
    ],
    policy: Annotated[Path, typer.Option(help="File with the BackupPolicy.")],
    now: Annotated[
        str | None, typer.Option(help="The time to plan for, such as 2026-11-23T12:00:00Z; now if absent.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Plan for backups that a file lists: nothing is read from a bucket, and nothing is removed."""
    from zoneinfo import ZoneInfo

    from rich.console import Console

    from resguardo.api.errors import DocumentInvalid
    from resguardo.api.inventory import read_inventory
    from resguardo.jobs.retention_tables import plan_document, print_plan
    from resguardo.rules.retention import Reason, Rule, plan_retention

    document = read_policy([policy])
    _warn(document)
    try:
        text = typer.get_text_stream("stdin").read() if str(inventory) == "-" else inventory.read_text()
        backups = read_inventory(text, origin=str(inventory))
    except DocumentInvalid as error:
        fail(error)
    except (OSError, UnicodeDecodeError) as error:
        refuse(str(error))
    made = plan_retention(
        backups,
        document.spec.retention,
        zone=ZoneInfo(document.spec.time_zone),
        now=_instant(now, "--now") if now is not None else datetime.now(UTC),
        pause=Reason(Rule.SUSPENDED) if document.spec.suspend else None,
    )
    if output is Output.TABLE:
        print_plan(made, Console())
    else:
        print_document(plan_document(made), output)


@retention.command("simulate")
def simulate_(
    filename: Files,
    first: Annotated[str, typer.Option("--from", help="The day or time of the first backup, such as 2026-01-01.")],
    span: Annotated[str, typer.Option("--for", help="How long, such as 90d, 6mo or 2y.")],
    size: Annotated[str, typer.Option(help="What one backup takes, such as 500Mi or 20Gi.")] = "1Gi",
    output: OutputOption = Output.TABLE,
) -> None:
    """Show how many backups and bytes a policy will hold over time, when every backup succeeds."""
    from zoneinfo import ZoneInfo

    from rich.console import Console

    from resguardo.api.durations import parse_span
    from resguardo.api.sizes import parse_size
    from resguardo.jobs.retention_tables import print_simulation, simulation_document
    from resguardo.rules.simulation import simulate

    document = read_policy(filename)
    _warn(document)
    kept = _retention_of(document)
    start = _instant(first, "--from", zone=ZoneInfo(document.spec.time_zone))
    try:
        last, backup_bytes = parse_span(span).after(start), parse_size(size)
    except ValueError as error:
        refuse(str(error))
    held = list(
        simulate(
            kept,
            document.spec.schedule,
            zone=ZoneInfo(document.spec.time_zone),
            first=start,
            last=last,
            backup_bytes=backup_bytes,
        )
    )
    if output is Output.TABLE:
        print_simulation(held, Console())
    else:
        print_document(simulation_document(held), output)


def _warn(document: BackupPolicy) -> None:
    """Tell, as kubectl does, what the policy surely does not mean."""
    from resguardo.rules.advice import advise

    for warning in advise(document.spec):
        typer.echo(f"Warning: {warning.message}", err=True)


def _retention_of(document: BackupPolicy) -> Retention:
    if document.spec.retention is None:
        refuse("the policy has no spec.retention: nothing is ever removed")
    return document.spec.retention


def _instant(text: str, option: str, *, zone: ZoneInfo | None = None) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        refuse(f"{option}: {text!r} is not a time such as 2026-11-23T12:00:00Z")
    if moment.tzinfo is None:
        if zone is None:
            refuse(f"{option}: {text!r} needs a time zone, such as 2026-11-23T12:00:00Z")
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(UTC)
