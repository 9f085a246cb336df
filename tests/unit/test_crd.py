"""The CRDs are rendered from the models, and are what the API server demands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from resguardo.api.crd import render_crds
from resguardo.api.references import render_name_references
from tests.fixtures.references import names_of_objects

ROOT = Path(__file__).parents[2]
NAME_REFERENCES = ROOT / "manifests" / "kustomizeconfig" / "namereference.yaml"
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


def test_kustomize_is_told_of_every_name_of_an_object() -> None:
    told = [
        (field["kind"], field["path"])
        for named in yaml.safe_load(NAME_REFERENCES.read_text())["nameReference"]
        for field in named["fieldSpecs"]
    ]
    names = [(kind, path.replace("[]", "")) for kind, paths in names_of_objects().items() for path in paths]
    assert sorted(told) == sorted(names)


def test_the_committed_name_references_are_what_the_models_render() -> None:
    assert NAME_REFERENCES.read_text() == render_name_references()
