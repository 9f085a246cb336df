"""Opens the store that a policy or request names: the only place that knows which stores there are.

What proves who one is stands in files under `store/`, laid out as in a pod, or in the variables that people's own tools read.
Each client is imported where it is needed, so that a pod loads that of its own store and no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from resguardo.api.azure import AzureStore as AzureSpec
from resguardo.api.errors import CredentialsMissing
from resguardo.api.roles import Role
from resguardo.api.s3 import S3Store as S3Spec
from resguardo.api.store import Store as Spec
from resguardo.api.volume import VOLUME_FOLDER
from resguardo.api.volume import VolumeStore as VolumeSpec
from resguardo.store.protocol import Store

if TYPE_CHECKING:
    from resguardo.store.azure_client import Login as AzureLogin
    from resguardo.store.s3_login import AccessKeys, Login, PodIdentity, WebIdentity


class Secrets(Protocol):
    """Where credentials are looked up: a mounted file first, then a variable of the environment."""

    def text(self, name: str, variable: str, *, needed_for: str) -> str:
        """What a file holds, or the variable. Raises CredentialsMissing, naming both and what it is needed for."""

    def file(self, name: str, variable: str) -> Path:
        """A file, or the one that the variable names. Raises CredentialsMissing, naming both."""

    def beside(self, name: str, companion: str, variable: str) -> str | None:
        """What belongs to a credential and is not always there: the companion file where the credential is a file, else the variable."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables, where what a cloud has put into a pod is found."""


def open_store(spec: Spec, secrets: Secrets, *, role: Role, patient: bool = False) -> Store:
    """The store of a policy or request, for one role; a patient one waits longer for a server.

    Sends nothing. Raises CredentialsMissing.
    """
    if spec.s3 is not None:
        return _open_s3(spec.s3, secrets, role, patient)
    if spec.azure is not None:
        return _open_azure(spec.azure, secrets, role, patient)
    if spec.volume is not None:
        return _open_volume(spec.volume, secrets)
    raise AssertionError("a store has exactly one member")


def _open_s3(spec: S3Spec, secrets: Secrets, role: Role, patient: bool) -> Store:
    from resguardo.store.s3 import ATTEMPTS, PATIENT_ATTEMPTS, S3Store

    return S3Store(
        spec,
        _login(spec, secrets, role),
        secrets.file("store/ca.crt", "AWS_CA_BUNDLE") if spec.ca_ref else None,
        attempts=PATIENT_ATTEMPTS if patient else ATTEMPTS,
        session_name=f"resguardo-{role}",
    )


def _login(spec: S3Spec, secrets: Secrets, role: Role) -> Login:
    from resguardo.store.s3_login import AssumedRole

    identity = spec.credentials.of(role)
    where = f"bucket {spec.bucket}"
    account = identity.service_account_name
    base = _access_keys(secrets, where) if account is None else _workload_identity(secrets, where, account)
    if identity.assume_role is None:
        return base
    return AssumedRole(identity.assume_role.arn, identity.assume_role.external_id, base)


def _access_keys(secrets: Secrets, where: str) -> AccessKeys:
    from resguardo.store.s3_login import AccessKeys

    return AccessKeys(
        access_key_id=secrets.text("store/access-key-id", "AWS_ACCESS_KEY_ID", needed_for=where),
        secret_access_key=secrets.text("store/secret-access-key", "AWS_SECRET_ACCESS_KEY", needed_for=where),
        session_token=secrets.beside("store/access-key-id", "store/session-token", "AWS_SESSION_TOKEN"),
    )


