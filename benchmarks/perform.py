"""What it costs when opens are performed: one open and close, and whole programs.

Each way to run them stops open and openat, and nothing else, and each program has to do what it
does natively. Programs are timed from inside, so that nobody's start counts.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.loads import LOADS
from benchmarks.report import Report, Result
from benchmarks.rounds import NotHere, Outcome, command, interleave
from benchmarks.roundtrip import C_LOOP, build, ours
from benchmarks.users import User, ordinary, ourselves
from benchmarks.ways import (
    DENIED,
    FREE,
    HANDLER,
    NATIVE,
    PEERS,
    POLICY,
    SANDLOCK,
    Way,
    install_sandlock,
    ways,
)

__all__ = ["measure"]

OPEN = "open+close"
ONE_CPU = "open+close, one CPU"
"""With target and supervisor on one CPU, as the C loop's are anyway (W2). A target that is to take
a descriptor is woken on a CPU that idles, and how long that takes is the machine's affair."""

GOAL = 4.0
"""Round trips of the C loop that a performed open and close may take."""

SECONDS = 12.0
"""How long the rounds of opens may take for one user, with all CPUs and with one."""

SECONDS_OF_ALL = 200.0
"""How long everything may take; what is left is shared by the programs that are left."""

PROGRAM_ROUNDS = 3

ONLY_OPENS = {FREE, HANDLER, DENIED}
"""Ways that tell no more about a whole program than their neighbours do."""


@dataclass(frozen=True)
class Measured:
    """What came of one load for one user.

    Attributes:
        unit: Of all its numbers.
    """

    user: str
    load: str
    unit: str
    outcome: Outcome


def measure(rounds: int) -> Report:
    """Prepare everything, and run it in turns: all ways of one load, then the next load."""
    end = monotonic() + SECONDS_OF_ALL
    missing: dict[str, str] = {}
    measured: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="unotify-bench-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        users = [ourselves(scratch)]
        try:
            users.append(ordinary(scratch))
        except NotHere as reason:
            missing["an ordinary user"] = str(reason)
        sandlock = None
        try:
            sandlock = install_sandlock(users[-1].python, scratch)
        except NotHere as reason:
            missing[SANDLOCK] = str(reason)
        found = ways(sandlock)
        for user in users:
            measured.append(_opens(OPEN, user, found, scratch, rounds))
            measured.append(_opens(ONE_CPU, user, found, scratch, rounds))
        runs = [(load, user) for load in LOADS for user in users]
        for number, (load, user) in enumerate(runs):
            seconds = (end - monotonic()) / (len(runs) - number)
            try:
                measured.append(_program(user, load, found, min(rounds, PROGRAM_ROUNDS), seconds))
            except NotHere as reason:
                missing[f"{load}, {user.name}"] = str(reason)
    fewest = min(len(values) for one in measured for values in one.outcome.samples.values())
    for one in measured:
        missing |= {
            f"{one.load}, {one.user}: {way}": why for way, why in one.outcome.missing.items()
        }
    return Report(
        "perform",
        "Microseconds of one open and close, milliseconds of whole programs, with `open` and "
        "`openat` stopped.",
        tuple(result for one in measured for result in results_of(one)),
        missing,
        (
            f"Python {platform.python_version()}. Medians of {rounds} rounds, of programs "
            f"{min(rounds, PROGRAM_ROUNDS)}, or of as many as fitted in time, {fewest} at least.",
            "The base of an open is one round trip of the C loop, that of a program its native "
            "run, and that of a comparison the quickest peer. On one CPU no other one has to wake "
            "up for a call. No start of a supervisor is counted. Our policy refuses namespaces "
            "and other roots, as sandboxes do; one way does not. sandlock stops more calls than "
            "the others and cannot be told not to.",
        ),
    )


def results_of(one: Measured) -> list[Result]:
    """Each way against the base, and performing by policy against the quickest peer."""
    opening = one.load in (OPEN, ONE_CPU)
    medians = {
        name: value
        for name in one.outcome.samples
        if (value := one.outcome.median(name)) is not None
    }
    base = medians.get(C_LOOP if opening else NATIVE)
    goals = {POLICY: GOAL} if opening else {}
    results = [
        Result(f"{one.load}, {one.user}: {name}", one.unit, median, base, goals.get(name))
        for name, median in medians.items()
    ]
    peer = min(
        (name for name in PEERS if name in medians), key=lambda name: medians[name], default=None
    )
    if peer is not None and POLICY in medians:
        name = f"{one.load}, {one.user}: {POLICY} : {peer}"
        results.append(Result(name, one.unit, medians[POLICY], medians[peer], 1.0))
    return results


def _opens(load: str, user: User, found: Mapping[str, Way], scratch: Path, rounds: int) -> Measured:
    path = user.home / "file"
    path.write_text("content\n")
    path.chmod(0o644)
    target = [user.python, "-m", "benchmarks.peers.opening", str(path)]
    options: dict[str, Any] = {"preexec_fn": _stay_on_one_cpu} if load == ONE_CPU else {}
    contenders: dict[str, Callable[[], float]] = {}
    missing = {}
    try:
        contenders[C_LOOP] = command(ours("c_loop", build(str(scratch))), **options)
    except NotHere as reason:
        missing[C_LOOP] = str(reason)
    contenders |= {name: partial(_run, way, user, target, **options) for name, way in found.items()}
    outcome = interleave(contenders, rounds, seconds=SECONDS)
    return Measured(user.name, load, "us", Outcome(outcome.samples, missing | outcome.missing))


def _program(
    user: User, load: str, found: Mapping[str, Way], rounds: int, seconds: float
) -> Measured:
    args = LOADS[load](user)
    timed = [user.python, "-m", "benchmarks.peers.timed"]
    # Natively, to learn what comes of it; what it reads is in memory from then on.
    before = user.run([*timed, "", *args])
    if before.returncode:
        raise NotHere(before.stderr.decode(errors="replace").strip() or "it does not run")
    target = [*timed, before.stdout.decode().split()[0], *args]
    contenders = {
        name: partial(_run, way, user, target, scale=1e3)
        for name, way in found.items()
        if name not in ONLY_OPENS
    }
    outcome = interleave(contenders, rounds, seconds=seconds)
    return Measured(user.name, load, "ms", outcome)


def _run(way: Way, user: User, target: list[str], *, scale: float = 1.0, **options: Any) -> float:
    return command(way(user, target), **user.options, **options)() * scale


def _stay_on_one_cpu() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
