"""Targets in user namespaces of their own: root there, and nobody outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.targets import until
from tests.privileged.hostile_support import OPENS, attempt, performing, start, told
from unotify import Supervisor

_ENTER = """
def enter():
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(0x10000000):
        sys.exit("no user namespace")
    for name, text in ("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1"):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
"""


@pytest.fixture(name="tree")
def _tree(tmp_path: Path) -> Path:
    for directory in (tmp_path, *tmp_path.parents):
        if not directory.stat().st_mode & 0o001:
            directory.chmod(0o755)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "hidden").mkdir(mode=0o700)
    (tmp_path / "hidden/file").touch(mode=0o644)
    return tmp_path


@pytest.mark.parametrize("resolved", [False, True])
def test_root_of_a_namespace_is_nobody_to_files_outside(tree: Path, resolved: bool) -> None:
    """It maps its ids while its opens are performed, becomes root, and gains nothing by it."""
    with performing(tree, *OPENS, "chown", "readlink", resolved=resolved) as supervisor:
        found = attempt(
            supervisor,
            _ENTER
            + """
enter()
tree, outside = sys.argv[1:]
say([
    os.getuid(),
    tried(os.open, f"{tree}/secret", os.O_RDONLY),
    tried(os.open, f"{tree}/hidden/file", os.O_RDONLY),
    tried(os.open, f"{tree}/new", os.O_CREAT | os.O_WRONLY),
    tried(os.chown, tree, 0, 0),
    *(tried(os.open, f"/proc/{outside}/{name}", os.O_RDONLY) for name in ("mem", "fd/0", "cwd")),
    tried(os.readlink, f"/proc/{outside}/exe"),
    tried(os.open, "/etc/hostname", os.O_RDONLY) > 2,
])
""",
            tree,
            os.getpid(),
        )
        assert supervisor.statistics().faults == 0
    assert found == [0, *["EACCES"] * 3, "EPERM", *["EACCES"] * 4, True]


_TWICE = """
enter()
os.open("/etc/hostname", os.O_RDONLY)
print(json.dumps("ready"), flush=True)
told = sys.stdin.readline().strip()
names = [f"/proc/{told}/{name}" for name in ("mem", "maps", "fd", "cwd")]
say([tried(os.open, "/etc/hostname", os.O_RDONLY) > 2]
    + [tried(os.open, name, os.O_RDONLY) for name in names])
"""


@pytest.fixture(name="supervisor")
def _supervisor(tree: Path) -> Iterator[Supervisor]:
    with performing(tree, *OPENS) as supervisor:
        yield supervisor


def _ready(supervisor: Supervisor) -> tuple[Any, int]:
    """A target that has been acted for, and the process that did."""
    before = _children()
    process = start(supervisor, _ENTER + _TWICE, stdin=subprocess.PIPE, bufsize=0)
    assert process.stdout.readline() == b'"ready"\n'
    (helper,) = [pid for pid in _children() - before if pid != process.pid]
    return process, helper


def _children() -> set[int]:
    return {
        int(pid)
        for tid in os.listdir("/proc/self/task")
        for pid in Path(f"/proc/self/task/{tid}/children").read_text().split()
    }


def test_nobody_else_waits_for_a_helper_that_its_root_has_stopped(supervisor: Supervisor) -> None:
    """Root of a namespace may stop the process that acts there: it has stopped itself, only."""
    process, helper = _ready(supervisor)
    os.kill(helper, signal.SIGSTOP)
    process.stdin.write(b"1\n")
    until(lambda: supervisor.statistics().in_flight == 1)
    plain = "say(tried(os.open, '/etc/hostname', os.O_RDONLY) > 2)"
    assert attempt(supervisor, plain) is True
    assert attempt(supervisor, _ENTER + "enter()\n" + plain) is True
    process.kill()
    process.wait()
    process.stdout.close()
    process.stdin.close()
    until(lambda: supervisor.statistics().in_flight == 0)
    os.kill(helper, signal.SIGCONT)


def test_a_helper_that_was_killed_is_replaced(supervisor: Supervisor) -> None:
    """The next call of the namespace is carried out by another process."""
    process, helper = _ready(supervisor)
    os.kill(helper, signal.SIGKILL)
    until(lambda: Path(f"/proc/{helper}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    assert told(process)[0] is True


def test_root_of_a_namespace_cannot_look_into_the_helper(supervisor: Supervisor) -> None:
    """The process that acts with its rights opens itself to it no more than the kernel would."""
    process, helper = _ready(supervisor)
    output, _ = process.communicate(f"{helper}\n".encode(), timeout=60)
    assert json.loads(output) == [True, *["EACCES"] * 4]
