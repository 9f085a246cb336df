"""What several of the controller's unit tests begin with."""

from __future__ import annotations

import pytest

from tests.unit.small_cluster import World


@pytest.fixture
def world() -> World:
    """A small cluster with an operator and nothing for it to do."""
    return World()
