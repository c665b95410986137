"""Device nodes: one on a file system that nobody sees, and whether one is of any use."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from dataclasses import replace
from struct import Struct
from typing import Final, NamedTuple, Self

from unotify.errors import KernelError
from unotify.kernel import native
from unotify.kernel._libc import check, syscall
from unotify.kernel.acts import number
from unotify.kernel.mounting import Mount, clone, open_context
from unotify.kernel.rights import CAP_DAC_OVERRIDE, CAP_MKNOD, CAP_SYS_ADMIN, Rights, mine, taken_on

__all__ = ["Node", "can_mount", "is_usable", "node_mount", "remove"]

_OTHERS: Final = (65534, 65533)
_LOOK: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_AT_NO_AUTOMOUNT: Final = 0x800
_BASIC: Final = 0x7FF
_STATX_MNT_ID_UNIQUE: Final = 0x4000
_STATX: Final = Struct("=I16xI8xQ96xIIQ")  # mask, uid, inode, major, minor, mount
_NODE: Final = "node"
_MOUNT_ATTR_NOSUID: Final = 0x2
_MOUNT_ATTR_NOEXEC: Final = 0x8


def can_mount() -> bool:
    """Whether we may mount anything, and make devices, in our own namespaces."""
    wanted = CAP_SYS_ADMIN | CAP_MKNOD
    return mine().effective & wanted == wanted


class Node(NamedTuple):
    """A file that was found, or made.

    Attributes:
        identity: Its device and its inode.
        uid: Its owner.
        mount: The mount that it was found in, by a number that no other ever has; 0 where the
            kernel tells none (before Linux 6.8).
    """

    identity: tuple[int, int]
    uid: int
    mount: int

    @classmethod
    def found(cls, directory: int, name: bytes) -> Self:
        """What *name* in *directory* is; links are not followed.

        Raises:
            KernelError: As statx(2).
        """
        buffer = ctypes.create_string_buffer(256)
        flags, mask = _AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT, _BASIC | _STATX_MNT_ID_UNIQUE
        check(syscall(number("statx"), directory, name, flags, mask, buffer), "statx(2)")
        told, uid, inode, *device, mount = _STATX.unpack_from(buffer)
        mount = mount if told & _STATX_MNT_ID_UNIQUE else 0
        return cls((os.makedev(*device), inode), uid, mount)


_usable: Final[dict[int, None]] = {}
_MOST_MOUNTS: Final = 1024


def is_usable(directory: int, name: bytes, node: Node) -> bool:
    """Whether the device node *name* in *directory* can be opened at all.

    It cannot be on a file system that was mounted in another user namespace, which nothing
    tells. So it is opened, in a way that fails before any driver hears of it: with O_NOATIME, by
    somebody who is neither its owner nor may act as if. ``EACCES`` comes first, and says that there
    are no devices on that file system. Once one was found usable so are the others of its mount,
    which stays on its file system; that it has got nodev meanwhile, statvfs(3) tells.

    Args:
        directory: A descriptor.
        name: A name in it.
        node: What it was found to be.

    Raises:
        KernelError: EPERM: we cannot be somebody else.
    """
    if node.mount in _usable:
        native.tell_usable(node.mount)  # which forgets sooner
        return True
    other = next(uid for uid in _OTHERS if uid != node.uid)
    ours = mine()
    somebody = replace(
        ours,
        uid=other,
        gid=other,
        fsuid=other,
        fsgid=other,
        groups=(),
        effective=CAP_DAC_OVERRIDE,
    )
    with taken_on(somebody, ours):
        fd = syscall(number("openat"), directory, name, _LOOK | os.O_NOATIME, 0)
    if fd >= 0:
        os.close(fd)
    # EPERM is for whoever may not use O_NOATIME, and nothing else has come before it.
    if fd == -errno.EPERM and node.mount:
        if len(_usable) >= _MOST_MOUNTS:
            _usable.clear()
        _usable[node.mount] = None
        native.tell_usable(node.mount)
    return fd != -errno.EACCES


def node_mount(mode: int, device: int, uid: int, gid: int) -> Mount:
    """A mount of a single device node, to be attached to a file.

    Args:
        mode: Its type and permissions.
        device: Its number.
        uid: Its owner, as our user namespace numbers it.
        gid: Its group.

    Raises:
        KernelError: EPERM: it takes CAP_SYS_ADMIN and CAP_MKNOD; EINVAL before Linux 6.15 if the
            host has no such node either.
    """
    with open_context("tmpfs") as context:
        context.set("source", "unotify")
        context.set("size", "4096")
        context.create()
        with context.mount(_MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NOEXEC) as tree:
            try:
                os.mknod(_NODE, stat.S_IFMT(mode), device, dir_fd=tree.fd)
                os.chown(_NODE, uid, gid, dir_fd=tree.fd)
                os.chmod(_NODE, stat.S_IMODE(mode), dir_fd=tree.fd)
                node = os.open(_NODE, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=tree.fd)
            except OSError as error:
                raise KernelError(error.errno or errno.EIO, "mknodat(2)") from error
            try:
                return clone(node)
            except KernelError as error:
                if error.errno != errno.EINVAL:
                    raise
                return _host_node(stat.S_IFMT(mode), device)
            finally:
                os.close(node)


def _host_node(kind: int, device: int) -> Mount:
    """A mount of the host's own node: before Linux 6.15 a mount in no namespace has no copies."""
    where = "char" if kind == stat.S_IFCHR else "block"
    path = f"/dev/{where}/{os.major(device)}:{os.minor(device)}"
    try:
        node = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(errno.EINVAL, "open_tree(2)", f"the host has no {path}") from error
    try:
        found = os.fstat(node)
        if stat.S_IFMT(found.st_mode) != kind or found.st_rdev != device:
            raise KernelError(errno.EINVAL, "open_tree(2)", f"{path} is another device")
        return clone(node)
    finally:
        os.close(node)


def remove(directory: int, name: bytes, identity: tuple[int, int], rights: Rights) -> bool:
    """Unlink *name* in *directory* if it is still the same file, with no more than *rights*.

    Args:
        directory: A descriptor.
        name: Perhaps with a slash at its end.
        identity: Its device and its inode.
        rights: Whose: others may have put something else there, which is theirs to remove.

    Returns:
        Whether it was removed.
    """
    with taken_on(replace(rights, effective=0), mine()):
        try:
            there = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if (there.st_dev, there.st_ino) != identity:
                return False
            os.unlink(name, dir_fd=directory)
        except OSError:
            return False
    return True
