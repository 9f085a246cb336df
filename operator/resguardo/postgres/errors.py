"""What psycopg and libpq say, in Resguardo's words. The one place where their errors are translated.

An error of a running session has an SQLSTATE. A connection that was never made has none: libpq keeps only the text, which
the server may have written in its own language (lc_messages). So English is understood in full, and in any other language
the name that the server quotes decides.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from resguardo.api.connection import SslMode
from resguardo.api.errors import (
    AuthenticationFailed,
    DatabaseNotFound,
    DatabaseUnreachable,
    LockTableFull,
    LockTimeout,
    PermissionDenied,
    PoolerInBetween,
    PostgresError,
    TlsFailed,
)


@dataclass(frozen=True)
class Place:
    """Where a session is, for messages. No secret in it."""

    host: str
    port: int
    database: str
    username: str
    ssl_mode: SslMode

    def __str__(self) -> str:
        return f"database {self.database} on {self.host}:{self.port}, as role {self.username}, with sslMode {self.ssl_mode}"


#: SQLSTATEs, the whole or the class of two letters: the error they are.
_BY_SQLSTATE: dict[str, type[PostgresError]] = {
    "28": AuthenticationFailed,
    "3D000": DatabaseNotFound,
    "42501": PermissionDenied,
    "55P03": LockTimeout,
    "08": DatabaseUnreachable,
    "57P01": DatabaseUnreachable,  # admin_shutdown
    "57P02": DatabaseUnreachable,  # crash_shutdown
    "57P03": DatabaseUnreachable,  # cannot_connect_now
    "57P05": DatabaseUnreachable,  # idle_session_timeout
    "25P03": DatabaseUnreachable,  # idle_in_transaction_session_timeout
    "53300": DatabaseUnreachable,  # too_many_connections
}


@dataclass(frozen=True)
class _Saying:
    """A piece of libpq's or the server's text, what it means, what to do, and whether a moment later it may be gone."""

    pattern: str
    kind: type[PostgresError]
    advice: str
    is_transient: bool = False


#: The first that is found counts; libpq tries several addresses and joins what each said.
_SAYINGS = [
    _Saying(
        r"server does not support SSL",
        TlsFailed,
        "the server speaks no TLS: set sslMode to disable if the network between is trusted, or turn ssl on in the server",
    ),
    _Saying(
        r"no pg_hba\.conf entry for .* no encryption|no pg_hba\.conf entry for .* SSL off",
        AuthenticationFailed,
        "the server refuses connections without TLS, or this address or role at all: set sslMode to require or better, "
        "and look at the server's pg_hba.conf",
    ),
    _Saying(
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        AuthenticationFailed,
        "the server's pg_hba.conf does not let this role in from here: add a line for it",
    ),
    _Saying(
        r"certificate verify failed|self-signed certificate|unable to get (local )?issuer",
        TlsFailed,
        "the server's certificate is not vouched for by the authorities that are trusted: set caRef to the one that signed "
        "it, or renew it if it has expired",
    ),
    _Saying(
        r"server certificate for .* does not match host name|server common name .* does not match",
        TlsFailed,
        "the certificate is another host's: use the name that stands in the certificate as host, or sslMode verify-ca",
    ),
    _Saying(
        r"certificate authentication failed|requires a valid client certificate|connection requires a valid client",
        AuthenticationFailed,
        "the server asks for a client certificate: set clientCertificateSecretRef to one whose name is the role's",
    ),
    _Saying(
        r"root certificate file|could not load private key|private key file|certificate file|could not read certificate"
        r"|does not match private key|SSL error|SSL SYSCALL error|tlsv1|sslv3|alert",
        TlsFailed,
        "look at caRef, at the client certificate and its key, and at the TLS versions that the server allows",
    ),
    _Saying(
        r"password authentication failed|no password supplied|empty password|SCRAM|authentication failed"
        r"|role \"(?s:.*)\" does not exist|is not permitted to log in",
        AuthenticationFailed,
        "look at username and password in the Secret (a newline at the end of a password is part of it), and at the role's "
        "LOGIN, password and validity",
    ),
    _Saying(
        r"database \"(?s:.*)\" does not exist",
        DatabaseNotFound,
        "look at the database's name; capitals and spaces count",
    ),
    _Saying(
        r"permission denied for database",
        PermissionDenied,
        "the role may not connect to it: GRANT CONNECT ON DATABASE … TO …",
    ),
    _Saying(
        r"is not currently accepting connections",
        DatabaseUnreachable,
        "the database allows no connections (ALTER DATABASE … ALLOW_CONNECTIONS true lets them in again)",
    ),
    _Saying(
        r"unsupported startup parameter|pgbouncer|no such database|server login has been failing",
        PoolerInBetween,
        "this looks like a connection pooler, through which a dump cannot be trusted: name the server itself as host",
    ),
    _Saying(
        r"too many clients|remaining connection slots|too many connections for",
        DatabaseUnreachable,
        "the server or the role has no free connection: raise max_connections or the role's CONNECTION LIMIT",
        is_transient=True,
    ),
    _Saying(
        r"the database system is|server closed the connection unexpectedly|Connection reset",
        DatabaseUnreachable,
        "the server is starting, stopping or recovering, or something in between cut the connection",
        is_transient=True,
    ),
    _Saying(
        r"Temporary failure in name resolution",
        DatabaseUnreachable,
        "the name server does not answer for this name: look at host, and at the cluster's DNS",
        is_transient=True,
    ),
    _Saying(
        r"could not translate host name|Name or service not known|failed to resolve host|No address associated",
        DatabaseUnreachable,
        "nobody knows a host of this name: look at host (a Service in another namespace is <name>.<namespace>)",
    ),
    _Saying(
        r"Connection refused|No such file or directory",
        DatabaseUnreachable,
        "nothing listens there: look at host and port, and whether the server runs",
        is_transient=True,
    ),
    _Saying(
        r"timeout expired|timed out|No route to host|Network is unreachable",
        DatabaseUnreachable,
        "no answer: look at host and port, and at the NetworkPolicies and firewalls on the way",
        is_transient=True,
    ),
]
#: Quotation marks of the languages that PostgreSQL speaks.
_QUOTES = "\"'\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019\u2039\u203a"
_UNKNOWN = _Saying("", DatabaseUnreachable, "look at host, port and the server's log")


def _find_saying(text: str, place: Place) -> _Saying:
    for saying in _SAYINGS:
        if re.search(saying.pattern, text):
            return saying
    # The server's own language: it quotes the role that it refuses, or the database that is not there.
    words = text.replace(place.host, "")
    if _quotes(words, place.username):
        return _Saying("", AuthenticationFailed, "look at username and password in the Secret")
    if _quotes(words, place.database):
        return _Saying("", DatabaseNotFound, "look at the database's name and the role's right to connect to it")
    return _UNKNOWN


def _quotes(text: str, name: str) -> bool:
    return re.search(f"[{_QUOTES}]\\s?{re.escape(name)}\\s?[{_QUOTES}]", text) is not None


def is_transient(error: psycopg.OperationalError, place: Place) -> bool:
    """Whether a connection that failed so may be had a moment later, with nothing changed by a person."""
    return _find_saying(str(error), place).is_transient


def translate_connecting(error: psycopg.Error, place: Place) -> PostgresError:
    """The error of a connection that could not be made. The message names the place, what was said and what to do."""
    said = _one_line(str(error))
    saying = _find_saying(said, place)
    return saying.kind(f"cannot connect to {place}: {saying.advice} ({said})")


def translate(error: psycopg.Error, place: Place) -> PostgresError:
    """The error of a session that was there. The message names the place and the server's primary text and hint."""
    said = _one_line(error.diag.message_primary or str(error))
    if error.diag.message_hint:
        said += f" (hint: {_one_line(error.diag.message_hint)})"
    sqlstate = error.sqlstate
    if sqlstate is None:
        if isinstance(error, psycopg.OperationalError):
            return DatabaseUnreachable(f"the connection to {place} was lost: {said}")
        return PostgresError(f"{place}: {said}")
    kind = _BY_SQLSTATE.get(sqlstate) or _BY_SQLSTATE.get(sqlstate[:2]) or PostgresError
    if kind is DatabaseUnreachable:
        return kind(f"the connection to {place} was ended by the server: {said}")
    if "max_locks_per_transaction" in said:
        return LockTableFull(
            f"{place}: the server's lock table is full: raise max_locks_per_transaction, which takes a restart; a backup "
            f"locks every table and partition twice ({said})"
        )
    return kind(f"{place}: {said} [SQLSTATE {sqlstate}]")


def _one_line(text: str) -> str:
    return " ".join(text.split())


@contextmanager
def translated(place: Place) -> Iterator[None]:
    """Turn psycopg's errors inside the block into Resguardo's; its own errors pass as they are."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, place) from error
