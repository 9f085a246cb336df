"""manifests/examples: what people copy is whole, safe where it was not filled in, and what the documentation recommends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from resguardo.api.documents import read_documents
from resguardo.api.errors import RecipientInvalid
from resguardo.api.policy import BackupPolicy
from resguardo.api.request import RestoreRequest
from resguardo.api.roles import Role
from resguardo.rules.advice import advise
from resguardo.store.recipients import parse_recipients
from tests.fixtures.references import names_of_objects

EXAMPLES = Path(__file__).parents[2] / "manifests" / "examples"
REQUESTS = sorted(EXAMPLES.glob("restore-*.yaml"))
#: Made when a restore needs it, as secrets.yaml says.
MADE_LATER = {"age-identity"}


def bodies(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def policy() -> BackupPolicy:
    (found,) = read_documents((EXAMPLES / "policy.yaml").read_text(), origin="policy.yaml")
    assert isinstance(found, BackupPolicy)
    return found


def applied() -> list[dict[str, Any]]:
    """What `kubectl apply -k manifests/examples` makes."""
    (kustomization,) = bodies(EXAMPLES / "kustomization.yaml")
    return [body for name in kustomization["resources"] for body in bodies(EXAMPLES / name)]


def test_the_policy_is_the_one_that_we_recommend() -> None:
    spec = policy().spec
    assert spec.source.postgres is not None
    assert spec.source.postgres.connection.ssl_mode == "verify-full"
    assert spec.source.postgres.connection.ca_ref is not None
    assert spec.encryption is not None
    assert spec.encryption.age is not None
    assert len(spec.encryption.age.recipients) == 2
    assert spec.store.s3 is not None
    keys = [spec.store.s3.credentials.of(role).secret_ref for role in Role]
    assert len({key.name for key in keys if key is not None}) == 3
    assert advise(spec) == []


def test_a_policy_whose_recipients_were_not_filled_in_is_refused_by_the_check() -> None:
    """given the placeholders, then no backup is ever made that nobody could open"""
    age = policy().spec.encryption
    assert age is not None
    assert age.age is not None
    for recipient in age.age.recipients:
        with pytest.raises(RecipientInvalid):
            parse_recipients([recipient])


@pytest.mark.parametrize("path", REQUESTS, ids=lambda path: path.stem)
def test_a_request_opens_what_the_policy_encrypts_and_verifies_where_it_writes(path: Path) -> None:
    (request,) = read_documents(path.read_text(), origin=path.name)
    assert isinstance(request, RestoreRequest)
    assert request.spec.decryption is not None
    assert request.spec.target.postgres is not None
    assert request.spec.target.postgres.connection.ssl_mode == "verify-full"


def test_everything_that_is_named_is_there() -> None:
    there = {body["metadata"]["name"] for body in applied()}
    names = names_of_objects()
    documents = [*applied(), *(body for path in REQUESTS for body in bodies(path))]
    named = {
        name
        for body in documents
        for path in names.get(body["kind"], [])
        for name in _at(body, path.split("/"))
    }  # fmt: skip
    assert named - MADE_LATER <= there
    assert named >= MADE_LATER


def _at(body: Any, path: list[str]) -> list[str]:
    if not path:
        return [body]
    field = path[0].removesuffix("[]")
    if not isinstance(body, dict) or field not in body:
        return []
    inner = body[field] if path[0].endswith("[]") else [body[field]]
    return [name for item in inner for name in _at(item, path[1:])]
