"""A client of one container that knows only what it is told, waits for no answer for ever, and tries again in bounds."""

from __future__ import annotations

import random
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from azure.core.credentials import AzureSasCredential, TokenCredential
from azure.storage.blob import ContainerClient
from azure.storage.blob._shared.policies import StorageRetryPolicy

from resguardo.api import azure as spec
from resguardo.api.errors import CredentialsMissing, StoreError
from resguardo.store.azure_answers import bounded_transport

CONNECT_SECONDS = 10
READ_SECONDS = 60
ATTEMPTS = 6
#: In the middle of hours of work: a server that restarts is waited for, a minute and a half on the average.
PATIENT_ATTEMPTS = 12
#: For giving up an upload: whoever waits for that wants to end.
ABORT_ATTEMPTS = 3
PAUSE_MAX_SECONDS = 20.0
#: Small objects are sent whole, large ones by the block: never split by the SDK.
WHOLE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class AccountKey:
    """A key of the account, which no message and no repr shows."""

    key: str = field(repr=False)


@dataclass(frozen=True)
class SasToken:
    """A shared access signature, which no message and no repr shows."""

    token: str = field(repr=False)


#: An identity of Entra's gives out tokens (see `azure_identity`).
Login = AccountKey | SasToken | TokenCredential


class _Retry(StorageRetryPolicy):
    """Exponential, with jitter, at most 20 s a time."""

    def __init__(self, attempts: int) -> None:
        again = attempts - 1
        super().__init__(retry_total=again, retry_connect=again, retry_read=again, retry_status=again)

    def get_backoff_time(self, settings: dict[str, Any]) -> float:
        """Seconds to wait before the next attempt."""
        longest = min(PAUSE_MAX_SECONDS, 0.5 * 2.0 ** settings["count"])
        return random.uniform(longest / 2, longest)  # noqa: S311 - jitter


def endpoint_of(store: spec.AzureStore) -> str:
    """The blob service as a person knows it."""
    return (store.endpoint or f"https://{store.account}.blob.core.windows.net").rstrip("/")


def make_client(
    store: spec.AzureStore, login: Login, ca_file: Path | None, *, read_seconds: float, attempts: int
) -> ContainerClient:
    """A client of the container, to be shared by threads. Raises CredentialsMissing and StoreError; sends nothing."""
    try:
        return ContainerClient(
            endpoint_of(store),
            store.container,
            credential=_credential(store, login),
            retry_policy=_Retry(attempts),
            transport=bounded_transport(
                connection_timeout=CONNECT_SECONDS,
                read_timeout=read_seconds,
                connection_verify=str(ca_file) if ca_file else ssl.get_default_verify_paths().cafile or True,
            ),
            max_single_put_size=WHOLE_BYTES,
            max_single_get_size=WHOLE_BYTES,
        )
    except (ValueError, OSError) as error:
        raise StoreError(
            f"no client can be made for container {store.container} at {endpoint_of(store)}: {error}"
        ) from None


def _credential(store: spec.AzureStore, login: Login) -> Any:
    match login:
        case AccountKey(key):
            _check("account's key", key)
            return {"account_name": store.account, "account_key": key}
        case SasToken(token):
            _check("SAS token", token)
            if "sig=" not in token:
                raise CredentialsMissing("the SAS token has no signature (sig=…): give the whole token")
            return AzureSasCredential(token.removeprefix("?"))
        case _:
            return login


def _check(what: str, text: str) -> None:
    if not text.strip():
        raise CredentialsMissing(f"the {what} is empty")
    if text != text.strip():
        raise CredentialsMissing(
            f"the {what} begins or ends with white space or a line's end: take it out of the Secret"
        )
    if not (text.isascii() and text.isprintable()):
        raise CredentialsMissing(f"the {what} holds a character that no HTTP header can carry")
