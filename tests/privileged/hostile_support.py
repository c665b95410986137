"""Programs of an ordinary user whose calls a privileged supervisor performs."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import NOBODY, missing
from unotify import Supervisor

OPENS = ("open", "openat", "openat2", "creat")
AS_NOBODY: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}

_HEAD = """
import ctypes, errno, json, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def tried(what, *args, **more):
    try:
        found = what(*args, **more)
        return found if isinstance(found, (int, str, list)) else 0
    except OSError as error:
        return errno.errorcode[error.errno]
def say(found):
    print(json.dumps(found), flush=True)
"""


@functools.cache
def python() -> str:
    """An interpreter that an ordinary user can run."""
    names = (getattr(sys, "_base_executable", None) or sys.executable, "/usr/bin/python3")
    for path in map(Path.resolve, map(Path, names)):
        if path.exists() and all(os.stat(above).st_mode & 0o001 for above in path.parents):
            return str(path)
    return missing("no interpreter that an ordinary user can run")


@contextmanager
def performing(directory: Path, *calls: str, resolved: bool = False) -> Iterator[Supervisor]:
    """A supervisor that performs *calls*; with *resolved* it pins their path first."""
    names = json.dumps(list(calls))
    where = "where = 'resolved(path) != \"/no/such/thing\"'" if resolved else ""
    rules = [f'[[rule]]\ncalls = {names}\n{where}\ndo = "perform"\n']
    if resolved:
        rules.append(f'[[rule]]\ncalls = {names}\ndo = "perform"\n')
    policy = directory / "policy.toml"
    policy.write_text('version = 1\ndefault = "allow"\n' + "\n".join(rules))
    with Supervisor(policy=str(policy)) as supervisor:
        yield supervisor


def start(supervisor: Supervisor, code: str, *args: object, **options: Any) -> Any:
    """Start a program; by default an ordinary user's."""
    return supervisor.popen(
        [python(), "-I", "-S", "-c", _HEAD + code, *map(str, args)],
        stdout=subprocess.PIPE,
        **{"cwd": "/", **AS_NOBODY, **options},
    )


def told(process: Any) -> Any:
    """What it says at its end."""
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return json.loads(output)


def attempt(supervisor: Supervisor, code: str, *args: object, **options: Any) -> Any:
    """Run a program to its end; what it says."""
    return told(start(supervisor, code, *args, **options))
