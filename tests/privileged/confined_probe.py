"""What a confined process tries, to find out that it cannot."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Any


def status(fd: int) -> Callable[[], Any]:
    """Who it is; asked before the stricter filter, which lets nothing be opened."""
    with open("/proc/self/status") as file:
        found = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return lambda: {key: found[key] for key in ("Uid", "CapEff", "CapPrm", "NoNewPrivs", "Seccomp")}


def connects(fd: int) -> Callable[[], Any]:
    """A socket."""
    return lambda: socket.socket().fileno()


def writes(fd: int) -> Callable[[], Any]:
    """A file."""
    return lambda: os.open("/tmp", os.O_RDONLY)


def executes(fd: int) -> Callable[[], Any]:
    """A program."""
    return lambda: os.execv("/bin/true", ["true"])


def kills(fd: int) -> Callable[[], Any]:
    """A signal."""
    return lambda: os.kill(os.getppid(), signal.SIGCONT)


def hangs(fd: int) -> Callable[[], Any]:
    """Without an end."""

    def look() -> None:
        while True:
            pass

    return look
