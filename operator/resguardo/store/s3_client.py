"""A boto3 client that knows only what it is told: no variables of the environment, no ~/.aws, no instance's credentials."""

from __future__ import annotations

import os
import ssl
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import boto3
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from resguardo.api import s3 as spec
from resguardo.api.errors import StoreError
from resguardo.store.s3_answers import bound_answers
from resguardo.store.s3_login import Login, TokenService, credentials_of, service_endpoint

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


def endpoint_of(store: spec.S3Store) -> str:
    """The server as a person knows it."""
    return (store.endpoint or f"https://s3.{store.region}.amazonaws.com").rstrip("/")


def make_client(
    store: spec.S3Store,
    login: Login,
    ca_file: Path | None,
    *,
    read_seconds: float,
    attempts: int,
    session_name: str = "resguardo",
) -> S3Client:
    """A client for the store, to be shared by threads. Raises CredentialsMissing and StoreError; sends nothing."""
    verify = str(ca_file) if ca_file else _authorities()
    service = TokenService(store.region, service_endpoint(store.endpoint, store.sts_endpoint), verify, session_name)
    credentials = credentials_of(login, service, _botocore_session())
    config = Config(
        signature_version="s3v4",
        # Every body carries an explicit SHA-256; the default checksums are refused by some compatible stores.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": _addressing(store)},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=read_seconds,
        # `standard` backs off exponentially with jitter, at most 20 s a time, within a quota that the threads share.
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg, unused-ignore] # the stubs lag behind
    )
    try:
        client = _session(credentials).client(
            "s3", region_name=store.region, endpoint_url=store.endpoint, verify=verify, config=config
        )
    except (BotoCoreError, ValueError, OSError) as error:
        raise StoreError(f"no client can be made for bucket {store.bucket} at {endpoint_of(store)}: {error}") from None
    bound_answers(client)
    return client


def _addressing(store: spec.S3Store) -> Literal["auto", "path", "virtual"]:
    """In botocore's words. Of AWS it takes the path for bucket names with dots, and for no others."""
    if store.addressing is None:
        return "path" if store.endpoint else "auto"
    return "path" if store.addressing == "Path" else "virtual"


class _Given:
    """All that botocore is told of who we are."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def load_credentials(self) -> Credentials:
        return self._credentials


def _session(credentials: Credentials) -> boto3.Session:
    session = _new_session()
    # The parsed models of the API cost more than the rest together.
    session.register_component("data_loader", _botocore_session().get_component("data_loader"))
    session.register_component("credential_provider", _Given(credentials))
    return boto3.Session(botocore_session=session)


@cache
def _botocore_session() -> Session:
    return _new_session()


def _new_session() -> Session:
    session = Session()
    constants = {name: default for name, (_, _, default, _) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()}
    constants |= {"config_file": os.devnull, "credentials_file": os.devnull}
    session.register_component(
        "config_store", ConfigValueStore({name: ConstantProvider(value) for name, value in constants.items()})
    )
    return session


def _authorities() -> str | bool:
    """The image's own authorities, which a user's image may have added to; botocore's bundle where there are none."""
    return ssl.get_default_verify_paths().cafile or True
