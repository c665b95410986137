"""Ways to run a program: as it is, under us, and under others that stop the same calls."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.rounds import NotHere
from benchmarks.users import User

__all__ = [
    "FREE",
    "HANDLER",
    "NATIVE",
    "PEERS",
    "POLICY",
    "STRACE",
    "Way",
    "install_sandlock",
    "ways",
]

Way = Callable[[User, Sequence[str]], list[str]]
"""Makes a command line of one."""

NATIVE = "native"
POLICY = "perform, policy"
FREE = "perform, targets may unshare"
HANDLER = "perform, handler"
RACY = "continue, racy policy"
STRACE = "strace --seccomp-bpf"
PTRACE = "strace, plain ptrace"
SANDLOCK = "sandlock"
DENIED = "sandlock, fs_denied"

PEERS = (STRACE, PTRACE, SANDLOCK, DENIED)

STOPPED = "trace=open,openat"
"""What all of them stop; sandlock stops more, and cannot be told not to."""


def ways(sandlock: str | None) -> dict[str, Way]:
    """All of them, in the order of the table.

    Args:
        sandlock: An interpreter that can import it.
    """
    found: dict[str, Way] = {
        NATIVE: lambda user, args: list(args),
        POLICY: partial(_ours, "policy"),
        FREE: partial(_ours, "free"),
        HANDLER: partial(_ours, "handler"),
        RACY: partial(_ours, "racy"),
        STRACE: partial(_strace, "--seccomp-bpf"),
        PTRACE: partial(_strace, None),
    }
    if sandlock is not None:
        found[SANDLOCK] = partial(_sandlock, sandlock, "default")
        found[DENIED] = partial(_sandlock, sandlock, "denied")
    return found


def _ours(mode: str, user: User, args: Sequence[str]) -> list[str]:
    return [user.python, "-m", "benchmarks.peers.supervised", mode, *args]


def _strace(option: str | None, user: User, args: Sequence[str]) -> list[str]:
    if shutil.which("strace") is None:
        raise NotHere("strace is not installed")
    options = [option] if option else []
    return ["strace", "-f", *options, "-e", STOPPED, "-o", os.devnull, *args]


def _sandlock(python: str, mode: str, user: User, args: Sequence[str]) -> list[str]:
    return [python, "benchmarks/peers/sandlocked.py", mode, str(user.home), *args]


def install_sandlock(python: str, scratch: Path) -> str:
    """Install PyPI's sandlock beside nobody's packages; returns the interpreter that has it.

    Raises:
        NotHere: It cannot be installed.
    """
    venv = scratch / "sandlock"
    inside = str(venv / "bin" / "python")
    steps = [
        [python, "-m", "venv", str(venv)],
        [inside, "-m", "pip", "install", "-q", "--retries=0", "--timeout=10", "sandlock"],
        [inside, "-c", "import sandlock"],
    ]
    for step in steps:
        try:
            done = subprocess.run(
                step, capture_output=True, text=True, check=False, timeout=120, umask=0o022
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotHere(f"{error}") from None
        if done.returncode:
            raise NotHere((done.stderr.strip().splitlines() or ["it cannot be installed"])[-1])
    return inside
