"""How long it takes to start a program under a filter, against the standard library."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from time import perf_counter
from typing import Any

from benchmarks.report import Report, Result
from benchmarks.rounds import interleave
from unotify import Return, Supervisor
from unotify.calls import Getppid

__all__ = ["measure"]

BARE = 'subprocess.run(["true"])'
SUPERVISED = 'Supervisor.run(["true"])'


def measure(rounds: int) -> Report:
    """Start ``true`` both ways in turns."""
    with Supervisor() as supervisor:
        supervisor.on(Getppid)(lambda call: Return(42))
        outcome = interleave(
            {BARE: timed(subprocess.run), SUPERVISED: timed(supervisor.run)}, rounds
        )
    baseline = outcome.median(BARE)
    results = [
        Result(name, "ms", median, baseline)
        for name in (BARE, SUPERVISED)
        if (median := outcome.median(name)) is not None
    ]
    return Report("spawn", "Milliseconds to start `true` and see its end.", tuple(results))


def timed(run: Callable[..., Any]) -> Callable[[], float]:
    """A contender: start ``true`` by *run*, in milliseconds."""

    def once() -> float:
        started = perf_counter()
        run(["true"], check=True)
        return (perf_counter() - started) * 1e3

    return once
