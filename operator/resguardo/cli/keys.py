"""`resguardo keys`: make an identity or a key for signatures, and give old backups to recipients that came later."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from resguardo.cli.inputs import Files, checked_backup_id, fail, read_policy, refuse
from resguardo.cli.tasks import CredentialsDirectory, surroundings

keys = typer.Typer(help="Keys of encrypted and of signed backups.", no_args_is_help=True)


@keys.command()
def generate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the identity is written; it must not exist.")],
) -> None:
    """Make an identity, as age-keygen does. Prints its public key, which is what a policy names.

    The file is readable to you alone. Whoever has it opens the backups; who loses it, and has no other, never does.
    """
    from pyrage.x25519 import Identity

    identity = Identity.generate()
    public_key = str(identity.to_public())
    made_at = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    _write_secret(file, f"# created: {made_at}\n# public key: {public_key}\n{identity}\n")
    typer.echo(public_key)


@keys.command()
def generate_signing(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key is written; it must not exist.")],
) -> None:
    """Make a key for signatures, as openssl does (Ed25519, PEM). Prints its public key, which is what a policy names.

    The file is readable to you alone. Whoever has it can make backups that are believed.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    _write_secret(file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    typer.echo(public.decode(), nl=False)


def _write_secret(file: Path, text: str) -> None:
    try:
        # The mode is given with the file's making: at no moment can anybody else open it.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as output:
            output.write(text)
    except FileExistsError:
        refuse(f"{file} exists, and a key is never overwritten: name another file")
    except OSError as error:
        refuse(f"{file} cannot be written: {error.strerror}")


@keys.command()
def rewrap(
    which: Annotated[str, typer.Argument(metavar="ID|all", help="Which backups.")],
    filename: Files,
    credentials: CredentialsDirectory = None,
) -> None:
    """Let the policy's recipients open backups that were made before they were named. Writes no data again.

    Needs an identity that opens the backups now. Takes nothing back: who could open a backup still can.
    """
    from resguardo.api.errors import ResguardoError
    from resguardo.api.roles import Role
    from resguardo.api.text import printable
    from resguardo.jobs import keys as job

    document = read_policy(filename)
    if which != job.ALL:
        checked_backup_id(which)
    found, _ = surroundings(credentials)
    status, added = 0, 0
    try:
        identities = found.identities(needed_for="opening the keys of backups")
        store = found.open_store(document.spec.store, role=Role.WRITER)
        for rewrapped in job.rewrap(document, store, which, identities, now=datetime.now(UTC)):
            if rewrapped.problem is not None:
                status = rewrapped.problem.exit_status
                problem = f"{rewrapped.id}: {rewrapped.problem.reason}: {rewrapped.problem}"
                typer.echo(printable(problem), err=True)
            elif rewrapped.added:
                added += 1
                typer.echo(f"{rewrapped.id}: the policy's recipients can open it now")
            else:
                typer.echo(f"{rewrapped.id}: nothing to do")
    except ResguardoError as error:
        fail(error)
    if added:
        typer.echo(
            "Whoever could open these backups still can: a recipient that was removed from the policy keeps them."
        )
    raise typer.Exit(status)
