"""What is mounted in the mount namespace of a target."""

from __future__ import annotations

import errno
import os
import re
from os.path import samestat
from typing import Final, NamedTuple

from unotify.kernel._libc import check, syscall
from unotify.kernel.acts import number
from unotify.kernel.attaching import mount_id
from unotify.kernel.entered import inside
from unotify.kernel.walking import IN_ROOT, NO_MAGICLINKS, openat2

__all__ = ["Attached", "mounts_of", "mounts_on_the_way"]

_AT_FDCWD: Final = -100
_PATH: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")


def mounts_on_the_way(namespace: int, path: bytes) -> list[int]:
    """The ids of the mount at *path* and of those above it, in a mount namespace.

    Empty if there is no such path.

    Args:
        namespace: A descriptor of the namespace.
        path: Links in it are followed.

    Raises:
        KernelError: As `inside`.
    """
    openat, close = number("openat"), os.close

    def run() -> list[int]:
        found: list[int] = []
        root = check(syscall(openat, _AT_FDCWD, b"/", _PATH, 0), "open(2)")
        try:
            top = mount_id(root)
            here = openat2(root, path, os.O_PATH | os.O_CLOEXEC, 0, IN_ROOT | NO_MAGICLINKS)
            while here >= 0:
                mount = mount_id(here)
                if mount not in found:
                    found.append(mount)
                above = -1
                if mount != top or not samestat(os.fstat(here), os.fstat(root)):
                    above = syscall(openat, here, b"..", _PATH, 0)
                    if above == -errno.ENOTDIR:  # the mount of a file
                        above = openat2(root, path.rpartition(b"/")[0] or b"/", _PATH, 0, IN_ROOT)
                close(here)
                here = above
            return found
        finally:
            close(root)

    return inside(namespace, run)


class Attached(NamedTuple):
    """A mount, as ``mountinfo`` tells of it.

    Attributes:
        id: Its id.
        above: The id of the mount that it is attached to.
        path: Where that is, from the root of the mount namespace; renames show.
    """

    id: int
    above: int
    path: bytes


def mounts_of(namespace: int) -> list[Attached]:
    """All mounts of a mount namespace, the oldest first (proc_pid_mountinfo(5)).

    Args:
        namespace: A descriptor of the namespace.

    Raises:
        KernelError: As `inside`.
    """
    # It tells of the namespace of who opens it, which may have no procfs.
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    openat, name = number("openat"), b"thread-self/mountinfo"

    def run() -> bytes:
        table = check(syscall(openat, proc, name, os.O_RDONLY | os.O_CLOEXEC, 0), "open(2)")
        try:
            return b"".join(iter(lambda: os.read(table, 1 << 16), b""))
        finally:
            os.close(table)

    try:
        lines = inside(namespace, run).splitlines()
    finally:
        os.close(proc)
    found = []
    for line in lines:
        words = line.split(b" ", 5)
        path = _ESCAPED.sub(lambda octal: bytes([int(octal[1], 8)]), words[4])
        found.append(Attached(int(words[0]), int(words[1]), path))
    return found
