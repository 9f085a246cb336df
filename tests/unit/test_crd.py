"""The CRDs are rendered from the models, and are what the API server demands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from resguardo.api.crd import render_crds

ROOT = Path(__file__).parents[2]
CRDS = {name: yaml.safe_load(text) for name, text in render_crds().items()}


def _schemas(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, item in schema.get("properties", {}).items():
        yield from _schemas(item, f"{path}.{name}")
    for key in ["items", "additionalProperties"]:
        if isinstance(schema.get(key), dict):
            yield from _schemas(schema[key], f"{path}[]")


ALL = [
    pytest.param(part, path, id=path)
    for crd in CRDS.values()
    for path, part in _schemas(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], crd["spec"]["names"]["kind"])
]


@pytest.mark.parametrize(("schema", "path"), ALL)
def test_every_field_is_structural_and_bounded(schema: dict[str, Any], path: str) -> None:
    assert "type" in schema
    assert not {"$ref", "anyOf", "title", "$defs"} & schema.keys()
    if schema["type"] == "array":
        assert "maxItems" in schema
    if isinstance(schema.get("additionalProperties"), dict):
        assert "maxProperties" in schema
    if schema["type"] == "string" and ".spec." in path:
        assert "maxLength" in schema or "enum" in schema


@pytest.mark.parametrize(("schema", "path"), [case for case in ALL if ".spec" in str(case.id)])
def test_every_field_of_a_spec_explains_itself(schema: dict[str, Any], path: str) -> None:
    nameless = path.endswith(("[]", "].name")) or ".tolerations[]." in path
    assert nameless or schema.get("description")


@pytest.mark.parametrize("folder", ["crds", "charts/resguardo-crds/templates"])
def test_the_committed_files_are_what_the_models_render(folder: str) -> None:
    for name, text in render_crds().items():
        assert (ROOT / folder / name).read_text() == text
