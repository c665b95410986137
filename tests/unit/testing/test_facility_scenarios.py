"""All scenarios on the simulated kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.scenarios import installs, life, looks, signals_and_descriptors, supervisors
from tests.scenarios.language import SCENARIOS
from tests.scenarios.outside import OUTSIDE
from tests.scenarios.selftests import SELFTESTS
from tests.scenarios.simulated import SimulatedStage
from unotify.testing.facility.rules import RULES

MODULES = (installs, life, looks, signals_and_descriptors, supervisors)
ROOT = Path(__file__).resolve().parents[3]


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


def test_each_statement_has_a_scenario_or_a_reason() -> None:
    """A numbered statement of the facility is played on both kernels, or the table says why not."""
    text = (ROOT / "docs/kernel-facts.md").read_text(encoding="utf-8")
    stated = set(re.findall(r"^- \*\*([NVCERFSIAPBMW]\d+a?)\*\* ", text, re.MULTILINE))
    assert len(stated) > 100
    played = {fact for one in SCENARIOS.values() for fact in one.facts}
    assert stated - played == OUTSIDE.keys()
    assert OUTSIDE.keys() - {"W2a"} <= {fact for rule in RULES.values() for fact in rule.facts}
