"""All scenarios on the running kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import missing, need_root
from tests.scenarios import installs, life, looks, signals_and_descriptors, supervisors
from tests.scenarios.language import SCENARIOS, Missing
from tests.scenarios.real import RealStage

MODULES = (installs, life, looks, signals_and_descriptors, supervisors)


@pytest.fixture(name="stage")
def _stage() -> Iterator[RealStage]:
    """The running kernel."""
    stage = RealStage()
    try:
        yield stage
    finally:
        stage.close()


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, stage: RealStage) -> None:
    """The running kernel does as the scenario says; the same is asked of the simulated one."""
    if SCENARIOS[name].root:
        need_root()
    try:
        SCENARIOS[name].play(stage)
    except Missing as error:
        missing(str(error))
