"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import resguardo

MODULES = [
    module.name
    for module in pkgutil.walk_packages(resguardo.__path__, "resguardo.")
    if not module.ispkg and not module.name.startswith(("resguardo.cli", "resguardo.controller.handlers"))
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
