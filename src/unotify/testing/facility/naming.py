"""What calls do to names: making, removing, renaming, linking."""

from __future__ import annotations

import errno
import stat
from typing import Final

from unotify.testing.facility.credentials import overrides
from unotify.testing.facility.rules import check, effect
from unotify.testing.facility.state import Inode, Task, World
from unotify.testing.facility.tree import (
    EXECUTE,
    READ,
    WRITE,
    Found,
    add,
    child,
    make,
    refused,
    remove,
)

__all__ = ["create", "link", "rename", "symlink", "unlink"]

_REMOVE_DIRECTORY: Final = 0x200
_NOREPLACE, _EXCHANGE = 1, 2


@check("C1")
def parent_can_change(task: Task, found: Found) -> int:
    """Names are made and removed by who may write to their directory, and search it."""
    return refused(task, found.parent, WRITE | EXECUTE)


@check("C1")
def sticky_lets(task: Task, directory: Inode, inode: Inode) -> int:
    """In a sticky directory names are removed by the owner of what they name, or of it: EPERM."""
    owners = (inode.uid, directory.uid)
    lets = not directory.mode & stat.S_ISVTX or overrides(task) or task.uid in owners
    return 0 if lets else errno.EPERM


@check("C1")
def not_one_s_own(task: Task, inode: Inode) -> int:
    """Others' files are linked by who may read and write them, set-user-ID ones by nobody."""
    if overrides(task) or task.uid == inode.uid:
        return 0
    privileged = inode.mode & stat.S_ISUID or inode.mode & 0o2010 == 0o2010
    plain = stat.S_ISREG(inode.mode) and not privileged
    return 0 if plain and not refused(task, inode, READ | WRITE) else errno.EPERM


def create(
    world: World, task: Task, found: Found, mode: int, *, umask: int = 0, device: int = 0
) -> int:
    """mkdirat(2) and mknodat(2): *mode* has the kind; 0 or a negative errno."""
    if found.inode is not None:
        return -errno.EEXIST
    if found.slash and not stat.S_ISDIR(mode):
        return -errno.ENOENT
    if error := parent_can_change(task, found):
        return -error
    if (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and not overrides(task):
        return -errno.EPERM
    inode = make(world, mode & ~umask, task, device=device)
    inherit_group(found.parent, inode)
    add(found.parent, found.name, inode)
    return 0


@effect("C1")
def inherit_group(directory: Inode, inode: Inode) -> None:
    """Under a set-group-ID directory things have its group, and directories its bit."""
    if directory.mode & stat.S_ISGID:
        inode.gid = directory.gid
        inode.mode |= stat.S_ISGID if stat.S_ISDIR(inode.mode) else 0


def unlink(world: World, task: Task, found: Found, flags: int) -> int:
    """unlinkat(2)."""
    inode = found.inode
    if inode is None:
        return -errno.ENOENT
    if not found.name:
        return -errno.EBUSY if flags & _REMOVE_DIRECTORY else -errno.EISDIR
    if error := parent_can_change(task, found) or sticky_lets(task, found.parent, inode):
        return -error
    if found.slash and not stat.S_ISDIR(inode.mode):
        return -errno.ENOTDIR
    if flags & _REMOVE_DIRECTORY:
        if not stat.S_ISDIR(inode.mode):
            return -errno.ENOTDIR
        if inode.entries:
            return -errno.ENOTEMPTY
    elif stat.S_ISDIR(inode.mode):
        return -errno.EISDIR
    remove(world, found.parent, found.name)
    return 0


def link(world: World, task: Task, old: Found, new: Found) -> int:
    """linkat(2)."""
    if old.inode is None:
        return -errno.ENOENT
    if new.inode is not None:
        return -errno.EEXIST
    if new.slash:
        return -errno.ENOENT
    if error := parent_can_change(task, new):
        return -error
    if stat.S_ISDIR(old.inode.mode) or not_one_s_own(task, old.inode):
        return -errno.EPERM
    add(new.parent, new.name, old.inode)
    return 0


def symlink(world: World, task: Task, target: bytes, new: Found) -> int:
    """symlinkat(2)."""
    if not target or (new.slash and new.inode is None):
        return -errno.ENOENT
    if new.inode is not None:
        return -errno.EEXIST
    if error := parent_can_change(task, new):
        return -error
    add(new.parent, new.name, make(world, stat.S_IFLNK | 0o777, task, data=target))
    return 0


def rename(world: World, task: Task, old: Found, new: Found, flags: int) -> int:
    """renameat2(2)."""
    if flags & ~(_NOREPLACE | _EXCHANGE) or flags == _NOREPLACE | _EXCHANGE:
        return -errno.EINVAL
    if old.inode is None:
        return -errno.ENOENT
    if not old.name or not new.name:
        return -errno.EBUSY
    directory = stat.S_ISDIR(old.inode.mode)
    if flags & _NOREPLACE and new.inode is not None:
        return -errno.EEXIST
    if flags & _EXCHANGE and new.inode is None:
        return -errno.ENOENT
    if not directory and (old.slash or new.slash):
        return -errno.ENOTDIR
    if directory and (new.path + "/").startswith(old.path + "/") and new.path != old.path:
        return -errno.EINVAL
    for one in (old, new):
        if error := parent_can_change(task, one):
            return -error
        if one.inode is not None and (error := sticky_lets(task, one.parent, one.inode)):
            return -error
    if flags & _EXCHANGE:
        assert new.inode is not None
        add(old.parent, old.name, new.inode)
        add(new.parent, new.name, old.inode)
        return 0
    if new.inode is old.inode:
        return 0  # two names of one thing
    if new.inode is not None:
        if directory and not stat.S_ISDIR(new.inode.mode):
            return -errno.ENOTDIR
        if not directory and stat.S_ISDIR(new.inode.mode):
            return -errno.EISDIR
        if new.inode.entries:
            return -errno.ENOTEMPTY
    remove(world, old.parent, old.name)
    assert child(world, old.parent, old.name) is None
    add(new.parent, new.name, old.inode)
    return 0
