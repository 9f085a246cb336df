"""What the bucket alone says about how long backups are kept: the words of the newest backup, as far as they can be read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from resguardo.api.errors import ManifestInvalid
from resguardo.api.manifest import Promise
from resguardo.api.policy import Retention
from resguardo.jobs.survey import UNKNOWN_TERMS, Terms, promised_terms
from resguardo.store.catalogue import Catalogue, CatalogueEntry
from tests.fixtures.history import manifest_of

START = datetime(2026, 11, 23, 5, tzinfo=UTC)
IDS = ["20261123T050000Z-aaaaaa", "20261124T050000Z-bbbbbb"]
WORDS = {"schedule": "0 2 * * *", "time_zone": "America/Sao_Paulo", "timeout": "1h", "retention": {"daily": "2d"}}


def catalogue(*promises: Promise | None) -> Catalogue:
    """A backup a day with these promises."""
    entries = [
        CatalogueEntry(name, manifest_of(START + number * timedelta(days=1), backup_id=name, promise=promise))
        for number, (name, promise) in enumerate(zip(IDS, promises, strict=False))
    ]
    return Catalogue([*entries, CatalogueEntry("20261125T050000Z-cccccc", problem=ManifestInvalid("broken"))], [])


def test_the_newest_backup_that_can_be_read_says_it() -> None:
    older = Promise.model_validate(WORDS | {"retention": {"daily": "9d"}})
    found = promised_terms(catalogue(older, Promise.model_validate(WORDS)))
    assert found == Terms(Retention(daily="2d"), ZoneInfo("America/Sao_Paulo"), timedelta(hours=1))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"time_zone": "Mars/Olympus"}, id="an unknown zone"),
        pytest.param({"time_zone": "../../etc/passwd"}, id="no zone"),
        pytest.param({"time_zone": ""}, id="an empty zone"),
        pytest.param({"retention": {"minutely": "3d"}}, id="an unknown tier"),
        pytest.param({"retention": {"daily": {"for": "3d"}}}, id="words of another version"),
        pytest.param({"timeout": "soon"}, id="no timeout"),
    ],
)
def test_what_cannot_be_understood_keeps_everything(changes: dict[str, Any]) -> None:
    good, newest = Promise.model_validate(WORDS), Promise.model_validate(WORDS | changes)
    assert promised_terms(catalogue(good, newest)) == UNKNOWN_TERMS


def test_a_backup_of_a_former_version_promises_nothing() -> None:
    assert promised_terms(catalogue(None)) == UNKNOWN_TERMS
    assert promised_terms(Catalogue([], [])) == UNKNOWN_TERMS
