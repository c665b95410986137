from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.unit.supervisor.rig import Rig, is_open


@pytest.fixture(name="rig", params=["threads", "embedded"])
def _rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """One with threads, and one without."""
    rig = Rig(request.param == "embedded")
    yield rig
    rig.close()


@pytest.fixture(name="threaded")
def _threaded() -> Iterator[Rig]:
    """One with threads."""
    rig = Rig(False)
    yield rig
    rig.close()


@pytest.fixture(name="embedded")
def _embedded() -> Iterator[Rig]:
    """One without threads: everything happens in the test's."""
    rig = Rig(True)
    yield rig
    rig.close()


@pytest.fixture(name="fd")
def _fd() -> Iterator[int]:
    """A descriptor that the test owns no more once it is closed."""
    fd = os.eventfd(0)
    yield fd
    if is_open(fd):
        os.close(fd)
