"""Thousands of containers, one after the other, leave nothing in the agent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.kernel.agent_support import connect, policy, send, state
from tests.kernel.cli_support import begin, killing
from tests.kernel.targets import PATIENCE, notifying, until
from unotify.kernel.spawn import spawn

CONTAINERS = 10_000 if os.environ.get("UNOTIFY_TEST_LONG") else 150
WARM_UP = 50
MOST_GROWTH = 1 << 20
"""Bytes of memory that the agent may have more of afterwards: no more than it always varies."""


def container(path: Path, id: str, program: bytes) -> None:
    """A container from its begin to its end."""
    spawned = spawn(program, ["/bin/true"])
    with connect(path) as connected:
        data = json.dumps(state(id, annotations={"k": "v" * 2000})).encode()
        send(connected, data[:1000], spawned.listener.fileno())
        connected.sendall(data[1000:])
        spawned.listener.close()
        assert connected.recv(1) == b""
    assert spawned.process.wait() == 0


def fds(pid: int) -> int:
    """How many descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory(pid: int) -> int:
    """How many bytes of memory a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.timeout(1800)
def test_growth(tmp_path: Path) -> None:
    """Descriptors and memory of the agent are the same after many containers as after some."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "default.toml").write_text(policy(5))
    path = tmp_path / "s"
    options = ["--socket", str(path), "--policies", str(tmp_path / "policies"), "--quiet"]
    process = begin("agent", *options, stderr=subprocess.DEVNULL)
    with process, killing(process):
        until(path.exists)
        program = notifying("getppid")
        for number in range(WARM_UP):
            container(path, f"w{number}", program)
        few = fds(process.pid)
        # What has ended is closed soon, not at once.
        until(lambda: fds(process.pid) <= few)
        base = memory(process.pid)
        for number in range(CONTAINERS):
            container(path, f"c{number}", program)
        until(lambda: fds(process.pid) <= few, "the end of all descriptors")
        assert memory(process.pid) - base < MOST_GROWTH
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
