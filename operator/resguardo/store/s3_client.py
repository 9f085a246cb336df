"""A boto3 client that knows only what it is told: no variables of the environment, no ~/.aws, no instance's credentials."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from resguardo.api import s3 as spec
from resguardo.api.errors import CredentialsMissing, StoreError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_SECONDS = 10
READ_SECONDS = 60
#: A server that copies the parts of a large object together says nothing while it does.
COMPLETE_SECONDS = 900
ATTEMPTS = 6
#: In the middle of hours of work: a server that restarts is waited for, a minute and a quarter on the average.
PATIENT_ATTEMPTS = 12
#: For giving up an upload: whoever waits for that wants to end.
ABORT_ATTEMPTS = 3
CONNECTIONS = 32


@dataclass(frozen=True)
class AccessKeys:
    """An access key: its id and its secret, which no message and no repr shows."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


def check_keys(keys: AccessKeys) -> None:
    """Raise CredentialsMissing for keys that no request could carry, mostly files with a line's end too many."""
    for name, text in [("id", keys.access_key_id), ("secret", keys.secret_access_key)]:
        if not text.strip():
            raise CredentialsMissing(f"the access key's {name} is empty")
        if text != text.strip():
            raise CredentialsMissing(
                f"the access key's {name} begins or ends with white space or a line's end: take it out of the Secret"
            )
    if not (keys.access_key_id.isascii() and keys.access_key_id.isprintable()):
        raise CredentialsMissing("the access key's id holds a character that no HTTP header can carry")


def endpoint_of(store: spec.S3Store) -> str:
    """The server as a person knows it."""
    return (store.endpoint or f"https://s3.{store.region}.amazonaws.com").rstrip("/")


def make_client(
    store: spec.S3Store, keys: AccessKeys, ca_file: Path | None, *, read_seconds: float, attempts: int
) -> S3Client:
    """A client for the store, to be shared by threads. Raises CredentialsMissing and StoreError; sends nothing."""
    check_keys(keys)
    config = Config(
        signature_version="s3v4",
        # Every body carries an explicit SHA-256; the default checksums are refused by some compatible stores.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if store.endpoint else "auto"},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=read_seconds,
        # `standard` backs off exponentially with jitter, at most 20 s a time, within a quota that the threads share.
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg, unused-ignore] # the stubs lag behind
    )
    try:
        return _session().client(
            "s3",
            region_name=store.region,
            endpoint_url=store.endpoint,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            verify=str(ca_file) if ca_file else _authorities(),
            config=config,
        )
    except (BotoCoreError, ValueError, OSError) as error:
        raise StoreError(f"no client can be made for bucket {store.bucket} at {endpoint_of(store)}: {error}") from None


@cache
def _session() -> boto3.Session:
    # One for all clients: it holds the parsed models of the API, which cost more than the rest together.
    session = Session()
    constants = {name: default for name, (_, _, default, _) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()}
    constants |= {"config_file": os.devnull, "credentials_file": os.devnull}
    session.register_component(
        "config_store", ConfigValueStore({name: ConstantProvider(value) for name, value in constants.items()})
    )
    return boto3.Session(botocore_session=session)


def _authorities() -> str | bool:
    """The image's own authorities, which a user's image may have added to; botocore's bundle where there are none."""
    return ssl.get_default_verify_paths().cafile or True
