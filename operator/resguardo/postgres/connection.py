"""Sessions on a PostgreSQL server, by psycopg and by the client programs, from one login that leaks nowhere.

The password goes by a private libpq password file, so that no argument, environment or log ever holds it. Settings that a
role or a database carries (statement_timeout and its kin) are overridden for Resguardo's own sessions: they were made for
an application, and would break a backup in the middle of the night.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import structlog
import tenacity
from psycopg.conninfo import make_conninfo

from resguardo.api.connection import SslMode
from resguardo.api.errors import NO_ROOM, CredentialsMissing, DiskFull
from resguardo.postgres.errors import Place, is_transient, translate_connecting, translated

log = structlog.get_logger()

#: The certificate authorities of the image, where the policy names none.
SYSTEM_CA_FILE = Path("/etc/ssl/certs/ca-certificates.crt")
CONNECT_TIMEOUT = timedelta(seconds=10)
#: For how long a server that is starting, full or refusing is asked again.
PATIENCE = timedelta(seconds=30)

#: In the startup packet, so that they win over ALTER ROLE and ALTER DATABASE … SET, and hold for client programs as well.
#: Only those that every supported version knows: an unknown one refuses the connection.
_STARTUP_SETTINGS = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_read_only": "off",
}
#: The first version (server_version_num) that knows a setting.
_LATER_STARTUP_SETTINGS = {
    "idle_session_timeout": ("0", 140000),
    "transaction_timeout": ("0", 170000),
}
#: Set in our own sessions after connecting: what we read must not depend on what a role or a database was given.
_SESSION_SETTINGS = {
    "search_path": "pg_catalog",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "quote_all_identifiers": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "row_security": "off",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}


@dataclass(frozen=True)
class Login:
    """All that a server asks of a client. `host` may be the folder of a Unix socket."""

    host: str
    port: int
    ssl_mode: SslMode
    username: str
    password: str = field(repr=False)
    ca_file: Path | None = None
    certificate_file: Path | None = None
    private_key_file: Path | None = None


class Server:
    """A server and a login, with the files that libpq needs in a private folder; use as a context manager.

    Leaving the context removes the folder; connections that are still open stay so.
    """

    def __init__(self, login: Login, scratch: Path, *, patience: timedelta = PATIENCE) -> None:
        self.login = login
        self._scratch = scratch
        self.patience = patience
        self._folder: Path | None = None
        self._version: int | None = None

    def __enter__(self) -> Self:
        _refuse_unusable_texts(self.login)
        folder = Path(tempfile.mkdtemp(prefix="libpq-", dir=self._scratch))  # mkdtemp makes it 0700
        self._folder = folder
        try:
            _write_private(folder / "passfile", _password_line(self.login.password))
            key = self.login.private_key_file
            if key is not None and not _libpq_takes(key):
                _write_private(folder / "client.key", key.read_bytes())
        except OSError as error:
            self._remove_folder()
            if error.errno in NO_ROOM:
                raise DiskFull.of(error) from error
            raise CredentialsMissing(f"the files for {self.place('-')} cannot be made ready: {error}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @property
    def folder(self) -> Path:
        """The private folder; only inside the context."""
        if self._folder is None:
            raise ValueError("a Server is used inside its context")
        return self._folder

    @property
    def tool_environment(self) -> dict[str, str]:
        """What a client program gets beside conninfo(): a home without ~/.pgpass and ~/.postgresql."""
        return {"HOME": str(self.folder)}

    def place(self, database: str) -> Place:
        """Where a session in `database` is, for messages."""
        login = self.login
        return Place(login.host, login.port, database, login.username, login.ssl_mode)

    @property
    def major(self) -> int | None:
        """The server's major version, once connect() has seen it."""
        return None if self._version is None else self._version // 10000

    def conninfo(self, database: str) -> str:
        """The connection string for `database`, quoted, without the password; for `--dbname=` of a client program.

        Settings that only newer servers know are in it once connect() has seen the server's version.
        """
        return make_conninfo("", **self._parameters(database))

    def _parameters(self, database: str) -> dict[str, Any]:
        login, folder = self.login, self.folder
        # A file that is not there stops libpq from looking into ~/.postgresql.
        absent = str(folder / "absent")
        parameters: dict[str, Any] = {
            "host": login.host,
            "port": login.port,
            "dbname": database,
            "user": login.username,
            "passfile": str(folder / "passfile"),
            "application_name": "resguardo",
            "connect_timeout": int(CONNECT_TIMEOUT.total_seconds()),
            "options": self._startup_options(),
            "target_session_attrs": "any",
            "gssencmode": "disable",
            "keepalives": 1,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 6,
            "tcp_user_timeout": 120_000,
            "sslmode": login.ssl_mode.value,
            "sslcert": absent,
            "sslrootcert": absent,
        }
        if login.ca_file is not None:
            parameters["sslrootcert"] = str(login.ca_file)
        elif login.ssl_mode in (SslMode.VERIFY_CA, SslMode.VERIFY_FULL):
            parameters["sslrootcert"] = str(SYSTEM_CA_FILE)
        if login.certificate_file is not None:
            parameters["sslcert"] = str(login.certificate_file)
        if login.private_key_file is not None:
            copy = folder / "client.key"
            parameters["sslkey"] = str(copy if copy.exists() else login.private_key_file)
        return parameters

    def _startup_options(self) -> str:
        settings = dict(_STARTUP_SETTINGS)
        for name, (value, first_version) in _LATER_STARTUP_SETTINGS.items():
            if self._version is not None and self._version >= first_version:
                settings[name] = value
        return " ".join(f"-c {name}={value}" for name, value in settings.items())

    def connect(
        self, database: str, *, autocommit: bool = True, connect_timeout: timedelta = CONNECT_TIMEOUT
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """A session of our own in `database`: no timeouts, search_path pg_catalog, row_security off, UTC.

        A server that is starting, full or refusing is asked again for half a minute. Raises DatabaseUnreachable,
        AuthenticationFailed, DatabaseNotFound, TlsFailed, PermissionDenied, PoolerInBetween.
        """
        place = self.place(database)
        parameters = self._parameters(database) | {
            "connect_timeout": max(1, int(connect_timeout.total_seconds())),
            # Not for client programs: a dump is written in its database's own encoding, and SQL_ASCII has no other.
            "client_encoding": "UTF8",
        }
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, psycopg.OperationalError) and is_transient(error, place)
            ),
            stop=tenacity.stop_after_delay(self.patience.total_seconds()),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=4),
            before_sleep=lambda state: log.info(
                "no connection yet",
                place=str(place),
                attempt=state.attempt_number,
                problem=state.outcome and str(state.outcome.exception()),
            ),
            reraise=True,
        )
        try:
            connection: psycopg.Connection[tuple[Any, ...]] = retrying(
                psycopg.Connection.connect, autocommit=True, prepare_threshold=None, **parameters
            )
        except psycopg.Error as error:
            raise translate_connecting(error, place) from None
        try:
            self._version = connection.info.server_version
            with translated(place):
                connection.execute(
                    "SELECT pg_catalog.set_config(s.name, wanted.value, false)"
                    " FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) AS wanted (name, value)"
                    " JOIN pg_catalog.pg_settings s ON pg_catalog.lower(s.name) = wanted.name",
                    [list(_SESSION_SETTINGS), list(_SESSION_SETTINGS.values())],
                )
            # A pod that is killed must not leave its query, and the locks with it, to run on (14 and later). Servers on
            # systems that cannot tell refuse the setting.
            with suppress(psycopg.Error):
                connection.execute("SET client_connection_check_interval = '5s'")
            connection.autocommit = autocommit
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def translating(self, database: str) -> Iterator[None]:
        """Turn psycopg's errors inside the block into Resguardo's, naming this server and `database`."""
        with translated(self.place(database)):
            yield


