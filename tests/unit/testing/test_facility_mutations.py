"""Each rule of the facility is looked at by some test: without it, one fails.

A run takes each rule away in turn and plays the scenarios, then the tests of the facility, until
something fails.
"""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from types import FrameType
from typing import Any

import pytest

from tests.scenarios import installs, life, looks, signals_and_descriptors, supervisors
from tests.scenarios.language import SCENARIOS
from tests.scenarios.simulated import SimulatedStage
from tests.unit.testing import test_facility, test_facility_files
from unotify.testing.facility.rules import RULES, without

MODULES = (installs, life, looks, signals_and_descriptors, supervisors)
LONG = bool(os.environ.get("UNOTIFY_TEST_LONG"))
PATIENCE = 5
SAMPLE = ("mark_sent", "restore", "after_handler", "detach", "forget_gifts")


class TooLong(BaseException):
    """A mutant that does not come to an end is found out too."""


@contextmanager
def limited() -> Iterator[None]:
    """Raise `TooLong` after some seconds."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TooLong

    old = signal.signal(signal.SIGALRM, ring)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def checks() -> Iterator[tuple[str, Callable[[], None]]]:
    """All that could fail: scenarios, and tests with each set of their parameters."""
    for name, scenario in SCENARIOS.items():
        yield name, lambda play=scenario.play: play(SimulatedStage())  # type: ignore[misc]
    tests = [
        *inspect.getmembers(test_facility, inspect.isfunction),
        *inspect.getmembers(test_facility_files, inspect.isfunction),
    ]
    for name, test in tests:
        if not name.startswith("test_"):
            continue
        axes: list[list[dict[str, Any]]] = []
        for mark in getattr(test, "pytestmark", []):
            names, rows = mark.args
            keys = [names] if isinstance(names, str) else list(names)
            axes.append(
                [
                    dict(zip(keys, [row] if isinstance(names, str) else row, strict=True))
                    for row in rows
                ]
            )
        for parts in product(*axes):
            options = {key: value for part in parts for key, value in part.items()}
            yield name, lambda test=test, options=options: test(**options)  # type: ignore[misc]


def found_by(rule: str) -> str:
    """The first check that fails without *rule*; nothing if all pass."""
    for name, run in checks():
        try:
            with without(rule), limited():
                run()
        except (Exception, TooLong):
            return name
        except BaseException as error:
            if type(error).__name__ != "Failed":  # pytest.raises that found nothing
                raise
            return name
    return ""


def test_without_mutation_all_pass() -> None:
    """The checks pass as they are, so that what fails below fails for want of a rule."""
    for name, run in checks():
        with limited():
            run()
        assert name


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("rule", RULES if LONG else SAMPLE)
def test_every_rule_is_needed(rule: str) -> None:
    """Without any one rule of the facility some test fails; all of them in `make test-long`."""
    assert found_by(rule), f"nothing fails without {rule} ({', '.join(RULES[rule].facts)})"


def test_there_is_no_rule_of_another_name() -> None:
    """A rule that is not there cannot be taken away."""
    with pytest.raises(KeyError), without("nothing"):
        pass


def test_rules_say_what_they_state() -> None:
    """Each has numbers of statements and a sentence."""
    assert all(rule.facts and rule.text.endswith(".") for rule in RULES.values())


def test_the_facility_makes_no_system_call() -> None:
    """It can be imported where there is no Linux: nothing of it needs ctypes or fcntl."""
    code = """
import sys
for name in ("ctypes", "fcntl", "mmap", "resource", "select"):
    sys.modules[name] = None
import unotify.testing.exploring
import unotify.testing.facility.stepping
"""
    subprocess.run([sys.executable, "-c", code], check=True)
