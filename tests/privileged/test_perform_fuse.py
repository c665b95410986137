"""Opens on a file system whose server may take its time: only root can mount one for others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing, need_native
from tests.kernel.perform_support import attempt, start, told
from tests.kernel.targets import until
from unotify import Supervisor

POLICY = """
version = 1
default = "allow"
[[rule]]
calls = ["openat"]
where = 'under(path, "/nowhere")'
do = "deny"
[[rule]]
calls = ["openat"]
do = "perform"
"""


@dataclass
class Slow:
    """The mounted file system."""

    point: Path
    server: Any

    def release(self) -> None:
        """Let all look-ups go on."""
        self.server.stdin.write("\n")
        self.server.stdin.flush()


@pytest.fixture(name="slow")
def _slow(needs_root: None, tmp_path: Path) -> Iterator[Slow]:
    """A file system in user space."""
    if not os.path.exists("/dev/fuse"):
        missing("there is no /dev/fuse")
    point = tmp_path / "mnt"
    point.mkdir()
    program = Path(__file__).with_name("fuse_server.py")
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(program), str(point)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        if server.stdout.readline() != "mounted\n":
            missing(f"no file system in user space: {server.communicate()[1]}")
        try:
            yield Slow(point, server)
        finally:
            server.communicate("\n\n")


@pytest.fixture(name="supervisor", params=["native", "python"])
def _supervisor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Supervisor]:
    """One that performs all opens, by either backend."""
    if request.param == "native":
        need_native()
    monkeypatch.setenv("UNOTIFY_BACKEND", request.param)
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    with Supervisor(policy=str(policy)) as supervisor:
        yield supervisor


READ = """
def content(path):
    fd = os.open(path, 0)
    try: return os.read(fd, 99).decode()
    finally: os.close(fd)
"""


def test_files_that_a_process_serves(slow: Slow, supervisor: Supervisor) -> None:
    """They are opened as any other, and what is missing there is missing."""
    code = READ + "say([content(sys.argv[1] + '/file'), tried(os.open, sys.argv[1] + '/none', 0)])"
    assert attempt(supervisor, code, slow.point) == ["content\n", "ENOENT"]


def test_a_look_up_that_waits_holds_up_nobody(slow: Slow, supervisor: Supervisor) -> None:
    """Others are served while a file system takes its time, and then that call too."""
    waiting = [
        start(supervisor, READ + "say(content(sys.argv[1]))", slow.point / f"slow{number}")
        for number in range(4)
    ]
    seen = {slow.server.stdout.readline() for _ in waiting}
    assert seen >= {f"slow{number}\n" for number in range(4)}
    other = "for _ in range(50): os.close(os.open('/usr', 0))\nsay(7)"
    assert attempt(supervisor, other) == 7
    slow.release()
    assert [told(process) for process in waiting] == ["content\n"] * 4
    assert attempt(supervisor, other) == 7
    assert supervisor.statistics().faults == 0


def test_a_target_that_is_killed_meanwhile(slow: Slow, supervisor: Supervisor) -> None:
    """What waits in vain is given up, at the latest when the file system answers."""
    process = start(supervisor, READ + "say(content(sys.argv[1]))", slow.point / "slow")
    assert slow.server.stdout.readline() == "slow\n"
    process.kill()
    process.communicate(timeout=20)
    assert attempt(supervisor, "os.open('/usr', 0)\nsay(7)") == 7
    slow.release()
    until(lambda: supervisor.statistics().in_flight == 0)
    assert supervisor.statistics().faults == 0
