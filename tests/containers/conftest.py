"""What all tests with containers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.containers.container_support import Place, new_place


@pytest.fixture(name="place")
def _place() -> Iterator[Place]:
    """A directory for everything of one test."""
    with new_place() as place:
        yield place


@pytest.fixture(name="shared", scope="module")
def _shared() -> Iterator[Place]:
    """A directory for what the tests of one module share."""
    with new_place() as place:
        yield place
