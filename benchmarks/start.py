"""How long the command line takes to start, against a bare interpreter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

from benchmarks.report import Report, Result
from benchmarks.rounds import NotHere, interleave

__all__ = ["measure"]

GOAL = 7.5  # 0.15 seconds where the interpreter takes 0.02

PASS = "python -c pass"
VERSION = "unotify --version"


def measure(rounds: int) -> Report:
    """Start both in turns."""
    unotify = Path(sys.executable).with_name("unotify")
    contenders = {
        PASS: timed([sys.executable, "-c", "pass"]),
        VERSION: timed([str(unotify), "--version"]),
    }
    outcome = interleave(contenders, rounds)
    baseline = outcome.median(PASS)
    results = [
        Result(name, "ms", median, baseline, goal)
        for name, goal in ((PASS, None), (VERSION, GOAL))
        if (median := outcome.median(name)) is not None
    ]
    return Report(
        "start", "Milliseconds from start to end of a program.", tuple(results), outcome.missing
    )


def timed(args: Sequence[str]) -> Callable[[], float]:
    """A contender: run *args* silently, in milliseconds."""

    def run() -> float:
        started = perf_counter()
        try:
            done = subprocess.run(args, stdout=subprocess.DEVNULL, check=False)
        except OSError as error:
            raise NotHere(str(error)) from None
        if done.returncode:
            raise NotHere(f"exit status {done.returncode}")
        return (perf_counter() - started) * 1e3

    return run
