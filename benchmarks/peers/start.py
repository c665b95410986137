"""Starting the target for contenders that have a listener of their own to serve."""

from __future__ import annotations

import os
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path

from benchmarks.peers.target import exec_target

__all__ = ["fork_target", "sync_wake_up", "wait_for"]

SET_FLAGS = 0x40082104
SYNC_WAKE_UP = 1


def fork_target() -> int:
    """Fork the target; it has the filter of this process. Returns its pid."""
    pid = os.fork()
    if pid == 0:
        exec_target()
    return pid


def wait_for(pid: int) -> None:
    """Wait for the target and end as it did."""
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def sync_wake_up() -> None:
    """Set the flag on this process's listener, where the kernel knows it (Linux 6.6)."""
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if os.readlink(link) == "anon_inode:seccomp notify":
                ioctl(int(link.name), SET_FLAGS, SYNC_WAKE_UP)
