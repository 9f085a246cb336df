"""How a command that works with a database or a bucket begins and ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from resguardo.api.report import Subject, Task
    from resguardo.jobs.credentials import Credentials
    from resguardo.jobs.progress import Progress
    from resguardo.jobs.task import Context

CredentialsDirectory = Annotated[
    Path | None,
    typer.Option(
        "--credentials",
        help="Folder with what the document asks for: database/username, database/password, store/access-key-id, "
        "store/secret-access-key, store/account-key, store/sas-token, ca.crt, tls.crt, tls.key, decryption/age-identity, signing/key. "
        "Without it: PGUSER, PGPASSWORD, AWS_ACCESS_KEY_ID, AZURE_STORAGE_KEY, …",
        envvar="RESGUARDO_CREDENTIALS",
    ),
]


def surroundings(credentials: Path | None) -> tuple[Credentials, Progress]:
    """Where credentials are, and whom to tell how far it is."""
    from resguardo.jobs.credentials import DEFAULT_DIRECTORY, Credentials
    from resguardo.jobs.progress import configure_logging

    progress = configure_logging(terminal=sys.stderr.isatty())
    return Credentials(credentials or DEFAULT_DIRECTORY, os.environ), progress


def perform(
    task: Task,
    subject: Subject,
    work: Callable[[Context], None],
    timeout: timedelta,
    credentials: Path | None,
) -> NoReturn:
    """Do the work, and end the command with its Report: in a file for a pod, in words for a person."""
    from resguardo.api.text import printable_lines
    from resguardo.jobs import task as tasks

    found, progress = surroundings(credentials)
    outcome = tasks.perform(task, subject, work, timeout=timeout, credentials=found, progress=progress)
    if (report_file := os.environ.get("RESGUARDO_REPORT_FILE")) is not None:
        Path(report_file).write_text(outcome.report.to_message())
    else:
        word = "" if outcome.report.succeeded else f"{outcome.report.reason}: "
        typer.echo(printable_lines(word + outcome.report.message), err=True)
    raise typer.Exit(outcome.exit_status)
