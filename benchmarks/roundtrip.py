"""How long a call takes that is answered by a supervisor, by us and by others."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.peers.target import BARE, COMMAND
from benchmarks.report import Report, Result
from benchmarks.rounds import NotHere, Outcome, command, interleave

__all__ = ["measure"]

C_LOOP = "C loop"
TYPED = "typed handler"
GOALS = {"lowlevel": 1.35, TYPED: 1.8}

PEERS = {"libseccomp": "seccomp", "pyseccomp": "pyseccomp", "seccompy": "seccompy"}
"""Other Python packages: our module that uses them, and what it has to import."""

SOURCE = Path(__file__).parent / "peers" / "loop.c"
SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's python3-* packages are for this one alone
STRACE = ("strace", "-f", "--seccomp-bpf", "-e", "inject=getppid:retval=42", "-o", os.devnull)


def measure(rounds: int) -> Report:
    """Build what is to be built, and let all of them answer in turns."""
    with tempfile.TemporaryDirectory() as scratch:
        makers: dict[str, Callable[[], list[str]]] = {
            C_LOOP: lambda: ours("c_loop", build(scratch)),
            "lowlevel": lambda: ours("lowlevel"),
            "lowlevel, Exchange": lambda: ours("lowlevel_exchange"),
            TYPED: lambda: ours("typed"),
            "asyncio, plain handler": lambda: ours("asyncio_plain"),
            "asyncio, async def": lambda: ours("asyncio_async"),
            **{name: partial(peer, name) for name in PEERS},
            "strace --seccomp-bpf": strace,
            "no supervisor": lambda: [*COMMAND, BARE],
        }
        contenders, missing = {}, {}
        for name, make in makers.items():
            try:
                contenders[name] = command(make())
            except NotHere as reason:
                missing[name] = str(reason)
        outcome = interleave(contenders, rounds)
    return Report(
        "roundtrip",
        f"Microseconds of one `getppid`; medians of {rounds} rounds; supervisors are not pinned.",
        tuple(results_of(outcome)),
        missing | outcome.missing,
        (
            f"Python {platform.python_version()} at {sys.executable}; builds differ by a fifth. "
            "A peer may run on the system's Python, which alone can import it.",
            "Quickest and slowest round: "
            + "; ".join(f"{name} {outcome.spread(name)}" for name in outcome.samples)
            + ".",
        ),
    )


def results_of(outcome: Outcome) -> list[Result]:
    """Each contender against the C loop, and our typed handler against each Python peer."""
    baseline = outcome.median(C_LOOP)
    medians = {name: median for name in outcome.samples if (median := outcome.median(name))}
    results = [
        Result(name, "us", median, baseline, GOALS.get(name)) for name, median in medians.items()
    ]
    if TYPED in medians:
        results += [
            Result(f"{TYPED} : {peer}", "us", medians[TYPED], medians[peer], 1.0)
            for peer in PEERS
            if peer in medians
        ]
    return results


def ours(module: str, *args: str) -> list[str]:
    """The command line of one of our own contenders."""
    return [sys.executable, "-m", f"benchmarks.peers.{module}", *args]


def build(directory: str) -> str:
    """Compile the C loop; returns the program."""
    named = os.environ.get("CC")
    compiler = (
        shlex.split(named)
        if named
        else next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    )
    if compiler is None:
        raise NotHere("there is no C compiler")
    program = f"{directory}/loop"
    try:
        done = subprocess.run(
            [*compiler, "-O2", "-Wall", "-o", program, SOURCE],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise NotHere(str(error)) from None
    if done.returncode:
        raise NotHere(f"it does not compile: {done.stderr.strip().splitlines()[:1]}")
    return program


def peer(script: str) -> list[str]:
    """The command line of a peer, by an interpreter that has its module."""
    module = PEERS[script]
    for python in (sys.executable, shutil.which("python3"), SYSTEM_PYTHON):
        if python and _has(python, module):
            return [python, "-m", f"benchmarks.peers.{script}"]
    raise NotHere(f"no interpreter here can import {module}")


def _has(python: str, module: str) -> bool:
    try:
        done = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def strace() -> list[str]:
    """The command line of strace."""
    if shutil.which("strace") is None:
        raise NotHere("strace is not installed")
    return [*STRACE, *COMMAND]
