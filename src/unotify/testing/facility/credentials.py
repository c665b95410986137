"""Who may do what: user namespaces, capabilities, and looking into somebody else."""

from __future__ import annotations

import errno
from typing import Final

from unotify.testing.facility.rules import check, effect
from unotify.testing.facility.state import Task, UserSpace, World

__all__ = ["capable", "may_attach", "overrides", "set_ids", "unshare_users"]

FIRST: Final = 0
"""The first user namespace."""


@effect("S5")
def unshare_users(world: World, task: Task) -> None:
    """unshare(CLONE_NEWUSER): all capabilities, and all of them in there alone."""
    space = UserSpace(world.key(), task.user_space, task.uid)
    world.user_spaces[space.key] = space
    task.user_space, task.privileged = space.key, True


@effect("S5", "M3", otherwise=True)
def capable(world: World, task: Task, space: int) -> bool:
    """Capabilities count in the own user namespace and below it; who made one has all in it."""
    while space != task.user_space:
        if space == FIRST:
            return False
        record = world.user_spaces[space]
        if record.parent == task.user_space and record.owner == task.uid:
            return True
        space = record.parent
    return task.privileged


def overrides(task: Task) -> bool:
    """Whether the modes of files are nothing to it."""
    return task.privileged and not task.uid and task.user_space == FIRST


def set_ids(world: World, task: Task, uid: int, gid: int) -> None:
    """setresuid(2) and setresgid(2): who becomes somebody else loses its capabilities."""
    if uid != task.uid or gid != task.gid:
        hide(world, task)
    task.uid, task.gid, task.groups = uid, gid, ()
    task.privileged = task.privileged and not uid


@effect("M3")
def hide(world: World, task: Task) -> None:
    """A process that has changed its ids cannot be looked into, though they be the same."""
    world.process_of(task).dumpable = False


@check("M3")
def ids_are_the_same(world: World, reader: Task, task: Task) -> int:
    """Whoever has other ids needs CAP_SYS_PTRACE over the target."""
    same = (reader.uid, reader.gid) == (task.uid, task.gid)
    return 0 if same or capable(world, reader, task.user_space) else errno.EPERM


@check("M3")
def process_is_open(world: World, reader: Task, task: Task) -> int:
    """So does whoever looks into one that has changed its ids."""
    open_ = world.process_of(task).dumpable or capable(world, reader, FIRST)
    return 0 if open_ else errno.EPERM


def may_attach(world: World, reader: Task, task: Task) -> int:
    """PTRACE_MODE_ATTACH: 0, or EPERM."""
    if reader.process == task.process:
        return 0
    return ids_are_the_same(world, reader, task) or process_is_open(world, reader, task)
