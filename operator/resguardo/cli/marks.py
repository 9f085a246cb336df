"""`resguardo pin`, `unpin`, `undelete`, `accept` and `accept-plan`: what a person says about what is in the bucket."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from resguardo.cli.inputs import Files, checked_backup_id, fail, read_policy, refuse
from resguardo.cli.tasks import CredentialsDirectory, surroundings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from resguardo.api.policy import BackupPolicy
    from resguardo.store.protocol import Store

BackupId = Annotated[str, typer.Argument(metavar="ID", help="The backup's id, as the catalog shows it.")]
PlanHash = Annotated[str, typer.Argument(metavar="HASH", help="The plan's hash, as the dry run shows it.")]


def pin(backup_id: BackupId, filename: Files, credentials: CredentialsDirectory = None) -> None:
    """Keep a backup whatever retention says."""
    from resguardo.jobs import keeping

    _say(keeping.pin, checked_backup_id(backup_id), filename, credentials)


def unpin(backup_id: BackupId, filename: Files, credentials: CredentialsDirectory = None) -> None:
    """Let retention decide about a backup again."""
    from resguardo.jobs import keeping

    _say(keeping.unpin, checked_backup_id(backup_id), filename, credentials)


def undelete(backup_id: BackupId, filename: Files, credentials: CredentialsDirectory = None) -> None:
    """Take back a backup that is marked for removal, and pin it."""
    from resguardo.jobs import keeping

    _say(keeping.pin, checked_backup_id(backup_id), filename, credentials)


def accept(backup_id: BackupId, filename: Files, credentials: CredentialsDirectory = None) -> None:
    """Take a backup for a good one, however odd its size looked."""
    from resguardo.jobs import keeping

    _say(keeping.accept, checked_backup_id(backup_id), filename, credentials)


def accept_plan(plan_hash: PlanHash, filename: Files, credentials: CredentialsDirectory = None) -> None:
    """Let retention carry out a plan that would remove much at once."""
    from resguardo.jobs import keeping
    from resguardo.store.marks import is_plan_hash

    if not is_plan_hash(plan_hash):
        refuse(f"{plan_hash!r} is not a plan's hash: copy it from `resguardo retention --dry-run`")
    _say(keeping.accept_plan, plan_hash, filename, credentials)


def add_to(app: typer.Typer) -> None:
    """Make commands of them."""
    for command in (pin, unpin, undelete, accept, accept_plan):
        app.command(command.__name__.replace("_", "-"))(command)


def _say(
    sentence: Callable[[BackupPolicy, Store, str, datetime], str],
    about: str,
    filename: list[Path],
    credentials: Path | None,
) -> None:
    from resguardo.api.errors import ResguardoError
    from resguardo.api.roles import Role

    document = read_policy(filename)
    found, _ = surroundings(credentials)
    try:
        told = sentence(document, found.open_store(document.spec.store, role=Role.PRUNER), about, datetime.now(UTC))
    except ResguardoError as error:
        fail(error)
    typer.echo(told)
