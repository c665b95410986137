"""Rounds: every contender once, again and again, so that a noisy minute hits all alike."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["ROOT", "NotHere", "Outcome", "command", "interleave"]

ROOT = Path(__file__).resolve().parent.parent
"""Programs run from here, so that any interpreter finds `benchmarks`."""

TIMEOUT = 120.0
"""Seconds until a contender that hangs is killed."""


class NotHere(Exception):
    """A contender cannot run on this machine; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What the rounds found.

    Attributes:
        samples: One number for each round, by contender.
        missing: Why a contender has none.
    """

    samples: dict[str, list[float]]
    missing: dict[str, str]

    def median(self, name: str) -> float | None:
        """The median of one contender, if it ran."""
        return median(self.samples[name]) if name in self.samples else None

    def spread(self, name: str) -> str:
        """Its quickest and slowest round."""
        return f"{min(self.samples[name]):.2f}-{max(self.samples[name]):.2f}"


def interleave(
    contenders: Mapping[str, Callable[[], float]], rounds: int, *, seconds: float = inf
) -> Outcome:
    """Run each contender once a round; who is first changes from round to round.

    Who raises `NotHere` is left out from then on, and its numbers with it.

    Args:
        contenders: By name.
        rounds: How many, at most.
        seconds: No further round begins that would end later, if it took as long as the
            one before; there is one in any case.
    """
    started = time.monotonic()
    names = list(contenders)
    samples: dict[str, list[float]] = {name: [] for name in names}
    missing: dict[str, str] = {}
    taken = 0.0
    for number in range(rounds):
        began = time.monotonic()
        if number and began - started + taken > seconds:
            break
        _progress(f"round {number + 1} of {rounds}")
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if name not in missing:
                try:
                    samples[name].append(contenders[name]())
                except NotHere as reason:
                    missing[name] = str(reason)
        taken = time.monotonic() - began
    _progress("")
    found = {name: values for name, values in samples.items() if name not in missing}
    return Outcome(found, missing)


def command(args: Sequence[str], **options: Any) -> Callable[[], float]:
    """A contender that is a program: the last line it prints is its number.

    Args:
        args: Its command line.
        options: More for `subprocess.Popen`, such as `user`, or another `cwd`.
    """

    def measure() -> float:
        # In a process group of its own, so that a target that hangs dies too.
        with subprocess.Popen(
            args,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **{"cwd": ROOT, **options},
        ) as process:
            try:
                output, complaint = process.communicate(timeout=TIMEOUT)
            except subprocess.TimeoutExpired:
                raise NotHere(f"it hung for {TIMEOUT:.0f} seconds") from None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode or not output:
            raise NotHere((complaint.strip().splitlines() or ["it printed nothing"])[-1])
        return float(output.splitlines()[-1])

    return measure


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
