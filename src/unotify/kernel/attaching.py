"""Mounts in the namespaces of targets: attached, changed and unmounted.

Theory of operation. To attach, and to unmount, a thread has to be in the mount namespace that the
place is of (`unotify.kernel.entered`). What is meant is given by descriptors.

The calls are those of Linux 5.2, mount_setattr(2) is of 5.12.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Callable
from contextlib import ExitStack
from os.path import samestat
from typing import Final

from unotify.errors import KernelError
from unotify.kernel._libc import check, syscall
from unotify.kernel.acts import number
from unotify.kernel.entered import inside
from unotify.kernel.mounting import Mount, clone

__all__ = [
    "attach",
    "bind",
    "change",
    "copy",
    "is_mounted",
    "mount_id",
    "pivot",
    "unmount",
    "unmount_name",
]

_BOTH_ARE_DESCRIPTORS: Final = 0x4 | 0x40  # MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH
_MNT_DETACH: Final = 0x2
_UMOUNT_NOFOLLOW: Final = 0x8
_AT_FDCWD: Final = -100
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_AT_NO_AUTOMOUNT: Final = 0x800
_AT_EMPTY_PATH: Final = 0x1000
_STATX_MNT_ID: Final = 0x1000
_STATX_ATTR_MOUNT_ROOT: Final = 0x2000
_PATH: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def attach(namespace: int, mount: Mount, place: int) -> None:
    """Attach *mount* to what *place* is open on.

    Args:
        namespace: A descriptor of the mount namespace that *place* is of.
        mount: What.
        place: A descriptor; O_PATH will do.

    Raises:
        KernelError: As `inside`, and with the errno of move_mount(2): ENOENT if *place* was
            removed meanwhile, ENOTDIR if one of both is a directory and the other none.
    """
    _require_alike(mount.fd, place)
    move_mount, what = number("move_mount"), mount.fileno()

    def run() -> None:
        done = syscall(move_mount, what, b"", place, b"", _BOTH_ARE_DESCRIPTORS)
        check(done, "move_mount(2)")

    inside(namespace, run)


def _require_alike(source: int, place: int) -> None:
    # move_mount(2) has another errno for it than mount(2).
    if stat.S_ISDIR(os.fstat(source).st_mode) != stat.S_ISDIR(os.fstat(place).st_mode):
        raise KernelError(errno.ENOTDIR, "move_mount(2)")


def unmount(namespace: int, place: int, flags: int = _MNT_DETACH) -> None:
    """Unmount the mount whose root *place* is.

    Args:
        namespace: A descriptor of the mount namespace that it is in.
        place: A descriptor; it keeps the mount busy, which MNT_DETACH does not mind.
        flags: As of umount2(2), but for UMOUNT_NOFOLLOW, which is meaningless here.

    Raises:
        KernelError: As `inside`, and with the errno of umount2(2).
    """
    # It wants a path. Whoever has entered a namespace may find no procfs there, so the path
    # begins at a descriptor of ours.
    descriptors = os.open("/proc/thread-self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    fchdir, umount2, name = number("fchdir"), number("umount2"), b"%d" % place

    def run() -> None:
        check(syscall(fchdir, descriptors), "fchdir(2)")
        check(syscall(umount2, name, flags & ~_UMOUNT_NOFOLLOW), "umount2(2)")

    try:
        inside(namespace, run)
    finally:
        os.close(descriptors)


def copy(namespace: int, source: int, *, recursive: bool = False, set: int = 0) -> Mount:
    """A copy of a mount that is in a mount namespace, for a bind mount.

    Args:
        namespace: A descriptor of the namespace.
        source: What is to be the root of it; O_PATH will do.
        recursive: With the mounts below *source*.
        set: ``MOUNT_ATTR_*`` for all of them.

    Returns:
        A mount that nobody sees yet.

    Raises:
        KernelError: As `inside`, and as `unotify.kernel.mounting.clone`.
    """

    def run() -> Mount:
        with ExitStack() as stack:
            mount = stack.enter_context(clone(source, recursive=recursive))
            if set:
                mount.change(set=set, recursive=recursive)
            stack.pop_all()
            return mount

    return inside(namespace, run)


def bind(
    namespace: int,
    source: int,
    place: int,
    *,
    recursive: bool = False,
    set: int = 0,
    wanted: Callable[[], bool],
) -> tuple[Mount, int] | None:
    """A `copy` of a mount, attached at once: both are in one mount namespace.

    Args:
        namespace: A descriptor of the namespace.
        source: What is to be the root of the copy; O_PATH will do.
        place: What it is attached to; likewise.
        recursive: With the mounts below *source*.
        set: ``MOUNT_ATTR_*`` for all of them.
        wanted: Asked last, before anybody sees the copy.

    Returns:
        The mount, and its id (`mount_id`); ``None``: it is not wanted any more.

    Raises:
        KernelError: As `copy` and `attach`.
    """
    move_mount = number("move_mount")

    def run() -> tuple[Mount, int] | None:
        with ExitStack() as stack:
            mount = stack.enter_context(clone(source, recursive=recursive))
            if set:
                mount.change(set=set, recursive=recursive)
            _require_alike(mount.fd, place)
            found = mount_id(mount.fd)
            if not wanted():
                return None
            done = syscall(move_mount, mount.fd, b"", place, b"", _BOTH_ARE_DESCRIPTORS)
            check(done, "move_mount(2)")
            stack.pop_all()
            return mount, found

    return inside(namespace, run)


def change(namespace: int, place: int, *, set: int, clear: int = 0) -> None:
    """Change the mount whose root *place* is; see `Mount.change`.

    Args:
        namespace: A descriptor of the mount namespace that it is in.
        place: A descriptor; O_PATH will do.
        set: ``MOUNT_ATTR_*`` to set.
        clear: Those to take away.

    Raises:
        KernelError: As `inside`; EINVAL: *place* is no root of a mount.
    """
    # A Mount closes what it owns, and this is somebody else's.
    inside(namespace, lambda: Mount.change(Mount(place), set=set, clear=clear))


def mount_id(place: int, name: bytes = b"") -> int:
    """The id of the mount that *place* is in, or that *name* in it leads to.

    Links are not followed.

    Raises:
        KernelError: As statx(2); EOPNOTSUPP before Linux 5.8.
    """
    buffer = ctypes.create_string_buffer(256)
    flags = _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT | (0 if name else _AT_EMPTY_PATH)
    check(syscall(number("statx"), place, name, flags, _STATX_MNT_ID, buffer), "statx(2)")
    mask, found = struct.unpack_from("=I", buffer)[0], struct.unpack_from("=Q", buffer, 144)[0]
    if not mask & _STATX_MNT_ID:
        raise KernelError(errno.EOPNOTSUPP, "statx(2)", "the kernel tells no ids of mounts")
    return int(found)


def is_mounted(place: int) -> bool:
    """Whether *place* is the root of a mount, which is what can be unmounted.

    Raises:
        KernelError: As statx(2); EOPNOTSUPP before Linux 5.8, which tells it.
    """
    buffer = ctypes.create_string_buffer(256)
    flags = _AT_NO_AUTOMOUNT | _AT_EMPTY_PATH
    check(syscall(number("statx"), place, b"", flags, 0, buffer), "statx(2)")
    (attributes,) = struct.unpack_from("=Q", buffer, 8)
    (known,) = struct.unpack_from("=Q", buffer, 56)
    if not known & _STATX_ATTR_MOUNT_ROOT:
        raise KernelError(errno.EOPNOTSUPP, "statx(2)", "the kernel tells no roots of mounts")
    return bool(attributes & _STATX_ATTR_MOUNT_ROOT)


def unmount_name(namespace: int, directory: int, name: bytes, mount: int, flags: int) -> None:
    """Unmount what is mounted on *name* in *directory*.

    What is mounted there is held by nobody here, so that it is not busy for that.

    Args:
        namespace: A descriptor of the mount namespace that it is in.
        directory: A descriptor.
        name: A name in it; links are not followed.
        mount: The id of the mount that is meant.
        flags: As of umount2(2).

    Raises:
        KernelError: As `inside`, and with the errno of umount2(2); EBUSY: another mount is there.
    """
    fchdir, umount2 = number("fchdir"), number("umount2")

    def run() -> None:
        check(syscall(fchdir, directory), "fchdir(2)")
        if mount_id(directory, name) != mount:
            raise KernelError(errno.EBUSY, "umount2(2)", "another mount is there")
        check(syscall(umount2, name, flags | _UMOUNT_NOFOLLOW), "umount2(2)")

    inside(namespace, run)


def pivot(namespace: int, root: int, new_root: int, put_old: int) -> None:
    """Make *new_root* the root of a mount namespace: pivot_root(2).

    Processes whose root or directory is the old root get the new one.

    Args:
        namespace: A descriptor of the namespace.
        root: The root that the target has, which has to be that of the namespace.
        new_root: A descriptor of the root of a mount.
        put_old: A descriptor of where the old root is to be mounted, below *new_root*.

    Raises:
        KernelError: As `inside`, and with the errno of pivot_root(2).
    """
    descriptors = os.open("/proc/thread-self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    fchdir, openat, pivot_root = (number(name) for name in ("fchdir", "openat", "pivot_root"))

    def run() -> None:
        own = check(syscall(openat, _AT_FDCWD, b"/", _PATH, 0), "open(2)")
        try:
            if mount_id(own) != mount_id(root) or not samestat(os.fstat(own), os.fstat(root)):
                raise KernelError(errno.EINVAL, "pivot_root(2)", "the target has another root")
        finally:
            os.close(own)
        check(syscall(fchdir, descriptors), "fchdir(2)")
        check(syscall(pivot_root, b"%d" % new_root, b"%d" % put_old), "pivot_root(2)")

    try:
        inside(namespace, run)
    finally:
        os.close(descriptors)
