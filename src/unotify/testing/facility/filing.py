"""What calls do to files: opening, attributes, length."""

from __future__ import annotations

import errno
import stat
from typing import Final

from unotify.testing.facility.credentials import overrides
from unotify.testing.facility.naming import create
from unotify.testing.facility.rules import check, effect
from unotify.testing.facility.state import Inode, Task, World
from unotify.testing.facility.tree import EXECUTE, READ, WRITE, Found, child, refused

__all__ = ["LARGEST", "access", "chmod", "chown", "open_file", "truncate"]

_CREAT, _EXCL, _TRUNC, _DIRECTORY, _PATH_ONLY = 0o100, 0o200, 0o1000, 0o200000, 0o10000000
_UNCHANGED: Final = 0xFFFFFFFF
LARGEST: Final = 1 << 20
"""No file grows beyond this."""


def open_file(
    world: World, task: Task, found: Found, flags: int, mode: int, *, umask: int = 0
) -> Inode | int:
    """openat(2): the inode, or a negative errno."""
    inode = found.inode
    if inode is None:
        if not flags & _CREAT:
            return -errno.ENOENT
        if found.slash:
            return -errno.EISDIR
        if error := create(world, task, found, stat.S_IFREG | mode & 0o7777, umask=umask):
            return error
        made = child(world, found.parent, found.name)
        assert made is not None
        return made  # whatever its mode is: who makes it may use it
    if flags & _CREAT and flags & _EXCL:
        return -errno.EEXIST
    directory = stat.S_ISDIR(inode.mode)
    if stat.S_ISLNK(inode.mode) and not flags & _PATH_ONLY:
        return -errno.ENOTDIR if flags & _DIRECTORY else -errno.ELOOP
    if flags & _DIRECTORY and not directory:
        return -errno.ENOTDIR
    if flags & _PATH_ONLY:
        return inode
    writes = flags & 3 in (1, 2)
    if directory and (writes or flags & _CREAT or flags & _TRUNC):
        return -errno.EISDIR
    wanted = (READ if flags & 3 in (0, 2) else 0) | (WRITE if writes or flags & _TRUNC else 0)
    if error := refused(task, inode, wanted):
        return -error
    if stat.S_ISSOCK(inode.mode):
        return -errno.ENXIO
    if flags & _TRUNC and stat.S_ISREG(inode.mode):
        inode.data = b""
    return inode


@check("C1")
def owner_only(task: Task, inode: Inode) -> int:
    """Modes are changed by the owner: EPERM."""
    return 0 if overrides(task) or task.uid == inode.uid else errno.EPERM


def chmod(task: Task, inode: Inode, mode: int) -> int:
    """fchmodat2(2)."""
    if stat.S_ISLNK(inode.mode):
        return -errno.EOPNOTSUPP
    if error := owner_only(task, inode):
        return -error
    inode.mode = stat.S_IFMT(inode.mode) | mode & 0o7777
    if inode.gid not in (task.gid, *task.groups) and not overrides(task):
        inode.mode &= ~stat.S_ISGID
    return 0


def chown(task: Task, inode: Inode, uid: int, gid: int) -> int:
    """fchownat(2): owners are changed by root, and groups by the owner to one of its own."""
    to_user = uid & _UNCHANGED not in (_UNCHANGED, inode.uid)
    to_group = gid & _UNCHANGED not in (_UNCHANGED, inode.gid)
    if not overrides(task):
        own = task.uid == inode.uid
        foreign = to_group and gid not in (task.gid, *task.groups)
        changes = uid & _UNCHANGED != _UNCHANGED or gid & _UNCHANGED != _UNCHANGED
        if to_user or foreign or (changes and not own):
            return -errno.EPERM
    inode.uid = inode.uid if uid & _UNCHANGED == _UNCHANGED else uid
    inode.gid = inode.gid if gid & _UNCHANGED == _UNCHANGED else gid
    drop_privileged_bits(inode)
    return 0


@effect("C1")
def drop_privileged_bits(inode: Inode) -> None:
    """A program that changes hands is no set-user-ID one any more."""
    if stat.S_ISREG(inode.mode):
        inode.mode &= ~stat.S_ISUID
        if inode.mode & stat.S_IXGRP:
            inode.mode &= ~stat.S_ISGID


def truncate(inode: Inode, length: int) -> int:
    """Look at a mode as the ids that act do; 0 or a negative errno."""
    if length < 0:
        return -errno.EINVAL
    if stat.S_ISDIR(inode.mode):
        return -errno.EISDIR
    if not stat.S_ISREG(inode.mode):
        return -errno.EINVAL
    if length > LARGEST:
        return -errno.EFBIG
    inode.data = inode.data[:length].ljust(length, b"\0")
    return 0


def access(task: Task, inode: Inode, mode: int) -> int:
    """Whether a mode lets the ids that act; 0 or a negative errno."""
    return -refused(task, inode, mode & (READ | WRITE | EXECUTE))
