"""How to reach a PostgreSQL server."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from resguardo.api.base import Written
from resguardo.api.fields import CaRef, DataKey, ObjectName, cel, validations

#: PostgreSQL cuts identifiers at 63 bytes (NAMEDATALEN); the API server counts characters, the model bytes.
IDENTIFIER_MAX_BYTES = 63


_NEEDS_TLS = "caRef and clientCertificateSecretRef need TLS: set sslMode to require, verify-ca or verify-full"


class SslMode(StrEnum):
    """libpq's modes that say what they do; `allow` and `prefer` fall back to plain text in silence and are left out.

    https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION
    """

    DISABLE = "disable"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class DatabaseCredentialsRef(Written):
    """The Secret with a role's name and password; a kubernetes.io/basic-auth Secret fits as it is."""

    name: ObjectName = Field(description="Name of the Secret.")
    username_key: DataKey = Field("username", description="Key that holds the role's name.")
    password_key: DataKey = Field("password", description="Key that holds the password.")


class ClientCertificateRef(Written):
    """The Secret with a client certificate and its key; a kubernetes.io/tls Secret fits as it is."""

    name: ObjectName = Field(description="Name of the Secret.")
    certificate_key: DataKey = Field("tls.crt", description="Key that holds the certificate, in PEM.")
    private_key_key: DataKey = Field("tls.key", description="Key that holds the private key, in PEM.")


class PostgresConnection(Written):
    """Where a PostgreSQL server is and how to log in to it."""

    model_config = {
        "json_schema_extra": validations(
            cel(
                "self.sslMode != 'disable' || (!has(self.caRef) && !has(self.clientCertificateSecretRef))",
                _NEEDS_TLS,
            )
        )
    }

    host: Annotated[
        str, Field(min_length=1, max_length=253, pattern=r"^[a-zA-Z0-9]([-a-zA-Z0-9_.:]*[a-zA-Z0-9])?$")
    ] = Field(description="Name or address of the server. A pooler in transaction mode breaks dumps: name the server.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(5432, description="TCP port of the server.")
    ssl_mode: SslMode = Field(
        SslMode.VERIFY_FULL,
        description="TLS as libpq's sslmode: verify-full (the default), verify-ca, require or disable.",
    )
    credentials_secret_ref: DatabaseCredentialsRef = Field(description="Secret with the role's name and password.")
    ca_ref: CaRef | None = Field(
        None, description="Certificate authorities that may vouch for the server; absent: those of the image."
    )
    client_certificate_secret_ref: ClientCertificateRef | None = Field(
        None, description="Secret with a client certificate, where the server asks for one."
    )

    @model_validator(mode="after")
    def _certificates_need_tls(self) -> Self:
        if self.ssl_mode is SslMode.DISABLE and (self.ca_ref or self.client_certificate_secret_ref):
            raise ValueError(_NEEDS_TLS)
        return self


DatabaseName = Annotated[
    str, Field(min_length=1, max_length=IDENTIFIER_MAX_BYTES, description="Name of the database, at most 63 bytes.")
]


def checked_database_name(name: str) -> str:
    """The name itself; ValueError where PostgreSQL would cut it or could not hold it."""
    if len(name.encode()) > IDENTIFIER_MAX_BYTES:
        raise ValueError(f"has {len(name.encode())} bytes; PostgreSQL cuts names at {IDENTIFIER_MAX_BYTES}")
    if "\x00" in name:
        raise ValueError("holds a NUL character, which PostgreSQL cannot store")
    return name
