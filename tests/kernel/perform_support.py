"""Programs that make a call or two, whose handlers disturb them first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from unotify import Supervisor

PYTHON = getattr(sys, "_base_executable", None) or sys.executable

_HEAD = """
import ctypes, errno, json, mmap, os, socket, struct, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def called(number, *args):
    words = (a if isinstance(a, bytes) or a is None else ctypes.c_long(a) for a in args)
    done = libc.syscall(ctypes.c_long(number), *words)
    return done if done >= 0 else errno.errorcode[ctypes.get_errno()]
def tried(what, *args, **more):
    try:
        found = what(*args, **more)
        return found if isinstance(found, (int, str, list)) else 0
    except OSError as error:
        return errno.errorcode[error.errno]
def say(found):
    print(json.dumps(found), flush=True)
"""


def start(supervisor: Supervisor, code: str, *args: object, **options: Any) -> Any:
    """Start a program."""
    return supervisor.popen(
        [PYTHON, "-I", "-S", "-c", _HEAD + code, *map(str, args)],
        stdout=subprocess.PIPE,
        **options,
    )


def told(process: Any, timeout: float = 60) -> Any:
    """What it says at its end."""
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0
    return json.loads(output)


def attempt(supervisor: Supervisor, code: str, *args: object, **options: Any) -> Any:
    """Run a program to its end; what it says."""
    return told(start(supervisor, code, *args, **options))


def descriptors() -> dict[str, str]:
    """What this process has open."""
    found = {}
    for name in Path("/proc/self/fd").iterdir():
        try:
            found[name.name] = str(name.readlink())
        except OSError:
            continue
    return found
