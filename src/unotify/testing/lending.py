"""Descriptors of the supervisor's, as the simulated kernel knows them.

Theory of operation. Descriptors that handlers give to targets are real ones, since handlers open
and close them; the facility knows them by name.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable
from typing import Final, NamedTuple

from unotify.errors import KernelError
from unotify.testing.facility import descriptors, tasks
from unotify.testing.facility.state import File, Task
from unotify.testing.facility.traits import Trait
from unotify.testing.moving import Moving

__all__ = ["Lending"]

_APART: Final = 1 << 18
"""Where the supervisor's descriptors inside the facility begin: no real one is so high."""


class _Given(NamedTuple):
    """What a real descriptor stands for, and how to see that it is that one still."""

    identity: tuple[int, int]
    name: str
    inode: int = -1


class Lending(Moving):
    """What the supervisor has open, outside and inside of the facility."""

    def __init__(self, traits: Iterable[Trait], seed: int | None) -> None:
        super().__init__(traits, seed)
        self._given: dict[int, _Given] = {}
        self._next = _APART

    def name(self, fd: int, name: str, inode: int = -1) -> None:
        """Say what a real descriptor stands for here."""
        status = os.fstat(fd)
        self._given[fd] = _Given((status.st_dev, status.st_ino), name, inode)

    def real(self, name: str, content: bytes, inode: int = -1) -> int:
        """A real descriptor with a copy of *content*, which stands for a file here."""
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.seek(0)
            fd = os.dup(file.fileno())
        self.name(fd, name, inode)
        return fd

    def adopt(self, fd: int) -> File:
        """The file that a real descriptor stands for, which nothing refers to yet.

        Raises:
            KernelError: EBADF: it is not open.
        """
        try:
            status = os.fstat(fd)
        except (OSError, OverflowError):
            raise KernelError(errno.EBADF, "ioctl(SECCOMP_IOCTL_NOTIF_ADDFD)") from None
        known = self._given.get(fd)
        name, inode = f"descriptor {fd}", -1
        if known is not None and known.identity == (status.st_dev, status.st_ino):
            name, inode = known.name, known.inode
        file = descriptors.new_file(self.world, "file", name)
        try:
            file.inode = inode
            file.content = os.pread(fd, 1 << 20, 0)
        except OSError:
            file.kind = "other"  # it has no content that stays where it is: a socket, a pipe
        return file

    def place(self, file: File) -> int:
        """A descriptor of the supervisor's inside the facility."""
        self._next += 1
        descriptors.put(self.world, self.supervisor, self._next, file.key, cloexec=True)
        return self._next

    def helper(self) -> Task:
        """A thread of the supervisor's that makes one call."""
        return tasks.new_thread(self.world, self.supervisor)
