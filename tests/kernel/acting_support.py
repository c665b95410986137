"""Programs whose calls are performed, and what became of each."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kernel.spawn_support import PATIENCE
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.calls import Call
from unotify.calls.acts import performable
from unotify.errors import HandlerFault
from unotify.policy.loader import load
from unotify.protocol import InstallFd, Reply
from unotify.supervisor import Instrument, Supervisor

__all__ = [
    "FAMILIES",
    "PYTHON",
    "Notes",
    "described",
    "family",
    "policy_of",
    "python",
    "supervised",
]

FAMILIES = str(Path(__file__).with_name("families_target.py"))
PYTHON = [getattr(sys, "_base_executable", None) or sys.executable, "-I", "-S"]
HEAD = 'version = 1\ndefault = "allow"\n'
O_PATH = '[[rule]]\ncalls = ["open", "openat"]\nwhere = "flags & O_PATH"\ndo = "allow"\n'


class Notes(Instrument):
    """What was answered, and what went wrong."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.paths: list[str] = []
        self.installed: list[InstallFd] = []
        self.faults: list[HandlerFault] = []

    def received(self, call: Call) -> None:
        """One begins."""
        self.paths.append(str(call.describe().get("path")))

    def deciding(self, call: Call, reply: Reply, handler: str) -> None:
        """One more."""
        self.calls[f"{call.call_name}@{call.arch.label}"] += 1
        if isinstance(reply, InstallFd):
            self.installed.append(reply)

    def fault(self, fault: HandlerFault) -> None:
        """One too many."""
        self.faults.append(fault)


def rule_of(do: str, calls: str, where: str = "") -> str:
    """A rule; whoever looks at memory may let the rest go here."""
    text = f"[[rule]]\ncalls = {json.dumps(calls.split())}\ndo = {do}\n"
    if where:
        text += f'where = {json.dumps(where)}\nracy = true\nbecause = "a test"\n'
    return text


def policy_of(do: str, calls: str = "", where: str = "") -> str:
    """A policy of one rule; about all that can be performed but O_PATH, if no calls are named."""
    if calls:
        return HEAD + rule_of(do, calls, where)
    known = {name for arch in (Arch.X86_64, Arch.I386) for name in tables.names(arch).values()}
    every = " ".join(name for name in performable() if name in known)
    return HEAD + O_PATH + rule_of(do, every)


@contextmanager
def supervised(policy: str, **options: Any) -> Iterator[tuple[Supervisor, Notes]]:
    """A supervisor with *policy*, and its notes; no fault is left unseen."""
    notes = Notes()
    with Supervisor(policy=load(policy), **options) as supervisor:
        supervisor.add_instrument(notes)
        yield supervisor, notes


def python(supervisor: Any, code: str, **options: Any) -> str:
    """What a Python program prints."""
    options = {"capture_output": True, "text": True, "timeout": 3 * PATIENCE} | options
    done = supervisor.run([*PYTHON, "-c", code], **options)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def family(run: Any, name: str, arch: Arch, place: Path) -> tuple[str, list[str]]:
    """Let the calls of a family be made in a new directory: what is printed, and what is there."""
    place.mkdir()
    (place / "file").write_text("text")
    (place / "link").symlink_to("file")
    (place / "d").mkdir()
    (place / "d/f").touch()
    numbers = {call: nr for nr, call in tables.names(arch).items()}
    done: subprocess.CompletedProcess[str] = run(
        [*PYTHON, FAMILIES, arch.label, name],
        cwd=place,
        input=json.dumps(numbers),
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, described(place)


def described(place: Path) -> list[str]:
    """Each file below *place*, with what can be said of it."""
    found = []
    for path in sorted(place.rglob("*")):
        status = path.lstat()
        what = f"{path.relative_to(place)} {status.st_mode:o} {status.st_uid} {status.st_nlink}"
        if stat.S_ISLNK(status.st_mode):
            what += f" {os.readlink(path)}"
        elif stat.S_ISREG(status.st_mode):
            what += f" {path.read_bytes()!r}"
        found.append(what)
    return found
