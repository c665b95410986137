"""Descriptors that stand for something the supervisor keeps, and how they are known again.

Theory of operation. A mount cannot be handed to a target, for its descriptor is one of O_PATH (A5),
and a file system context that is filled by two sides is checked by none. So the target gets
something harmless in its place, and says by it later what it means. A number says nothing: it can
be duplicated, passed on and exchanged. The *open file* behind it says which it is (kcmp(2)).
"""

from __future__ import annotations

import errno
import os
from typing import Final

from unotify.errors import KernelError
from unotify.kernel._libc import syscall
from unotify.kernel.acts import number
from unotify.kernel.mounting import open_context

__all__ = ["empty_directory", "same_file"]

_KCMP_FILE: Final = 0
_MOUNT_ATTR_RDONLY: Final = 0x1
_MOUNT_ATTR_NOSUID: Final = 0x2
_MOUNT_ATTR_NODEV: Final = 0x4
_MOUNT_ATTR_NOEXEC: Final = 0x8


def same_file(one: int, other: int) -> bool:
    """Whether two descriptors of ours are one open file.

    Raises:
        KernelError: ENOSYS: the kernel was built without kcmp(2).
    """
    pid = os.getpid()
    done = syscall(number("kcmp"), pid, pid, _KCMP_FILE, one, other)
    if done < 0:
        raise KernelError(
            -done,
            "kcmp(2)",
            "open files cannot be compared",
            hint="the kernel needs CONFIG_KCMP for the mount API, and a seccomp profile has to "
            "let the supervisor call kcmp",
        )
    return done == 0


def empty_directory() -> int:
    """A descriptor of an empty directory, a new one, in which nobody can make anything.

    Raises:
        KernelError: EPERM: it takes CAP_SYS_ADMIN.
    """
    with open_context("tmpfs") as context:
        context.set("source", "unotify")
        context.set("mode", "0555")
        context.set("ro")
        context.create()
        attributes = (
            _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | _MOUNT_ATTR_NOEXEC
        )
        with context.mount(attributes) as mount:
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
                return os.open(f"/proc/thread-self/fd/{mount.fd}", flags)
            except OSError as error:
                raise KernelError(error.errno or errno.EIO, "open(2)") from error
