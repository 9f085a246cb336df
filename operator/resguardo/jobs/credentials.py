"""Credentials from mounted files, or from the environment of a person's shell; the document says which are needed.

A pod mounts them under /etc/resguardo/credentials by the names below, whatever the keys in the Secrets are called. By
hand the usual variables of libpq and of the clouds' tools serve, such as PGPASSWORD and AWS_ACCESS_KEY_ID. docs/cli.md has all of
both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from resguardo.api.connection import PostgresConnection
from resguardo.api.errors import CredentialsMissing
from resguardo.api.roles import Role
from resguardo.api.store import Store as StoreSpec
from resguardo.postgres.connection import Login
from resguardo.store.identities import Identity, parse_identities
from resguardo.store.opening import open_store
from resguardo.store.protocol import Store
from resguardo.store.signatures import SigningKey, parse_signing_key

DEFAULT_DIRECTORY = Path("/etc/resguardo/credentials")
AGE_IDENTITY, AGE_IDENTITY_VARIABLE = "decryption/age-identity", "RESGUARDO_AGE_IDENTITY"
SIGNING_KEY, SIGNING_KEY_VARIABLE = "signing/key", "RESGUARDO_SIGNING_KEY"


@dataclass(frozen=True)
class Credentials:
    """Where to look: a folder laid out as in a pod, then the environment."""

    directory: Path
    environment: Mapping[str, str]

    def login(self, connection: PostgresConnection) -> Login:
        """All that a server asks of a client. Raises CredentialsMissing, naming the file and the variable."""
        username = self.text("database/username", "PGUSER", needed_for=f"database server {connection.host}")
        password = self.text("database/password", "PGPASSWORD", needed_for=f"role {username} on {connection.host}")
        has_certificate = connection.client_certificate_secret_ref is not None
        return Login(
            host=connection.host,
            port=connection.port,
            ssl_mode=connection.ssl_mode,
            username=username,
            password=password,
            ca_file=self.file("database/ca.crt", "PGSSLROOTCERT") if connection.ca_ref else None,
            certificate_file=self.file("database/tls.crt", "PGSSLCERT") if has_certificate else None,
            private_key_file=self.file("database/tls.key", "PGSSLKEY") if has_certificate else None,
        )

    def open_store(self, spec: StoreSpec, *, role: Role, patient: bool = False) -> Store:
        """The store of a policy or request, for one role; a patient one waits longer for a server. Raises CredentialsMissing."""
        return open_store(spec, self, role=role, patient=patient)

    def has_identities(self) -> bool:
        """Whether something was given to decrypt with."""
        return (self.directory / AGE_IDENTITY).exists() or bool(self.environment.get(AGE_IDENTITY_VARIABLE))

    def identities(self, *, needed_for: str) -> list[Identity]:
        """What opens encrypted backups. Raises CredentialsMissing, naming what it is needed for, and IdentityInvalid."""
        if not self.has_identities():
            raise CredentialsMissing(
                f"neither {self.directory / AGE_IDENTITY} (in a cluster: spec.decryption.ageIdentitySecretRef of the request) "
                f"nor the file that ${AGE_IDENTITY_VARIABLE} names is there; an age identity is needed for {needed_for}"
            )
        path = self.file(AGE_IDENTITY, AGE_IDENTITY_VARIABLE)
        return parse_identities(_read(path, needed_for), origin=str(path))

    def signing_key(self, *, needed_for: str) -> SigningKey:
        """What signs backups. Raises CredentialsMissing, naming what it is needed for, and SigningKeyInvalid."""
        if not (self.directory / SIGNING_KEY).exists() and not self.environment.get(SIGNING_KEY_VARIABLE):
            raise CredentialsMissing(
                f"neither {self.directory / SIGNING_KEY} (in a cluster: spec.signing.keySecretRef of the policy) nor the file "
                f"that ${SIGNING_KEY_VARIABLE} names is there; a private key is needed to sign {needed_for}"
            )
        path = self.file(SIGNING_KEY, SIGNING_KEY_VARIABLE)
        return parse_signing_key(_read(path, needed_for), origin=str(path))

    def text(self, name: str, variable: str, *, needed_for: str) -> str:
        """What a file of the folder holds, or the variable. Raises CredentialsMissing, naming both and what needs it."""
        path = self.directory / name
        try:
            # As it stands there: read as text, a carriage return would become a line's end.
            text = path.read_bytes().decode() if path.exists() else self.environment.get(variable)
        except (OSError, UnicodeDecodeError) as error:
            raise CredentialsMissing(f"{path} cannot be read ({error}); it is needed for {needed_for}") from None
        if not text:
            raise CredentialsMissing(f"neither {path} nor ${variable} holds anything; one is needed for {needed_for}")
        return text

    def beside(self, name: str, companion: str, variable: str) -> str | None:
        """What may belong to a credential: a file beside its file, or the variable where that comes from a variable too."""
        if not (self.directory / name).exists():
            return self.environment.get(variable) or None
        path = self.directory / companion
        return self.text(companion, variable, needed_for=name) if path.exists() else None

    def file(self, name: str, variable: str) -> Path:
        """A file of the folder, or the one that the variable names. Raises CredentialsMissing, naming both."""
        path = self.directory / name
        found = path if path.exists() else Path(self.environment.get(variable, ""))
        if not found.is_file():
            raise CredentialsMissing(
                f"neither {path} nor the file that ${variable} names is there; the document asks for it"
            )
        return found


def _read(path: Path, needed_for: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialsMissing(f"{path} cannot be read ({error}); it is needed for {needed_for}") from None
