"""What several of the unit tests begin with."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.unit.small_cluster import World

# An example that took long on a busy machine proves nothing about the code. All else is as hypothesis has it, in CI too.
settings.register_profile("untimed", parent=settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def world() -> World:
    """A small cluster with an operator and nothing for it to do."""
    return World()
