"""What pods write with `to_json`, which leaves absent fields out: whatever may be None must be read back when it is absent."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from resguardo.api import census, manifest, report
from resguardo.api.base import Exchanged
from resguardo.api.census import Census, DatabaseProperties, TableRows

MODELS = [
    model
    for module in (census, manifest, report)
    for model in vars(module).values()
    if isinstance(model, type) and issubclass(model, Exchanged)
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_what_may_be_none_may_be_left_out(model: type[Exchanged]) -> None:
    required = {name: field.annotation for name, field in model.model_fields.items() if field.is_required()}
    assert [name for name, kind in required.items() if type(None) in getattr(kind, "__args__", ())] == []


def test_a_census_that_was_not_finished_in_time_is_read_back_as_it_was() -> None:
    unfinished = Census(
        server_version_num=150018, system_identifier="1", taken_at=datetime(2026, 11, 26, tzinfo=UTC), lsn="0/1",
        database=DatabaseProperties(
            name="agepar", encoding="UTF8", locale_provider="c", collate="C", ctype="C", owner="o", size_bytes=1
        ),
        roles=[], extensions=[], schema_fingerprint="f",
        tables=[TableRows(schema_name="public", name="too_large", rows=None)], large_objects=None,
    )  # fmt: skip
    assert Census.model_validate_json(unfinished.to_json()) == unfinished
