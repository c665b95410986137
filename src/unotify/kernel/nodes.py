"""Device nodes: one on a file system that nobody sees, and whether one is of any use."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace
from typing import Final

from unotify.errors import KernelError
from unotify.kernel._libc import syscall
from unotify.kernel.acts import number
from unotify.kernel.mounting import Mount, clone, open_context
from unotify.kernel.rights import CAP_DAC_OVERRIDE, CAP_MKNOD, CAP_SYS_ADMIN, Rights, mine, taken_on

__all__ = ["can_mount", "is_usable", "node_mount", "remove"]

_OTHERS: Final = (65534, 65533)
_LOOK: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
_NODE: Final = "node"
_MOUNT_ATTR_NOSUID: Final = 0x2
_MOUNT_ATTR_NOEXEC: Final = 0x8


def can_mount() -> bool:
    """Whether we may mount anything, and make devices, in our own namespaces."""
    wanted = CAP_SYS_ADMIN | CAP_MKNOD
    return mine().effective & wanted == wanted


def is_usable(directory: int, name: bytes) -> bool:
    """Whether the device node *name* in *directory* can be opened at all.

    It cannot be on a file system that was mounted in another user namespace, which nothing
    tells. So it is opened, in a way that fails before any driver hears of it: with O_NOATIME, by
    somebody who is neither its owner nor may act as if. ``EACCES`` comes first, and says that there
    are no devices on that file system.

    Raises:
        KernelError: EPERM: we cannot be somebody else; or it has gone.
    """
    try:
        owner = os.stat(name, dir_fd=directory, follow_symlinks=False).st_uid
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, "newfstatat(2)") from error
    other = next(uid for uid in _OTHERS if uid != owner)
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


def remove(directory: int, name: bytes, found: os.stat_result, rights: Rights) -> bool:
    """Unlink *name* in *directory* if it is still the file *found*, with no more than *rights*.

    Args:
        directory: A descriptor.
        name: Perhaps with a slash at its end.
        found: What it was.
        rights: Whose: others may have put something else there, which is theirs to remove.

    Returns:
        Whether it was removed.
    """
    with taken_on(replace(rights, effective=0), mine()):
        try:
            there = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if not os.path.samestat(there, found):
                return False
            os.unlink(name, dir_fd=directory)
        except OSError:
            return False
    return True
