"""All scenarios on the simulated kernel."""

from __future__ import annotations

import pytest

from tests.scenarios import installs, life, signals_and_descriptors
from tests.scenarios.language import SCENARIOS
from tests.scenarios.selftests import SELFTESTS
from tests.scenarios.simulated import SimulatedStage

MODULES = (installs, life, signals_and_descriptors)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    """The simulated kernel does as the scenario says; the same is asked of the running one."""
    SCENARIOS[name].play(SimulatedStage())


def test_modules_have_scenarios() -> None:
    """Each module of scenarios is loaded and has some."""
    homes = {one.play.__module__ for one in SCENARIOS.values()}
    assert {module.__name__ for module in MODULES} <= homes


def test_selftests_name_scenarios() -> None:
    """The table of the kernel's own tests names scenarios that there are."""
    assert {name for names in SELFTESTS.values() for name in names} <= SCENARIOS.keys()
    assert all(SELFTESTS.values())