def _refuse_unusable_texts(login: Login) -> None:
    """A password file is lines of text: what it cannot hold is told now, not as a wrong password."""
    for character, word in (("\n", "a newline"), ("\r", "a carriage return"), ("\x00", "a NUL character")):
        if character in login.password:
            at_end = login.password.rstrip("\r\n") + character
            hint = (
                "; it stands at its end, as `echo` and editors leave it: make the Secret with `printf %s` or --from-file "
                "of a file without a final newline"
                if login.password in (at_end, login.password.rstrip("\r\n") + "\r\n")
                else ""
            )
            raise CredentialsMissing(
                f"the password of role {login.username} on {login.host} holds {word}, "
                f"which PostgreSQL's password file cannot hold{hint}"
            )
    for text, word in ((login.username, "role's name"), (login.host, "host")):
        if "\x00" in text:
            raise CredentialsMissing(f"the {word} {text!r} holds a NUL character")


def _password_line(password: str) -> bytes:
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:*:{escaped}\n".encode()


def _write_private(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def _libpq_takes(key: Path) -> bool:
    """Whether libpq takes a private key file as it is: nobody else's, and where root owns it, readable by its group.

    src/interfaces/libpq/fe-secure-openssl.c, initialize_SSL
    """
    status = key.stat()
    if not stat.S_ISREG(status.st_mode):
        return False
    forbidden = 0o037 if status.st_uid == 0 and os.geteuid() != 0 else 0o077
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & forbidden
