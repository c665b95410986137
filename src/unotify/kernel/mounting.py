"""Mounts that are in no namespace yet, and what makes and changes them.

Theory of operation. A mount is made in three steps that need no path of the target: a file system
context takes a type and its options, becomes a mount that nobody sees, and gets its attributes.
All of it is done with the supervisor's rights, in its own namespaces. Only then it is attached to a
directory or file that the target's path was found to name (`unotify.kernel.attaching`).

The calls are those of Linux 5.2, mount_setattr(2) is of 5.12.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final, Self, TypeVar

from unotify.errors import KernelError
from unotify.kernel._libc import check, syscall
from unotify.kernel.acts import number

__all__ = [
    "Context",
    "Mount",
    "clone",
    "device_path",
    "needs_device",
    "open_context",
]

T = TypeVar("T")

_CLOEXEC: Final = 0x1  # FSOPEN_CLOEXEC, FSPICK_CLOEXEC and FSMOUNT_CLOEXEC
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 0x1
_ATIME: Final = 0x70
_MOUNT_ATTR_IDMAP: Final = 0x100000

_SET_FLAG, _SET_STRING, _SET_BINARY, _SET_PATH, _SET_PATH_EMPTY, _SET_FD, _CREATE = range(7)


class _Owned:
    """A descriptor, and who closes it."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def fileno(self) -> int:
        """The descriptor."""
        return self.fd

    def close(self) -> None:
        """Close it; what was attached stays."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Mount(_Owned):
    """A mount, by a descriptor of its root (fsmount(2), open_tree(2)).

    It is gone with the descriptor unless it was attached.
    """

    __slots__ = ()

    def change(
        self,
        *,
        set: int = 0,
        clear: int = 0,
        propagation: int = 0,
        recursive: bool = False,
        user_namespace: int = -1,
    ) -> None:
        """Change its attributes: mount_setattr(2).

        Args:
            set: ``MOUNT_ATTR_*`` to set.
            clear: Those to take away.
            propagation: ``MS_PRIVATE`` or the like; 0 leaves it.
            recursive: The mounts below it too.
            user_namespace: A descriptor of a user namespace, whose ids files get to have
                (MOUNT_ATTR_IDMAP); -1: as they are.

        Raises:
            KernelError: With its errno: EINVAL where the file system knows no idmapped mounts.
        """
        userns = 0
        if set & _ATIME:
            clear |= _ATIME  # one of several, which have no bits of their own
        if user_namespace >= 0:
            set |= _MOUNT_ATTR_IDMAP
            userns = user_namespace
        attr = struct.pack("=4Q", set, clear, propagation, userns)
        flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
        done = syscall(number("mount_setattr"), self.fd, b"", flags, attr, len(attr))
        check(done, "mount_setattr(2)")


class Context(_Owned):
    """A file system that is about to be: a descriptor of fsopen(2)."""

    __slots__ = ()

    def set(self, key: str, value: str | bytes | None = None) -> None:
        """Set an option: a flag, or one with a value.

        Raises:
            KernelError: EINVAL: there is no such option, or it does not take that.
        """
        command = _SET_FLAG if value is None else _SET_STRING
        text = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        self._configure(command, key.encode("utf-8", "surrogateescape"), text, 0)

    def set_descriptor(self, key: str, fd: int) -> None:
        """Set an option that takes a descriptor of ours; raises as `set`."""
        self._configure(_SET_FD, key.encode(), None, fd)

    def create(self) -> None:
        """Make the file system, or find the one that is there.

        Raises:
            KernelError: As mount(2): EINVAL for what is no such file system, EBUSY, EROFS ...
        """
        self._configure(_CREATE, None, None, 0)

    def mount(self, attributes: int = 0) -> Mount:
        """Make a mount of it, with *attributes* (``MOUNT_ATTR_*``), which nobody sees yet.

        Raises:
            KernelError: With its errno.
        """
        fd = syscall(number("fsmount"), self.fd, _CLOEXEC, attributes)
        return Mount(check(fd, "fsmount(2)"))

    def messages(self) -> list[str]:
        """What the file system has to say about an error, one line each; read once."""
        found = []
        with suppress(OSError):
            while True:
                found.append(os.read(self.fd, 8192).decode("utf-8", "replace").rstrip("\n"))
        return found

    def _configure(self, command: int, key: bytes | None, value: bytes | None, aux: int) -> None:
        check(syscall(number("fsconfig"), self.fd, command, key, value, aux), "fsconfig(2)")


def open_context(fstype: str) -> Context:
    """A context for a file system of the type *fstype*.

    Raises:
        KernelError: ENODEV: there is no such type; EPERM: we may not mount.
    """
    name = fstype.encode("utf-8", "surrogateescape")
    fd = syscall(number("fsopen"), name, _CLOEXEC)
    hint = "the supervisor needs CAP_SYS_ADMIN" if fd == -errno.EPERM else None
    return Context(check(fd, "fsopen(2)", hint=hint))


def clone(place: int, *, recursive: bool = False) -> Mount:
    """A copy of the mount that *place* is in, with *place* as its root, which nobody sees yet.

    Args:
        place: A descriptor, of this thread's mount namespace, or of a mount in none (Linux 6.15).
        recursive: With the mounts below it.

    Raises:
        KernelError: EINVAL: it is of another namespace, or not to be copied.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    return Mount(check(syscall(number("open_tree"), place, b"", flags), "open_tree(2)"))


def needs_device(fstype: str) -> bool:
    """Whether file systems of type *fstype* are on a block device.

    Raises:
        KernelError: As `open_context`.
    """
    open_context(fstype).close()  # may load the module of it
    with open("/proc/filesystems", encoding="utf-8") as known:
        for line in known:
            kind, _, name = line.rstrip("\n").partition("\t")
            if name == fstype.partition(".")[0]:
                return kind != "nodev"
    return False


@contextmanager
def device_path(device: int) -> Iterator[str]:
    """A path here that leads to the block device number *device*, for as long as that is needed.

    Its name in ``/dev`` where that is right, since it is what all tools show; else that of a node
    that nobody else sees.

    Raises:
        KernelError: We may not make one.
    """
    major, minor = os.major(device), os.minor(device)
    names = [f"/dev/block/{major}:{minor}"]
    with suppress(OSError), open(f"/sys/dev/block/{major}:{minor}/uevent") as told:
        names[:0] = [f"/dev/{line[8:].rstrip()}" for line in told if line.startswith("DEVNAME=")]
    for name in names:
        with suppress(OSError):
            found = os.stat(name)
            if stat.S_ISBLK(found.st_mode) and found.st_rdev == device:
                yield name
                return
    with open_context("tmpfs") as context:
        context.create()
        with context.mount() as tree:
            try:
                os.mknod("node", stat.S_IFBLK | 0o600, device, dir_fd=tree.fd)
            except OSError as error:
                raise KernelError(error.errno or errno.EPERM, "mknodat(2)") from error
            yield f"/proc/self/fd/{tree.fd}/node"
