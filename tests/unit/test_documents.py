"""What a person may write, and what is refused: the models' door. The API server's door has the same table."""

from __future__ import annotations

import pytest
import yaml

from resguardo.api.documents import read_document, read_documents
from resguardo.api.errors import DocumentInvalid
from resguardo.api.policy import BackupPolicy
from resguardo.api.request import RestoreRequest
from tests.fixtures.specs import BAD, GOOD, POLICY, REQUEST, Case


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_a_good_document_is_read(case: Case) -> None:
    document = read_document(case.document())
    assert document.metadata.name == case.document()["metadata"]["name"]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_a_bad_document_is_refused_with_its_fields_path(case: Case) -> None:
    with pytest.raises(DocumentInvalid) as refused:
        read_document(case.document())
    assert f"{case.path}: " in str(refused.value)
    assert case.message in str(refused.value)


def test_all_mistakes_are_told_at_once() -> None:
    body = Case("", POLICY, {"spec.schedule": "never", "spec.timeout": "1", "spec.colour": "blue"}).document()
    with pytest.raises(DocumentInvalid) as refused:
        read_document(body)
    assert all(path in str(refused.value) for path in ["spec.schedule: ", "spec.timeout: ", "spec.colour: "])


def test_other_kinds_in_a_file_are_passed_over() -> None:
    text = yaml.safe_dump_all([{"kind": "Secret", "apiVersion": "v1"}, POLICY, REQUEST])
    documents = read_documents(text, origin="all.yaml")
    assert [type(document) for document in documents] == [BackupPolicy, RestoreRequest]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not YAML"), ("kind: BackupPolicy\napiVersion: resguardo.dev/v2", "resguardo.dev/v1alpha1")],
)
def test_a_file_that_is_no_document_is_refused_by_its_name(text: str, message: str) -> None:
    with pytest.raises(DocumentInvalid, match=r"policy\.yaml") as refused:
        read_documents(text, origin="policy.yaml")
    assert message in str(refused.value)


def test_the_policys_hash_changes_with_the_spec_and_the_wish_to_take_over_and_nothing_else() -> None:
    def hash_of(**changes: object) -> str:
        document = read_document(Case("", POLICY, {k.replace("__", "."): v for k, v in changes.items()}).document())
        assert isinstance(document, BackupPolicy)
        return document.hash

    assert hash_of() == hash_of(metadata__labels={"a": "b"}) == hash_of(metadata__annotations={"a": "b"})
    assert hash_of() != hash_of(spec__schedule="0 3 * * *")
    assert hash_of() != hash_of(metadata__annotations={"resguardo.dev/take-over-from": "c/default/portal@1"})


def test_a_requests_fingerprint_is_the_same_when_it_is_applied_again_elsewhere() -> None:
    def fingerprint(**changes: object) -> str:
        document = read_document(Case("", REQUEST, {k.replace("__", "."): v for k, v in changes.items()}).document())
        assert isinstance(document, RestoreRequest)
        return document.fingerprint

    assert fingerprint() == fingerprint(metadata__uid="another") == fingerprint(spec__dropPrevious=True)
    assert fingerprint() != fingerprint(metadata__name="dr-2")
