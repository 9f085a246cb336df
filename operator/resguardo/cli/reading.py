"""`resguardo catalog`, `show` and `verify`: what there is, what a backup is, and whether it is still what was written."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from resguardo.cli.inputs import Files, checked_backup_id, fail, print_document, read_place, read_policy
from resguardo.cli.tasks import CredentialsDirectory, surroundings


class Format(StrEnum):
    """How a document is printed."""

    YAML = "yaml"
    JSON = "json"


class Listing(StrEnum):
    """How the catalogue is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


def catalog(
    filename: Files,
    credentials: CredentialsDirectory = None,
    output: Annotated[Listing, typer.Option("--output", "-o", help="table, wide, json or yaml.")] = Listing.TABLE,
) -> None:
    """List what is in the bucket: each backup, what it is kept for, what is to go and when.

    Needs the bucket alone. Given a RestoreRequest with from.store, the newest backup says what its policy kept.
    """
    from datetime import UTC, datetime

    from rich.console import Console

    from resguardo.api.errors import ResguardoError
    from resguardo.api.roles import Role
    from resguardo.jobs.catalog import catalogue_document, print_catalogue
    from resguardo.jobs.survey import look, terms_of

    place = read_place(filename)
    found, _ = surroundings(credentials)
    terms = terms_of(place.policy) if place.policy else None
    try:
        store = found.open_store(place.store, role=Role.READER)
        seen = look(store, terms, place.trusted, now=datetime.now(UTC))
    except ResguardoError as error:
        fail(error)
    if output in (Listing.TABLE, Listing.WIDE):
        print_catalogue(seen, Console(), wide=output is Listing.WIDE)
    else:
        print_document(catalogue_document(seen), output)


def show(
    backup_id: Annotated[
        str, typer.Argument(metavar="ID", help="The backup's id, as the catalog shows it, or latest.")
    ],
    filename: Files,
    credentials: CredentialsDirectory = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="yaml or json.")] = Format.YAML,
) -> None:
    """Print a backup's manifest."""
    import json

    from resguardo.api.errors import ResguardoError
    from resguardo.api.request import Recover
    from resguardo.api.roles import Role
    from resguardo.jobs.verify import LATEST
    from resguardo.rules.selection import choose
    from resguardo.store.catalogue import list_backups

    place = read_place(filename)
    found, _ = surroundings(credentials)
    wanted = Recover(backup=None if backup_id == LATEST else checked_backup_id(backup_id))
    try:
        entries = list_backups(found.open_store(place.store, role=Role.READER), place.trusted)
        manifest = choose(
            [entry.manifest for entry in entries if entry.manifest],
            wanted,
            unusable={entry.id: entry.problem for entry in entries if entry.problem},
        )
    except ResguardoError as error:
        fail(error)
    print_document(json.loads(manifest.to_json()), output)


def verify(
    which: Annotated[str, typer.Argument(metavar="ID|latest|all", help="Which backups to read again.")],
    filename: Files,
    credentials: CredentialsDirectory = None,
) -> None:
    """Read backups again: every size and digest, and the dump to its end. Needs no database.

    Of encrypted backups the digests alone, where no age identity is given (see `resguardo keys`).

    Ends with the status of the last problem. A backup that fails it is no good one any more.
    """
    from resguardo.api.errors import ResguardoError
    from resguardo.api.roles import Role
    from resguardo.api.sizes import print_size
    from resguardo.api.text import printable
    from resguardo.jobs import verify as job

    document = read_policy(filename)
    if which not in (job.LATEST, job.ALL):
        checked_backup_id(which)
    found, progress = surroundings(credentials)
    status = 0
    try:
        needed_for = "looking into encrypted backups"
        identities = found.identities(needed_for=needed_for) if found.has_identities() else None
        for verified in job.verify(
            document, found.open_store(document.spec.store, role=Role.READER), which, progress, identities
        ):
            told = "" if verified.is_written_down else ". The bucket does not say so: these keys may not write there"
            if verified.is_unopened and verified.problem is None:
                unseen = "it is encrypted, and without an age identity nobody can look inside"
                typer.echo(f"{verified.id}: as it was written, {print_size(verified.bytes)}; {unseen}{told}")
            elif verified.problem is None:
                typer.echo(f"{verified.id}: whole, {print_size(verified.bytes)}{told}")
            else:
                status = verified.problem.exit_status
                typer.echo(printable(f"{verified.id}: {verified.problem.reason}: {verified.problem}{told}"), err=True)
    except ResguardoError as error:
        fail(error)
    raise typer.Exit(status)


def add_to(app: typer.Typer) -> None:
    """Make commands of them."""
    app.command()(catalog)
    app.command()(show)
    app.command()(verify)
