"""`examples/policies/scratch-mounts.toml`: mounts are carried out for an unprivileged program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.kernel import own_root
from tests.kernel.cli_support import ENVIRON, UNOTIFY

POLICIES = Path(__file__).parents[2] / "examples" / "policies"
DIRECTORIES = ["/scratch/one", "/scratch/two", "/scratch/four", "/outside"]
# As the demo does it: no capability, and no way to get one.
UNPRIVILEGED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]

PROGRAM = """
import ctypes, errno, json, os
libc = ctypes.CDLL(None, use_errno=True)
REMOUNT, BIND, MOVE, RDONLY = 32, 4096, 8192, 1

def mount(source, target, kind, flags=0):
    arguments = [None if text is None else text.encode() for text in (source, target, kind)]
    if libc.mount(*arguments, ctypes.c_ulong(flags), None) == 0:
        return "done"
    return errno.errorcode[ctypes.get_errno()]

os.symlink("/outside", "/scratch/link")
os.symlink("/scratch/two", "/scratch/alias")
found = {
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if "CapEff" in line],
    "here": mount("x", "/scratch/one", "tmpfs"),
    "by another name": mount("x", "/scratch/alias", "tmpfs"),
    "outside": mount("x", "/outside", "tmpfs"),
    "by a link": mount("x", "/scratch/link", "tmpfs"),
    "by dots": mount("x", "/scratch/one/../../outside", "tmpfs"),
    "scratch itself": mount("x", "/scratch", "tmpfs"),
    "remount": mount(None, "/scratch/one", None, REMOUNT | RDONLY),
    "remount as tmpfs": mount("x", "/scratch/one", "tmpfs", REMOUNT),
    "bind": mount("/etc", "/scratch/four", None, BIND),
    "bind as tmpfs": mount("/etc", "/scratch/four", "tmpfs", BIND),
    "move": mount("/scratch/one", "/scratch/four", None, MOVE),
    "other kind": mount("proc", "/scratch/four", "proc"),
    "nowhere": mount("x", "/scratch/none", "tmpfs"),
    "bad address": "done" if libc.mount(None, None, b"tmpfs", 0, None) == 0 else
        errno.errorcode[ctypes.get_errno()],
}
found["mount(8)"] = os.spawnlp(os.P_WAIT, "mount", "mount", "-t", "tmpfs", "x", "/scratch/four")
with open("/scratch/one/file", "w") as file:
    file.write("mine")
with open("/proc/self/mountinfo") as file:
    rows = [line.split() for line in file]
found["mounts"] = {
    row[4]: [row[row.index("-") + 1], *sorted(set(row[5].split(",")) & {"nosuid", "nodev"})]
    for row in rows
    if row[4].startswith(("/scratch", "/outside"))
}
found["content"] = sorted(os.listdir("/scratch/one"))
print(json.dumps(found))
"""


def run(root: Path, *before: str) -> dict[str, Any]:
    """What the program tells when it is run by *before* in a root directory of its own."""
    argv = [*before, *UNPRIVILEGED, sys.executable, "-I", "-S", "-c", PROGRAM]
    done = subprocess.run(
        own_root.command(root, DIRECTORIES, argv),
        env=ENVIRON,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "unshare failed" in done.stderr:
        missing("no namespaces can be made here")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


def test_scratch_mounts(root: Path) -> None:
    """A tmpfs below /scratch is mounted for the program; any other mount is EPERM for it."""
    policy, handlers = POLICIES / "scratch-mounts.toml", POLICIES / "scratch_mounts.py"
    options = ["--policy", str(policy), "--handlers", str(handlers)]
    found = run(root, *UNOTIFY, "run", *options, "--")
    assert found.pop("capabilities") == ["0" * 16]
    assert found.pop("mounts") == {
        place: ["tmpfs", "nodev", "nosuid"]
        for place in ("/scratch/one", "/scratch/two", "/scratch/four")
    }
    assert found.pop("content") == ["file"]
    done = {key for key, outcome in found.items() if outcome in ("done", 0)}
    assert done == {"here", "by another name", "mount(8)"}
    assert found.pop("bad address") == "EFAULT"
    assert {outcome for key, outcome in found.items() if key not in done} == {"EPERM"}


def test_without_a_supervisor(root: Path) -> None:
    """It is the supervisor that mounts: the program by itself may do nothing of it."""
    found = run(root)
    assert found["mounts"] == {}
    assert found["here"] == found["by another name"] == "EPERM"
    assert found["mount(8)"] != 0