def _workload_identity(secrets: Secrets, where: str, account: str) -> AccessKeys | WebIdentity | PodIdentity:
    """What the cloud has put into the pod of a service account; a person's own keys serve where a command is run by hand."""
    from resguardo.store.s3_login import PodIdentity, WebIdentity

    given = secrets.environment
    if arn := given.get("AWS_ROLE_ARN"):
        return WebIdentity(arn, _token(given, "AWS_WEB_IDENTITY_TOKEN_FILE", account))
    if uri := given.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        return PodIdentity(uri, _token(given, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", account))
    try:
        return _access_keys(secrets, where)
    except CredentialsMissing as error:
        raise CredentialsMissing(
            f"the cloud gave this pod no identity of service account {account}, which is needed for {where}: annotate it with "
            "eks.amazonaws.com/role-arn where the EKS pod identity webhook runs, or make a pod identity association for it. By "
            f"hand, an access key serves: {error}"
        ) from None


def _token(given: Mapping[str, str], variable: str, account: str) -> Path:
    path = Path(given.get(variable, ""))
    if not path.is_file():
        raise CredentialsMissing(f"the token of service account {account}, which ${variable} names, is not there")
    return path


def _open_azure(spec: AzureSpec, secrets: Secrets, role: Role, patient: bool) -> Store:
    from resguardo.store.azure import ATTEMPTS, PATIENT_ATTEMPTS, AzureStore

    ca_file = secrets.file("store/ca.crt", "REQUESTS_CA_BUNDLE") if spec.ca_ref else None
    attempts = PATIENT_ATTEMPTS if patient else ATTEMPTS
    return AzureStore(spec, _azure_login(spec, secrets, role), ca_file, attempts=attempts)


def _azure_login(spec: AzureSpec, secrets: Secrets, role: Role) -> AzureLogin:
    identity = spec.credentials.of(role)
    where = f"container {spec.container} of account {spec.account}"
    if identity.account_key_secret_ref is not None:
        return _account_key(secrets, where)
    if identity.sas_token_secret_ref is not None:
        return _sas_token(secrets, where)
    return _entra_identity(secrets, where, str(identity.service_account_name))


def _account_key(secrets: Secrets, where: str) -> AzureLogin:
    from resguardo.store.azure_client import AccountKey

    return AccountKey(secrets.text("store/account-key", "AZURE_STORAGE_KEY", needed_for=where))


def _sas_token(secrets: Secrets, where: str) -> AzureLogin:
    from resguardo.store.azure_client import SasToken

    return SasToken(secrets.text("store/sas-token", "AZURE_STORAGE_SAS_TOKEN", needed_for=where))


def _entra_identity(secrets: Secrets, where: str, account: str) -> AzureLogin:
    """What the webhook has put into the pod of a service account; a person's own signature or key serves by hand."""
    given = secrets.environment
    if given.get("AZURE_FEDERATED_TOKEN_FILE"):
        from resguardo.store.azure_identity import federated

        missing = [name for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID") if not given.get(name)]
        if missing:
            raise CredentialsMissing(
                f"{' and '.join(missing)} of the identity of service account {account}, which is needed for {where}, is not there: "
                "annotate it with azure.workload.identity/client-id, and tenant-id"
            )
        return federated(
            client_id=given["AZURE_CLIENT_ID"],
            tenant_id=given["AZURE_TENANT_ID"],
            token_file=_token(given, "AZURE_FEDERATED_TOKEN_FILE", account),
            authority=given.get("AZURE_AUTHORITY_HOST"),
        )
    for way in (_sas_token, _account_key):
        try:
            return way(secrets, where)
        except CredentialsMissing:
            continue
    raise CredentialsMissing(
        f"no identity of service account {account} was put into this pod, and one is needed for {where}: does the Workload ID webhook "
        "run, and is the account annotated with azure.workload.identity/client-id? By hand, set AZURE_STORAGE_SAS_TOKEN or "
        "AZURE_STORAGE_KEY"
    )


def _open_volume(spec: VolumeSpec, secrets: Secrets) -> Store:
    from resguardo.store.volume import VolumeStore

    return VolumeStore(spec, Path(secrets.environment.get("RESGUARDO_VOLUME") or VOLUME_FOLDER))
