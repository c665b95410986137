"""ADDFD: descriptors for a target that waits.

A call to give one (`begin_give`) sleeps until the target has run, and goes on by a step
(`end_give`).
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final

from unotify.abi.seccomp import AddFdFlag
from unotify.abi.structs import ADDFD_SIZE_VER0
from unotify.testing.facility.descriptors import end_call, file_at
from unotify.testing.facility.listeners import find, listener_of, lock_gives_way
from unotify.testing.facility.rules import check, effect, first
from unotify.testing.facility.signals import goes_on_after
from unotify.testing.facility.state import Filter, Gift, Note, NoteState, Task, World
from unotify.testing.facility.traits import Trait

__all__ = ["begin_give", "end_give"]

_O_CLOEXEC: Final = 0o2000000
_PAGE: Final = 4096


@dataclass(frozen=True, slots=True)
class Given:
    """A ``seccomp_notif_addfd``, its size, and whether there is more than zeros behind it."""

    id: int
    flags: int
    srcfd: int
    newfd: int
    newfd_flags: int
    size: int
    dirty: bool


@check("A6")
def gift_size_is_right(world: World, task: Task, filter: Filter, given: Given) -> int:
    """Fewer than 24 bytes, or a page and more, are EINVAL."""
    return 0 if ADDFD_SIZE_VER0 <= given.size < _PAGE else errno.EINVAL


@check("A6")
def gift_tail_is_zero(world: World, task: Task, filter: Filter, given: Given) -> int:
    """A longer struct is fine if its tail is zero, else E2BIG."""
    return errno.E2BIG if given.dirty else 0


@check("A4")
def gift_has_cloexec_at_most(world: World, task: Task, filter: Filter, given: Given) -> int:
    """Flags of the new descriptor other than O_CLOEXEC are EINVAL."""
    return errno.EINVAL if given.newfd_flags & ~_O_CLOEXEC else 0


@check("A4")
def gift_flags_are_known(world: World, task: Task, filter: Filter, given: Given) -> int:
    """Flags other than SETFD, and SEND since 5.14, are EINVAL."""
    known = int(AddFdFlag.SETFD)
    if world.has(Trait.ADDFD_SEND):
        known |= int(AddFdFlag.SEND)
    return errno.EINVAL if given.flags & ~known else 0


@check("A4")
def gift_number_is_meant(world: World, task: Task, filter: Filter, given: Given) -> int:
    """A number without SETFD is EINVAL."""
    return errno.EINVAL if given.newfd and not given.flags & AddFdFlag.SETFD else 0


@check("A1", "A5")
def source_is_a_file(world: World, task: Task, filter: Filter, given: Given) -> int:
    """The source is of the caller's table; one that is closed, or O_PATH, is EBADF."""
    file = file_at(world, task, given.srcfd)
    return errno.EBADF if file is None or file.kind == "path" else 0


@check("N11")
def gift_has_a_taker(world: World, task: Task, filter: Filter, given: Given) -> int:
    """An id that is unknown, or gone, is ENOENT."""
    return errno.ENOENT if find(world, filter, given.id) is None else 0


@check("N11")
def taker_is_unanswered(world: World, task: Task, filter: Filter, given: Given) -> int:
    """A notification that is not received, or is answered, is EINPROGRESS."""
    note = find(world, filter, given.id)
    return errno.EINPROGRESS if note is not None and note.state != NoteState.SENT else 0


@check("A11")
def answer_is_alone(world: World, task: Task, filter: Filter, given: Given) -> int:
    """ADDFD_FLAG_SEND while another ADDFD is queued is EBUSY."""
    note = find(world, filter, given.id)
    queued = note is not None and note.gifts
    return errno.EBUSY if queued and given.flags & AddFdFlag.SEND else 0


_GIVE: Final = (
    gift_size_is_right,
    gift_tail_is_zero,
    gift_has_cloexec_at_most,
    gift_flags_are_known,
    gift_number_is_meant,
    source_is_a_file,
)
_TAKER: Final = (gift_has_a_taker, taker_is_unanswered, answer_is_alone)


def begin_give(
    world: World,
    task: Task,
    fd: int,
    id: int,
    srcfd: int,
    *,
    flags: int = 0,
    newfd: int = 0,
    newfd_flags: int = 0,
    size: int = ADDFD_SIZE_VER0,
    dirty: bool = False,
) -> None:
    """ADDFD: `Task.result` is a negative errno, or it sleeps until the target has run."""
    task.result = None
    found = listener_of(world, task, fd)
    if isinstance(found, int):
        task.result = found
        return
    _, filter = found
    given = Given(id, flags, srcfd, newfd, newfd_flags, size, dirty)
    error = first(_GIVE, world, task, filter, given)
    error = error or lock_gives_way(world, task, filter)
    if error or (error := first(_TAKER, world, task, filter, given)):
        task.result = error
        return
    note, source = find(world, filter, id), file_at(world, task, srcfd)
    assert note is not None
    assert source is not None
    gift = Gift(
        world.key(),
        note.key,
        source.key,
        newfd,
        bool(flags & AddFdFlag.SETFD),
        bool(newfd_flags & _O_CLOEXEC),
        bool(flags & AddFdFlag.SEND),
        (fd, id, srcfd, flags, newfd, newfd_flags, size),
    )
    world.gifts[gift.key] = gift
    source.held += 1
    if gift.answers:
        answer_with_gift(note)
    queue_gift(note, gift)
    task.doing = ("giving", gift.key)


@effect("A10", "A11")
def answer_with_gift(note: Note) -> None:
    """ADDFD_FLAG_SEND is the reply, from the moment it is queued."""
    note.state = NoteState.REPLIED


@effect("A8", "A1")
def queue_gift(note: Note, gift: Gift) -> None:
    """The target is woken to take it; the last that came is taken first."""
    note.gifts = (gift.key, *note.gifts)
    note.done += 1


def _end_gift(world: World, task: Task, gift: Gift, result: int) -> None:
    del world.gifts[gift.key]
    end_call(world, task, gift.file, result)


@effect("A13")
def take_gift_back(world: World, gift: Gift) -> None:
    """ADDFD that a signal interrupts: nothing is installed."""
    note = world.notes.get(gift.note)
    if note is not None:
        note.gifts = tuple(key for key in note.gifts if key != gift.key)
        if gift.answers:
            restore(world, note)


@effect("A14")
def restore(world: World, note: Note) -> None:
    """Where A14 is cured, the call is unanswered again; else it returns 0 without anything."""
    if world.has(Trait.SEND_RESTORED):
        note.state = NoteState.SENT


def end_give(world: World, task: Task, key: int) -> None:
    """Go on: with what the target did; where a signal came first with EINTR, or again (A13)."""
    gift = world.gifts[key]
    if not gift.done:
        take_gift_back(world, gift)
        _end_gift(world, task, gift, -errno.EINTR)
        if goes_on_after(world, task):
            fd, id, source, flags, at, more, size = gift.asked
            begin_give(
                world, task, fd, id, source, flags=flags, newfd=at, newfd_flags=more, size=size
            )
    else:
        _end_gift(world, task, gift, gift.result)
