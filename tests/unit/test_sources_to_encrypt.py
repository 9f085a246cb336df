"""A kind of source that holds secrets by its nature is refused without encryption on the client. None is built yet: a stand-in says so here."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pydantic import Field, ValidationError

from resguardo.api.policy import BackupPolicySpec, PostgresSource, Source, SourceKind
from tests.fixtures.specs import AGE


class SecretsSource(SourceKind):
    """Stands for configuration with its keys and passwords."""

    must_be_encrypted: ClassVar[bool] = True
    names: list[str]


class Sources(Source):
    """What is backed up, with one kind more."""

    app_config: SecretsSource | None = Field(None)


class Spec(BackupPolicySpec):
    """A policy for it."""

    source: Sources


CONFIG = {"appConfig": {"names": ["tls"]}}
POSTGRES = {
    "postgres": {"connection": {"host": "db", "credentialsSecretRef": {"name": "db"}}, "pgDump": {"database": "agepar"}}
}
SEALED = {"age": {"recipients": [AGE]}}


def spec(source: dict[str, Any], encryption: dict[str, Any] | None) -> Spec:
    written = {
        "schedule": "@daily",
        "source": source,
        "store": {"volume": {"claimName": "nas"}},
        "encryption": encryption,
    }
    return Spec.model_validate(written)


@pytest.mark.parametrize(
    ("source", "encryption", "is_taken"),
    [(CONFIG, SEALED, True), (CONFIG, None, False), (POSTGRES, None, True), (POSTGRES, SEALED, True)],
)
def test_only_what_holds_secrets_demands_encryption(
    source: dict[str, Any], encryption: dict[str, Any] | None, is_taken: bool
) -> None:
    if is_taken:
        assert spec(source, encryption)
    else:
        with pytest.raises(
            ValidationError, match=r"source\.appConfig holds secrets: name recipients in encryption\.age"
        ):
            spec(source, encryption)


def test_the_api_server_is_told_the_same() -> None:
    (rule,) = Spec.model_json_schema()["x-kubernetes-validations"]
    assert rule["rule"] == "!has(self.source.appConfig) || (has(self.encryption) && has(self.encryption.age))"
    assert "x-kubernetes-validations" not in BackupPolicySpec.model_json_schema()
    assert not PostgresSource.must_be_encrypted
