"""`resguardo`: the same commands for pods and for people. Heavy imports wait until a command needs them."""

from __future__ import annotations

import os
import re
import sys
from contextlib import nullcontext
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from resguardo.cli import marks, reading
from resguardo.cli.inputs import Files, fail, only, read_documents, read_place, read_policy, refuse
from resguardo.cli.keys import keys
from resguardo.cli.retention import retention
from resguardo.cli.tasks import CredentialsDirectory, perform, surroundings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import IO

    from resguardo.api.manifest import Trigger
    from resguardo.jobs.task import Context

app = typer.Typer(
    name="resguardo",
    help="PostgreSQL backups that are declared, kept and proven. Every command that a pod runs can be run by hand.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(retention, name="retention")
app.add_typer(keys, name="keys")

CHECK_TIMEOUT = timedelta(minutes=5)
#: Long enough for a busy server, and short enough for its Job's deadline.
DROP_TIMEOUT = timedelta(minutes=5)


def _version(asked: bool) -> None:
    if asked:
        import resguardo

        typer.echo(resguardo.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


class RoleName(StrEnum):
    """The three roles in a store."""

    WRITER = "writer"
    PRUNER = "pruner"
    READER = "reader"


@app.command()
def check(
    filename: Files,
    credentials: CredentialsDirectory = None,
    role: Annotated[
        RoleName | None,
        typer.Option(help="Show what the keys given may do, and whether that fits this role; nothing else is tried."),
    ] = None,
) -> None:
    """Try a policy: log in, look for missing rights, write to the bucket, claim the prefix."""
    if role is not None:
        _check_role(filename, credentials, role.value)
    from resguardo.api.durations import parse_duration
    from resguardo.api.report import Task
    from resguardo.jobs.check import check as work
    from resguardo.jobs.task import subject_of

    policy = read_policy(filename)
    timeout = min(parse_duration(policy.spec.timeout), CHECK_TIMEOUT)
    perform(Task.CHECK, subject_of(policy), partial(work, policy), timeout, credentials)


def _check_role(filename: list[Path], credentials: Path | None, name: str) -> NoReturn:
    from rich.console import Console

    from resguardo.api.errors import ResguardoError, StoreAccessDenied
    from resguardo.api.roles import Role
    from resguardo.jobs.access import print_rights
    from resguardo.rules.access import judge
    from resguardo.store.rights import try_rights

    role = Role(name)
    spec = read_place(filename).store
    found, _ = surroundings(credentials)
    try:
        store = found.open_store(spec, role=role)
        findings = judge(role, try_rights(store), locks=spec.object_lock is not None, shares=spec.sharers(role))
    except ResguardoError as error:
        fail(error)
    typer.echo(f"{role} of {store.location}")
    print_rights(findings, Console())
    missing = sum(finding.is_missing for finding in findings)
    too_many = sum(finding.is_too_much for finding in findings)
    typer.echo(f"{missing} rights are missing, and {too_many} are too many")
    raise typer.Exit(StoreAccessDenied.exit_status if missing else 0)


@app.command()
def backup(filename: Files, credentials: CredentialsDirectory = None) -> None:
    """Make one backup now."""
    from resguardo.api.durations import parse_duration
    from resguardo.api.report import Task
    from resguardo.jobs.backup import back_up
    from resguardo.jobs.task import subject_of

    policy = read_policy(filename)
    job_name = os.environ.get("RESGUARDO_JOB_NAME") or None
    trigger = _trigger(policy.metadata.name, job_name or "")
    timeout = parse_duration(policy.spec.timeout)
    work = partial(back_up, policy, trigger, job_name=job_name)
    perform(Task.BACKUP, subject_of(policy), work, timeout, credentials)


@app.command()
def restore(
    filename: Files,
    credentials: CredentialsDirectory = None,
    to_sql: Annotated[
        Path | None,
        typer.Option(help="Write plain SQL for psql to this file (- is standard output); restores nothing."),
    ] = None,
) -> None:
    """Carry out a RestoreRequest; give the file of the BackupPolicy too, where the request refers to one."""
    from resguardo.api.durations import parse_duration
    from resguardo.api.policy import BackupPolicy
    from resguardo.api.report import Task
    from resguardo.api.request import RestoreRequest
    from resguardo.jobs import restore as job
    from resguardo.jobs.task import subject_of

    documents = read_documents(filename)
    request = only(RestoreRequest, documents, filename)
    policies = [document for document in documents if isinstance(document, BackupPolicy)]

    def work(context: Context) -> None:
        origin = job.origin_of(request, policies)
        if to_sql is None:
            job.restore(request, origin, context)
        else:
            with _binary_output(to_sql) as output:
                job.write_sql(request, origin, output, context)

    perform(Task.RESTORE, subject_of(request), work, parse_duration(request.spec.timeout), credentials)


@app.command("drop-previous")
def drop_previous(filename: Files, credentials: CredentialsDirectory = None) -> None:
    """Drop the database that a RestoreRequest with onExisting: Replace kept aside."""
    from resguardo.api.report import Task
    from resguardo.api.request import RestoreRequest
    from resguardo.jobs.restore import drop_kept
    from resguardo.jobs.task import subject_of

    request = only(RestoreRequest, read_documents(filename), filename)
    perform(Task.DROP_PREVIOUS, subject_of(request), partial(drop_kept, request), DROP_TIMEOUT, credentials)


@app.command()
def operator(
    namespace: Annotated[
        list[str] | None, typer.Option("--namespace", "-n", help="Namespace to serve; repeatable.")
    ] = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Serve every namespace.")] = False,
) -> None:
    """Run the operator: in its pod, or by hand with one's own kubeconfig."""
    from resguardo.controller.operator import OwnPod, run_operator

    if bool(namespace) == all_namespaces:
        refuse("give either --namespace, once or several times, or --all-namespaces")
    environment = os.environ
    named = "POD_NAME" in environment and "POD_NAMESPACE" in environment
    run_operator(
        None if all_namespaces else namespace,
        image=environment.get("RESGUARDO_IMAGE"),
        own_pod=OwnPod(environment["POD_NAMESPACE"], environment["POD_NAME"]) if named else None,
    )


@app.command()
def crd(
    check_only: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail when a rendered file differs.")
    ] = False,
    root: Annotated[Path, typer.Option(help="The project's root folder.")] = Path(),
) -> None:
    """Render the CustomResourceDefinitions into crds/ and the charts' copy, and what kustomize is told of them."""
    from resguardo.api.crd import render_crds
    from resguardo.api.references import render_name_references

    rendered = {root / "manifests" / "kustomizeconfig" / "namereference.yaml": render_name_references()}
    for folder in (root / "crds", root / "charts" / "resguardo-crds" / "templates"):
        rendered |= {folder / name: text for name, text in render_crds().items()}
    stale = []
    for path, text in rendered.items():
        if check_only:
            if not path.exists() or path.read_text() != text:
                stale.append(str(path))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if stale:
        refuse(f"not up to date: {', '.join(stale)}; run `make crds` and commit what it writes")


marks.add_to(app)
reading.add_to(app)


def _trigger(policy_name: str, job_name: str) -> Trigger:
    from resguardo.api.manifest import Trigger

    scheduled = re.fullmatch(re.escape(policy_name) + r"-backup-[0-9]+", job_name)
    return Trigger.SCHEDULED if scheduled else Trigger.MANUAL


def _binary_output(path: Path) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(sys.stdout.buffer) if str(path) == "-" else path.open("wb")


def main() -> None:
    """Entry point of the console script."""
    app()
