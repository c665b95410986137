"""What a descriptor of a listener is: which filter it belongs to, and which ioctls it knows."""

from __future__ import annotations

import errno

from unotify.abi.structs import COMMON_IOCTLS
from unotify.testing.facility.descriptors import file_at
from unotify.testing.facility.rules import effect
from unotify.testing.facility.signals import interrupted
from unotify.testing.facility.state import File, Filter, Note, Task, World
from unotify.testing.facility.traits import Trait

__all__ = ["compat_ioctls_are_the_same", "find", "ioctl_number", "listener_of", "lock_gives_way"]


@effect("A6", otherwise="")
def ioctl_number(world: World, number: int) -> str:
    """Which one a number is, or nothing (EINVAL): ADDFD by its low bits, others by all of them."""
    ioctls = COMMON_IOCTLS
    if number == ioctls.recv:
        return "recv"
    if number == ioctls.send:
        return "send"
    if number == ioctls.id_valid_old or (number == ioctls.id_valid and world.has(Trait.ID_VALID)):
        return "valid"
    if number == ioctls.set_flags and world.has(Trait.SYNC_WAKE_UP):
        return "flags"
    direction_and_size = 0xFFFF0000
    if number & ~direction_and_size == ioctls.addfd & ~direction_and_size:
        return "addfd" if world.has(Trait.ADDFD) else ""
    return ""


@effect("B5", otherwise=False)
def compat_ioctls_are_the_same() -> bool:
    """A 32-bit supervisor has the same numbers and structs."""
    return True


@effect("I12", "E10", otherwise=0)
def lock_gives_way(world: World, task: Task, filter: Filter) -> int:
    """Who has a signal does not wait for the listener's lock: -EINTR."""
    return -errno.EINTR if filter.busy and interrupted(world, task) else 0


def listener_of(world: World, task: Task, fd: int) -> tuple[File, Filter] | int:
    """The listener that *fd* is, or a negative errno."""
    file = file_at(world, task, fd)
    if file is None:
        return -errno.EBADF
    if file.kind != "listener":
        return -errno.ENOTTY
    return file, world.filters[file.filter]


def find(world: World, filter: Filter, id: int) -> Note | None:
    """The notification that is called *id*."""
    for key in filter.notes:
        if world.notes[key].id == id:
            return world.notes[key]
    return None
