"""The benchmark of containers: its goals, and that all of it asks for the same."""

from __future__ import annotations

import pytest

from benchmarks.containers import (
    ALONE,
    AMONG,
    BARE,
    CALLS,
    COUNTS,
    FLEETS,
    FORK,
    NATIVE,
    OURS,
    POLICIES,
    results_of,
    results_of_fleets,
)
from benchmarks.report import Result
from benchmarks.rounds import Outcome
from unotify.policy.loader import load


def by_name(results: list[Result]) -> dict[str, tuple[float | None, bool | None]]:
    """The ratio of each row, and whether its goal is reached."""
    return {result.name: (result.ratio, result.met) for result in results}


def test_a_mknod_is_compared_with_bare_round_trips() -> None:
    """A whole mknod may take ten bare round trips, and less than a process for each call."""
    samples = {BARE: [8.0], f"mknod: {NATIVE}": [4.0], f"mknod: {OURS}": [80.0]}
    samples |= {f"mknod: {FORK}": [800.0], f"bind: {OURS}": [96.0], f"bind: {FORK}": [48.0]}
    assert by_name(results_of(Outcome(samples, {}))) == {
        BARE: (1.0, None),
        f"mknod: {NATIVE}": (0.5, None),
        f"mknod: {OURS}": (10.0, True),
        f"mknod: {FORK}": (100.0, None),
        f"bind: {OURS}": (12.0, None),
        f"bind: {FORK}": (6.0, None),
        f"mknod: {OURS} : {FORK}": (0.1, True),
        f"bind: {OURS} : {FORK}": (2.0, False),
    }


@pytest.mark.parametrize(("late", "met"), [(1000.0, True), (1001.0, False)])
def test_idle_containers_cost_little(late: float, met: bool) -> None:
    """Ten busy containers among a thousand may wait twice as long as ten alone."""
    found = by_name(
        results_of_fleets(
            {
                ALONE: [{"each": 50.0, "p50": 100.0, "p99": 500.0}],
                AMONG: [{"each": 60.0, "p50": 100.0, "p99": late}],
            }
        )
    )
    assert found["1000 containers, 10 busy : 10 containers, 99 %"] == (late / 500, met)
    assert found["10 containers: one answer"] == (None, None)


def test_what_did_not_run_is_not_compared() -> None:
    """Where a contender is missing, so is what it would be compared with."""
    assert results_of(Outcome({}, {})) == []
    assert results_of_fleets({ALONE: [], AMONG: []}) == []


def test_policies_are_about_what_is_timed() -> None:
    """Each policy loads, and each call has a rule in both ways that are answered."""
    assert {ALONE, AMONG} <= set(FLEETS)
    assert set(COUNTS) == {NATIVE, OURS, FORK}
    loaded = {name: load(text) for name, text in POLICIES.items()}
    for name in ("ours", "forks"):
        ruled = {call for rule in loaded[name].rules for call in rule.calls}
        assert ruled == {"mknod", "mknodat", "mount"}
    assert CALLS == ("mknod", "bind")
