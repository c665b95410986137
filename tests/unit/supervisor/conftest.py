from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.supervisor.rig import Rig


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
