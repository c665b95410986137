"""Rounds of benchmarks: fair turns, honest gaps, and an end in time."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from benchmarks.rounds import NotHere, Outcome, interleave


def test_each_is_first_in_turn() -> None:
    """Each contender runs once a round, and another one is first each time."""
    order: list[str] = []

    def contender(name: str) -> Callable[[], float]:
        def once() -> float:
            order.append(name)
            return float(len(order))

        return once

    outcome = interleave({name: contender(name) for name in "abc"}, 3)
    assert "".join(order) == "abcbcacab"
    assert outcome.samples == {"a": [1.0, 6.0, 8.0], "b": [2.0, 4.0, 9.0], "c": [3.0, 5.0, 7.0]}
    assert outcome.median("a") == 6.0


def test_who_is_not_here_is_left_out() -> None:
    """Who cannot run is asked once, has a reason and no numbers; the others go on."""
    asked = []

    def absent() -> float:
        asked.append(1)
        raise NotHere("not installed")

    outcome = interleave({"absent": absent, "present": lambda: 1.0}, 3)
    assert outcome == Outcome({"present": [1.0] * 3}, {"absent": "not installed"})
    assert len(asked) == 1
    assert outcome.median("absent") is None


def test_rounds_end_in_time() -> None:
    """A round that would not be over in time is not begun, but the first always is."""
    assert len(interleave({"a": lambda: 1.0}, 5, seconds=-1).samples["a"]) == 1
    assert len(interleave({"a": lambda: 1.0}, 5, seconds=inf).samples["a"]) == 5
