"""What commands are given: documents in files, and how what is wrong with them is told."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from resguardo.api.errors import ResguardoError
    from resguardo.api.policy import BackupPolicy
    from resguardo.api.report import Task
    from resguardo.api.request import RestoreRequest
    from resguardo.api.store import Store
    from resguardo.store.signatures import Trust

Files = Annotated[
    list[Path],
    typer.Option(
        "--filename", "-f", help="File with a BackupPolicy or RestoreRequest (YAML or JSON); - is standard input."
    ),
]


class Output(StrEnum):
    """How a listing is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="table, json or yaml.")]

_Resource = TypeVar("_Resource")


def read_documents(filenames: list[Path]) -> list[BackupPolicy | RestoreRequest]:
    """Every document in the files, in their order; ends the command where one is none."""
    from resguardo.api import documents as files
    from resguardo.api.errors import DocumentInvalid

    documents: list[BackupPolicy | RestoreRequest] = []
    try:
        for filename in filenames:
            text = sys.stdin.read() if str(filename) == "-" else filename.read_text()
            documents += files.read_documents(text, origin=str(filename))
    except DocumentInvalid as error:
        fail(error)
    except (OSError, UnicodeDecodeError) as error:
        refuse(str(error))
    return documents


def read_policy(filenames: list[Path]) -> BackupPolicy:
    """The one BackupPolicy in the files."""
    from resguardo.api.policy import BackupPolicy

    return only(BackupPolicy, read_documents(filenames), filenames)


@dataclass(frozen=True)
class Place:
    """A store, whose signatures count there, and the policy where it is a policy's."""

    store: Store
    trusted: Trust
    policy: BackupPolicy | None


def read_place(filenames: list[Path]) -> Place:
    """The store that the files name; a RestoreRequest may name one itself."""
    from resguardo.api.policy import BackupPolicy
    from resguardo.jobs.trust import trust_of, trust_of_request

    documents = read_documents(filenames)
    for policy in (document for document in documents if isinstance(document, BackupPolicy)):
        return Place(policy.spec.store, trust_of(policy), policy)
    for request in (document for document in documents if not isinstance(document, BackupPolicy)):
        if request.spec.from_.store is not None:
            return Place(request.spec.from_.store, trust_of_request(request, None), None)
    return refuse("no store: give the BackupPolicy, or a RestoreRequest with from.store")


def only(kind: type[_Resource], documents: list[BackupPolicy | RestoreRequest], filenames: list[Path]) -> _Resource:
    """The one document of that kind; ends the command where there are none or several."""
    found = [document for document in documents if isinstance(document, kind)]
    if len(found) != 1:
        names = ", ".join(map(str, filenames))
        refuse(f"{names}: {len(found)} documents of kind {kind.__name__}; give exactly one")
    return found[0]


def checked_backup_id(backup_id: str) -> str:
    """The text, which is a backup's id; ends the command where it is none."""
    from resguardo.api.backup_id import is_backup_id

    if not is_backup_id(backup_id):
        refuse(f"{backup_id!r} is not a backup's id, such as 20261123T050000Z-3f9a1c: see `resguardo catalog`")
    return backup_id


def print_document(document: Any, output: StrEnum) -> None:
    """Print JSON, or YAML, in which nothing speaks to the terminal."""
    from resguardo.jobs.terminal import to_json, to_yaml

    typer.echo(to_json(document) if output.value == Output.JSON.value else to_yaml(document))


def fail(error: ResguardoError) -> NoReturn:
    """End with what is wrong before a task could begin; a pod's Report says it too."""
    if (report_file := os.environ.get("RESGUARDO_REPORT_FILE")) is not None:
        from resguardo.jobs.task import failure_report

        Path(report_file).write_text(failure_report(_command_task(), error).to_message())
    from resguardo.api.text import printable_lines

    typer.echo(printable_lines(f"{error.reason}: {error}"), err=True)
    raise typer.Exit(error.exit_status)


def _command_task() -> Task:
    from resguardo.api.report import Task

    return next((task for task in Task if task.value in sys.argv), Task.CHECK)


def refuse(message: str) -> NoReturn:
    """End with what is wrong with how the command was called."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)
