"""No store is a special case: one module opens them, and nothing else knows which of them it works with."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import resguardo

ROOT = Path(resguardo.__file__).parent
IMPLEMENTATION = re.compile(r"resguardo\.store\.(s3|azure|volume)(_\w+)?$")
CLIENT = re.compile(r"(boto3|botocore|azure)(\.|$)")


def imports() -> Iterator[tuple[str, str]]:
    """Each module of Resguardo with each that it imports, wherever in its text."""
    for path in ROOT.rglob("*.py"):
        name = ".".join([ROOT.name, *path.relative_to(ROOT).with_suffix("").parts])
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((name, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield name, node.module
                yield from ((name, f"{node.module}.{alias.name}") for alias in node.names)


def test_what_is_forbidden_would_be_found() -> None:
    assert any(IMPLEMENTATION.match(imported) for _, imported in imports())
    assert any(CLIENT.match(imported) for _, imported in imports())


def test_only_the_module_that_opens_stores_knows_which_there_are() -> None:
    others = {
        (name, imported)
        for name, imported in imports()
        if IMPLEMENTATION.match(imported) and not IMPLEMENTATION.match(name) and name != "resguardo.store.opening"
    }
    assert not others


def test_only_a_stores_own_modules_speak_to_its_client() -> None:
    others = {
        (name, imported) for name, imported in imports() if CLIENT.match(imported) and not IMPLEMENTATION.match(name)
    }
    assert not others
