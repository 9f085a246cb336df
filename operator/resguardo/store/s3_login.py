"""Who one is to an S3 store: an access key, or keys that a cloud gives out for some time, fetched again before they end.

Nothing here is found by chance: botocore's own chain (variables, ~/.aws, an instance's metadata) is never asked, so that a pod
uses what its policy names and nothing else that happens to lie about.

- IRSA: https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html
- EKS Pod Identity: https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html
- AssumeRole: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    AssumeRoleWithWebIdentityCredentialFetcher,
    Credentials,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import MetadataRetrievalError
from botocore.session import Session
from botocore.utils import ContainerMetadataFetcher

from resguardo.api.errors import CredentialsMissing
from resguardo.store.s3_answers import bound_answers

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 10, 30, 5


@dataclass(frozen=True)
class AccessKeys:
    """An access key: its id and its secret, which no message and no repr shows; a token with one that ends by itself."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class WebIdentity:
    """A service account's role (IRSA): the token in the file is exchanged for its keys."""

    role_arn: str
    token_file: Path


@dataclass(frozen=True)
class PodIdentity:
    """A service account's role (EKS Pod Identity): the node's agent gives its keys for the token in the file."""

    uri: str
    token_file: Path


@dataclass(frozen=True)
class AssumedRole:
    """A role that is assumed with something else that one is."""

    arn: str
    external_id: str | None
    base: AccessKeys | WebIdentity | PodIdentity


Login = AccessKeys | WebIdentity | PodIdentity | AssumedRole


@dataclass(frozen=True)
class TokenService:
    """Where keys are given out (AWS STS, or what is like it), and under which name the store's log is to know us."""

    region: str
    #: None for AWS' own of the region.
    endpoint: str | None
    verify: str | bool
    session_name: str


def service_endpoint(endpoint: str | None, sts_endpoint: str | None) -> str | None:
    """The URL of the token service that belongs to a store's endpoint; None for AWS' own.

    >>> service_endpoint("https://minio.example:9000", None)
    'https://minio.example:9000'
    >>> service_endpoint("https://bucket.vpce-1a2b.s3.sa-east-1.vpce.amazonaws.com", None)
    """
    if sts_endpoint is not None:
        return sts_endpoint
    host = urlsplit(endpoint or "").hostname or "amazonaws.com"
    return None if host.endswith(("amazonaws.com", "amazonaws.com.cn")) else endpoint


def check_keys(keys: AccessKeys) -> None:
    """Raise CredentialsMissing for keys that no request could carry, mostly files with a line's end too many."""
    token = [] if keys.session_token is None else [("session token", keys.session_token)]
    for name, text in [("id", keys.access_key_id), ("secret", keys.secret_access_key), *token]:
        if not text.strip():
            raise CredentialsMissing(f"the access key's {name} is empty")
        if text != text.strip():
            raise CredentialsMissing(
                f"the access key's {name} begins or ends with white space or a line's end: take it out of the Secret"
            )
    # In headers, of which the client's own error repeats one that it cannot send. The secret is in none.
    for name, text in [("id", keys.access_key_id), *token]:
        if not (text.isascii() and text.isprintable()):
            raise CredentialsMissing(f"the access key's {name} holds a character that no HTTP header can carry")


@lru_cache(maxsize=64)
def credentials_of(login: Login, service: TokenService, session: Session) -> Credentials:
    """What signs requests, the same for all clients of one login, so that keys are asked for once. Sends nothing yet."""
    match login:
        case AccessKeys():
            check_keys(login)
            return Credentials(login.access_key_id, login.secret_access_key, login.session_token)
        case WebIdentity():
            fetcher = AssumeRoleWithWebIdentityCredentialFetcher(
                _client_maker(session, service),
                login.token_file.read_text,
                login.role_arn,
                extra_args={"RoleSessionName": service.session_name},
            )
            return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role-with-web-identity")
        case PodIdentity():
            return DeferredRefreshableCredentials(lambda: _ask_agent(login), "container-role")
        case AssumedRole():
            external = {"ExternalId": login.external_id} if login.external_id else {}
            assumer = AssumeRoleCredentialFetcher(
                _client_maker(session, service),
                credentials_of(login.base, service, session),
                login.arn,
                extra_args={"RoleSessionName": service.session_name, **external},
            )
            return DeferredRefreshableCredentials(assumer.fetch_credentials, "assume-role")


def _client_maker(session: Session, service: TokenService) -> Callable[..., Any]:
    def make(name: str, *, config: Config | None = None, **keys: Any) -> Any:
        own = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            ignore_configured_endpoint_urls=True,  # type: ignore[call-arg, unused-ignore] # the stubs lag behind
        )
        client = session.create_client(
            name,
            region_name=service.region,
            endpoint_url=service.endpoint,
            verify=service.verify,
            config=own.merge(config) if config is not None else own,
            **keys,
        )
        bound_answers(client)
        return client

    return make


def _ask_agent(login: PodIdentity) -> dict[str, str]:
    try:
        answer = ContainerMetadataFetcher().retrieve_full_uri(
            login.uri, headers={"Authorization": login.token_file.read_text().strip()}
        )
        return {
            "access_key": answer["AccessKeyId"],
            "secret_key": answer["SecretAccessKey"],
            "token": answer["Token"],
            "expiry_time": answer["Expiration"],
        }
    except (KeyError, OSError, ValueError) as error:
        # Its words and not itself: what could not be decoded would stand there whole, and is the token.
        raise MetadataRetrievalError(error_msg=f"{login.uri}: {type(error).__name__}: {error}") from None
