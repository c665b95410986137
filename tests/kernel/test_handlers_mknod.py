"""`emulate-mknod` by whoever runs the tests: root makes nodes, others bind what is there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.acting_support import Notes
from tests.kernel.perform_support import PYTHON
from unotify import Supervisor
from unotify.handlers import ADDONS
from unotify.policy.loader import load

POLICY = """
version = 1
default = "allow"
[[rule]]
calls = ["mknod", "mknodat"]
do = { emulate-mknod = ["c:1:3", "b:7:*"] }
"""

# Root of namespaces of its own, as a rootless container's is.
CODE = """
import ctypes, errno, json, os, stat, sys
libc = ctypes.CDLL(None, use_errno=True)
place, contained = sys.argv[1:]
def tried(name, mode, device):
    try:
        return os.mknod(name, mode, os.makedev(*device)) or 0
    except OSError as error:
        return errno.errorcode[error.errno]
uid, gid = os.getuid(), os.getgid()
if contained == "yes":
    if libc.unshare(0x30020000):
        sys.exit(f"no namespaces: {os.strerror(ctypes.get_errno())}")
    for name, text in ("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1"):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    if child := os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    assert libc.mount(b"none", place.encode(), b"tmpfs", 0, None) == 0
os.chdir(place)
os.umask(0o027)
found = [tried("null", stat.S_IFCHR | 0o666, (1, 3)), tried("null", stat.S_IFCHR | 0o666, (1, 3))]
found += [tried("mem", stat.S_IFCHR | 0o666, (1, 1)), tried("no/x", stat.S_IFCHR | 0o666, (1, 3))]
if contained == "yes":
    status = os.stat("null")
    found += [stat.S_ISCHR(status.st_mode), status.st_rdev == os.makedev(1, 3)]
    found.append(os.write(os.open("null", os.O_WRONLY), b"gone"))
found.append(tried("loop", stat.S_IFBLK | 0o660, (7, 250)))
print(json.dumps([found, sorted(os.listdir("."))]))
"""


def run(place: Path, contained: str) -> Any:
    """What a program of ours says, as one that a container runtime has started."""
    notes = Notes()
    with Supervisor(policy=load(POLICY)) as supervisor:
        supervisor.add(*ADDONS)
        supervisor.add_instrument(notes)
        spawned = supervisor.kernel.spawn(
            supervisor.program().encode(),
            [PYTHON, "-I", "-S", "-c", CODE, str(place), contained],
            popen_options={"stdout": -1},
        )
        supervisor.attach(spawned.listener, wait_killable=True)
        output, _ = spawned.process.communicate(timeout=60)
        assert spawned.process.returncode == 0
        assert notes.faults == []
    return json.loads(output)


def test_in_a_container_of_our_own(tmp_path: Path) -> None:
    """A listed device works there; without rights only one that the container has already."""
    (*found, loop), names = run(tmp_path, "yes")
    assert found == [0, "EEXIST", "EPERM", "ENOENT", True, True, 4]
    assert (loop, names) == ((0, ["loop", "null"]) if os.geteuid() == 0 else ("EPERM", ["null"]))
    assert os.listdir(tmp_path) == []


def test_without_a_container(tmp_path: Path) -> None:
    """Without CAP_MKNOD nothing is made, and nothing is left behind."""
    if os.geteuid() == 0:
        pytest.skip("root may make devices")
    assert run(tmp_path, "no") == [["EPERM", "EPERM", "EPERM", "ENOENT", "EPERM"], []]
