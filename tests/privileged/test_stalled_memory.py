"""Memory that the target stalls, with a real userfaultfd: M4."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.targets import PATIENCE, notifying, nr, until
from unotify.abi.types import Address
from unotify.errors import BadAddress, TargetGone
from unotify.kernel.linux import LinuxKernel
from unotify.kernel.spawn import spawn
from unotify.protocol import Exchange

MAIN = str(Path(__file__).with_name("stalling_target.py"))
DEADLINE = 0.05


class Stalling:
    """A target that waits in a call, and its page that nobody delivers."""

    def __init__(self, kernel: LinuxKernel) -> None:
        python = getattr(sys, "_base_executable", None) or sys.executable
        spawned = spawn(
            notifying("getppid"),
            [python, "-I", "-S", MAIN, str(nr("userfaultfd")), str(nr("getppid"))],
            popen_options={"stdout": subprocess.PIPE},
        )
        self.process: Any = spawned.process
        self.listener: Any = spawned.listener
        line = self.process.stdout.readline()
        assert line, "the target has no userfaultfd"
        self.page = Address(int(line))
        until(self.listener.pending)
        buffer = bytearray(self.listener.sizes.notif)
        assert self.listener.receive_into(buffer)
        exchange = Exchange(buffer)
        self.thread = kernel.open_thread(exchange.tid, lambda: self.listener.is_valid(exchange.id))
        self.results: list[object] = []
        self.reader = threading.Thread(target=self._read)

    def _read(self) -> None:
        try:
            self.results.append(self.thread.memory.read_string(self.page, 100))
        except (TargetGone, BadAddress) as error:
            self.results.append(type(error))

    def close(self) -> None:
        """End it, and with it the read."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        if self.reader.ident is not None:
            self.reader.join(PATIENCE)
            assert not self.reader.is_alive()
        self.thread.close()
        self.listener.close()


@pytest.fixture(name="kernel")
def _kernel() -> LinuxKernel:
    return LinuxKernel(read_deadline=DEADLINE)


@pytest.fixture(name="stalling")
def _stalling(kernel: LinuxKernel) -> Iterator[Stalling]:
    stalling = Stalling(kernel)
    yield stalling
    stalling.close()


def test_a_read_waits_as_long_as_the_target_likes(kernel: LinuxKernel, stalling: Stalling) -> None:
    """M4: the reader sleeps in the kernel until the target dies; then the target is gone."""
    stalling.reader.start()
    until(lambda: kernel.stalled() == 1)
    assert stalling.results == []
    stalling.process.kill()
    stalling.reader.join(PATIENCE)
    assert stalling.results == [TargetGone]
    assert kernel.stalled() == 0


def test_one_stall_is_all_that_a_process_gets(kernel: LinuxKernel, stalling: Stalling) -> None:
    """M4: further reads of it fail at once, with EFAULT; other targets are read as ever."""
    other = Stalling(kernel)
    try:
        stalling.reader.start()
        until(lambda: kernel.stalled() == 1)
        begun = time.monotonic()
        with pytest.raises(BadAddress, match="stalled"):
            stalling.thread.memory.read(stalling.page, 1)
        assert time.monotonic() - begun < PATIENCE / 2
        # Its code is readable, only its page is not.
        start = int(Path(f"/proc/{other.process.pid}/maps").read_text().partition("-")[0], 16)
        assert other.thread.memory.read(Address(start), 4) == b"\x7fELF"
    finally:
        other.close()
