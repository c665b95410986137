"""Programs in containers of a kind, whose calls handlers carry out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kernel.acting_support import Notes
from tests.kernel.perform_support import PYTHON
from unotify import Supervisor
from unotify.handlers import ADDONS
from unotify.policy.loader import load

FIRST = 100_000
"""What root of a container is outside."""

_HEAD = f"""
import ctypes, errno, json, os, signal, socket, stat, struct, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def called(number, *args):
    words = (ctypes.c_long(a) if isinstance(a, int) else a for a in args)
    done = libc.syscall(ctypes.c_long(number), *words)
    return done if done >= 0 else errno.errorcode[ctypes.get_errno()]
def tried(what, *args, **more):
    try:
        found = what(*args, **more)
        return found if isinstance(found, (int, str, list)) else 0
    except OSError as error:
        return errno.errorcode[error.errno]
def mount(source, target, fstype, flags=0, data=None):
    words = (None if word is None else os.fsencode(word) for word in (source, target, fstype))
    done = libc.mount(*words, ctypes.c_ulong(flags), None if data is None else data.encode())
    return errno.errorcode[ctypes.get_errno()] if done else 0
def umount(target, flags=0):
    return errno.errorcode[ctypes.get_errno()] if libc.umount2(os.fsencode(target), flags) else 0
def drop(*capabilities):
    "Go on without some capabilities."
    class Data(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint32) for name in "epiEPI"]
    status = open("/proc/self/status").read()
    bits = int(status.partition("CapPrm:")[2].split()[0], 16)
    for capability in capabilities:
        bits &= ~(1 << capability)
    data = Data(bits & 0xFFFFFFFF, bits & 0xFFFFFFFF, 0, bits >> 32, bits >> 32, 0)
    assert libc.capset(struct.pack("=Ii", 0x20080522, 0), ctypes.byref(data)) == 0
def mounts(place):
    "Attributes, root, type, source and options of what is mounted below a place."
    found = []
    for line in open("/proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        words, more = before.split(), after.split()
        if words[4].startswith(place):
            found.append([words[4][len(place):], words[5], *more])
    return found
def say(found):
    print(json.dumps(found), flush=True)
def contain(flags=0x30020000, first={FIRST}, count=65536, maker=0):
    "Go on as root of user, pid and mount namespaces of one's own, which somebody outside made."
    here, there = os.pipe()
    back, forth = os.pipe()
    if child := os.fork():
        os.read(back, 1)
        for kind in "ug" if flags & 0x10000000 else "":
            open(f"/proc/{{child}}/{{kind}}id_map", "w").write(f"0 {{first}} {{count}}")
        os.write(there, b"x")
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 255)
    if maker:
        os.setgroups([])
        os.setresgid(maker, maker, maker)
        os.setresuid(maker, maker, maker)
    assert libc.unshare(flags) == 0
    libc.prctl(4, 1)  # PR_SET_DUMPABLE: its files in /proc are its own
    os.write(forth, b"x")
    os.read(here, 1)
    if flags & 0x20000000 and (init := os.fork()):
        os._exit(os.waitstatus_to_exitcode(os.waitpid(init, 0)[1]) & 255)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    libc.prctl(4, 1)  # PR_SET_DUMPABLE, as after an exec
    if flags & 0x20000:
        assert libc.mount(None, b"/", None, ctypes.c_ulong(0x44000), None) == 0
"""


def open_to_all(directory: Path) -> Path:
    """Let anybody get to *directory*, and do there as he likes."""
    for above in directory.parents:
        if not above.stat().st_mode & 0o001:
            above.chmod(0o711)
    directory.chmod(0o777)
    return directory


def numbers_of(place: Path) -> dict[str, tuple[int, ...]]:
    """Mode, device and owners of each file below *place*."""
    found = {}
    for path in sorted(place.rglob("*")):
        status = path.lstat()
        numbers = status.st_mode, status.st_rdev, status.st_uid, status.st_gid
        found[str(path.relative_to(place))] = numbers
    return found


@contextmanager
def handled(*rules: str, add: bool = True, **options: Any) -> Iterator[tuple[Supervisor, Notes]]:
    """A supervisor with a policy of *rules*, each ``CALLS: DO`` or ``CALLS: DO if WHERE``."""
    text = 'version = 1\ndefault = "allow"\n'
    for rule in rules:
        calls, _, rest = rule.partition(": ")
        do, _, where = rest.partition(" if ")
        text += f"[[rule]]\ncalls = {json.dumps(calls.split())}\ndo = {do}\n"
        text += f"where = {json.dumps(where)}\n" if where else ""
    notes = Notes()
    with Supervisor(policy=load(text), **options) as supervisor:
        if add:
            supervisor.add(*ADDONS)
        supervisor.add_instrument(notes)
        yield supervisor, notes


def start(supervisor: Supervisor, code: str, *args: object, **options: Any) -> Any:
    """Start a program of root's, as a container runtime would and not as the supervisor's own."""
    spawned = supervisor.kernel.spawn(
        supervisor.program().encode(),
        [PYTHON, "-I", "-S", "-c", _HEAD + code, *map(str, args)],
        popen_options={"stdout": subprocess.PIPE, "cwd": "/", **options},
    )
    assert spawned.backlog == []
    supervisor.attach(spawned.listener, wait_killable=True)
    return spawned.process


def told(process: Any, code: int = 0) -> Any:
    """What it says at its end."""
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code
    return json.loads(output)


def attempt(supervisor: Supervisor, code: str, *args: object, **options: Any) -> Any:
    """Run a program to its end; what it says."""
    return told(start(supervisor, code, *args, **options))
