"""The part of ptrace(2) that reading filters takes."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path
from signal import SIGTRAP
from typing import Final

from unotify.abi import tables
from unotify.errors import KernelError
from unotify.kernel._libc import NATIVE, syscall

__all__ = [
    "CALL",
    "DETACH",
    "INTERRUPT",
    "LISTEN",
    "SYSCALL",
    "WALL",
    "attach",
    "comm_of",
    "event_of",
    "ptrace",
    "signal_of",
    "status_of",
    "wait_stopped",
]

CALL: Final = "ptrace(2)"
_SYS_PTRACE: Final = tables.numbers(NATIVE)["ptrace"]
_PATIENCE: Final = 5.0

DETACH: Final = 17
SYSCALL: Final = 24
_SEIZE: Final = 0x4206
INTERRUPT: Final = 0x4207
LISTEN: Final = 0x4208

WALL: Final = 0x40000000
"""waitpid(2): threads too."""


def ptrace(request: int, tid: int, address: int = 0, data: int = 0) -> int:
    """Make the system call; returns its result, or the negative errno."""
    return syscall(_SYS_PTRACE, request, tid, address, data)


def attach(tid: int, options: int = 0) -> None:
    """Trace *tid*.

    Raises:
        KernelError: It is not there, or cannot be traced.
    """
    result = ptrace(_SEIZE, tid, 0, options)
    if result == -errno.ESRCH:
        raise KernelError(errno.ESRCH, CALL, f"there is no process {tid}")
    if result < 0:
        status = status_of(tid)
        tracer = status.get("TracerPid", "0")
        message = f"process {tid} cannot be traced"
        hint = "it needs CAP_SYS_PTRACE over it, and kernel threads never can be"
        if tracer != "0":
            # It names the thread, which nobody knows by its number.
            tracer = status_of(tracer).get("Tgid", tracer)
            message = f"process {tracer} traces process {tid} already"
            hint = "end that debugger, or strace, first"
        elif status.get("Tgid") == str(os.getpid()):
            message, hint = "a process cannot trace itself", "dump it from another one"
        elif status.get("State", "").startswith("Z"):
            message, hint = f"process {tid} has ended", "only its parent has not noticed yet"
        raise KernelError(-result, CALL, message, hint=hint)


def wait_stopped(tid: int) -> int:
    """Wait until *tid*, which this thread traces, has stopped; returns its status.

    Raises:
        KernelError: It has ended instead, or does not stop.
    """
    deadline = time.monotonic() + _PATIENCE
    pause = 0.0001
    while True:
        try:
            pid, status = os.waitpid(tid, os.WNOHANG | WALL)
        except ChildProcessError:
            raise KernelError(errno.ESRCH, CALL, f"process {tid} has ended") from None
        if pid and os.WIFSTOPPED(status):
            return status
        if pid:
            raise KernelError(errno.ESRCH, CALL, f"process {tid} has ended")
        if time.monotonic() > deadline:
            raise KernelError(
                errno.ETIMEDOUT,
                CALL,
                f"process {tid} does not stop",
                hint="it waits for what no signal interrupts, such as a supervisor's answer (I8)",
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def event_of(status: int) -> int:
    """The PTRACE_EVENT of a stop, or 0."""
    return status >> 16


def signal_of(status: int) -> int:
    """The signal that a stop is about to deliver, or 0."""
    number = os.WSTOPSIG(status)
    if event_of(status) or number & 0x7F == SIGTRAP:
        return 0
    return number


def status_of(pid: int | str) -> dict[str, str]:
    """The fields of /proc/PID/status; none if there is no such process."""
    found = {}
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            found[key] = value.strip()
    return found


def comm_of(tid: int) -> str:
    """The name of a thread, or ``?``."""
    return status_of(tid).get("Name", "?")
