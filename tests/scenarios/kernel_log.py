"""What the kernel says about notified calls."""

from __future__ import annotations

import os

__all__ = ["KernelLog"]


class KernelLog:
    """What it says from now on."""

    def __init__(self) -> None:
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self.fd, 0, os.SEEK_END)

    def audited(self, pid: int) -> int:
        """How many notified calls of *pid* it has told since the last time."""
        count = 0
        while True:
            try:
                line = os.read(self.fd, 8192)
            except BlockingIOError:
                return count
            except BrokenPipeError:
                continue  # overtaken: the next read is of the oldest line
            count += b"type=1326" in line and b" pid=%d " % pid in line and b"0x7fc00000" in line

    def close(self) -> None:
        """Listen no more."""
        os.close(self.fd)
