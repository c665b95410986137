"""``unotify agent`` as a process that is killed and started again, and targets under load."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.kernel.agent_support import connect, send, state
from tests.kernel.cli_support import begin, killing
from tests.kernel.targets import PATIENCE, notifying, nr
from unotify.abi.seccomp import FilterFlag
from unotify.kernel.spawn import spawn
from unotify.oci.bundles import peer_of

HERE = Path(__file__).parent
PYTHON = getattr(sys, "_base_executable", None) or sys.executable

ANSWERING = """
import time
import unotify
@unotify.on("getppid")
def answer(call):
    number = call.exchange.args[0]
    if not number % 3:
        time.sleep(0.002)
    return unotify.Return(number * 3 + 1)
"""
"""Handlers that answer getppid as `loading_main.py` wants it."""

POLICY = """version = 1
default = "allow"
[[rule]]
calls = ["getppid"]
do = "notify"
"""


class Loaded:
    """A target that makes calls all the time, and says in the end which went wrong."""

    def __init__(self, path: Path, id: str, threads: int, calls: int) -> None:
        command = [PYTHON, "-I", "-S", str(HERE / "loading_main.py"), str(nr("getppid"))]
        spawned = spawn(
            notifying("getppid"),
            [*command, str(threads), str(calls)],
            flags=FilterFlag(0),
            preferred=FilterFlag.WAIT_KILLABLE_RECV,
            popen_options={"stdout": subprocess.PIPE},
        )
        self.process = spawned.process
        with connect(path) as runtime:
            message = json.dumps(state(id, pid=self.process.pid)).encode()
            send(runtime, message, spawned.listener.fileno())
            spawned.listener.close()
            assert runtime.recv(1) == b""

    def wrong(self) -> Any:
        """Which of its calls got a wrong answer."""
        ready, _, _ = select.select([self.process.stdout], [], [], 3 * PATIENCE)
        assert ready, "the target hangs"
        output = self.process.stdout.read()
        self.process.stdout.close()
        assert self.process.wait(PATIENCE) == 0
        return json.loads(output.split(b"\n")[1])["wrong"]


def directory_of(tmp_path: Path) -> Path:
    """One with a policy and handlers."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "default.toml").write_text(POLICY)
    (tmp_path / "handlers.py").write_text(ANSWERING)
    return tmp_path


class Command:
    """A running agent."""

    def __init__(self, directory: Path, process: subprocess.Popen[str]) -> None:
        self.directory = directory
        self.process = process
        self.said: list[str] = []

    def expect(self, text: str) -> str:
        """Read what it says until *text*."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if text in line:
                return line
        raise AssertionError(f"it ended without {text!r}: {self.said}")


@contextmanager
def agent(directory: Path, *options: str) -> Iterator[Command]:
    """An agent, once it listens; killed in the end, if it has not ended."""
    process = begin(
        "agent",
        *("--socket", str(directory / "s"), "--policies", str(directory / "policies")),
        *("--handlers", str(directory / "handlers.py"), *options),
        stderr=subprocess.PIPE,
    )
    with process, killing(process):
        command = Command(directory, process)
        command.expect(f"listening at {directory / 's'}")
        yield command
        if process.poll() is None:
            process.kill()


def end_keeper(path: Path) -> None:
    """End the keeper at *path*, if there is one."""
    import socket

    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(str(path))
        pid, _ = peer_of(sock)
        assert pid != os.getpid()
        os.kill(pid, signal.SIGTERM)
