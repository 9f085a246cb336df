"""Opens the store that a policy or request names: the only place that knows which stores there are.

What proves who one is stands in files under `store/`, laid out as in a pod, or in the variables that people's own tools read.
Each client is imported where it is needed, so that a pod loads that of its own store and no other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from resguardo.api.s3 import S3Store as S3Spec
from resguardo.api.store import Store as Spec
from resguardo.store.protocol import Store


class Secrets(Protocol):
    """Where credentials are looked up: a mounted file first, then a variable of the environment."""

    def text(self, name: str, variable: str, *, needed_for: str) -> str:
        """What a file holds, or the variable. Raises CredentialsMissing, naming both and what it is needed for."""

    def file(self, name: str, variable: str) -> Path:
        """A file, or the one that the variable names. Raises CredentialsMissing, naming both."""


def open_store(spec: Spec, secrets: Secrets, *, patient: bool = False) -> Store:
    """The store of a policy or request; a patient one waits longer for a server. Sends nothing. Raises CredentialsMissing."""
    if spec.s3 is not None:
        return _open_s3(spec.s3, secrets, patient)
    raise AssertionError("a store has exactly one member")


def _open_s3(spec: S3Spec, secrets: Secrets, patient: bool) -> Store:
    from resguardo.store.s3 import ATTEMPTS, PATIENT_ATTEMPTS, AccessKeys, S3Store

    where = f"bucket {spec.bucket}"
    keys = AccessKeys(
        access_key_id=secrets.text("store/access-key-id", "AWS_ACCESS_KEY_ID", needed_for=where),
        secret_access_key=secrets.text("store/secret-access-key", "AWS_SECRET_ACCESS_KEY", needed_for=where),
    )
    return S3Store(
        spec,
        keys,
        secrets.file("store/ca.crt", "AWS_CA_BUNDLE") if spec.ca_ref else None,
        attempts=PATIENT_ATTEMPTS if patient else ATTEMPTS,
    )
