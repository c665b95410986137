"""What is done with a listener: RECV, SEND, ID_VALID, SET_FLAGS, and poll.

RECV may sleep, and so may ADDFD (`giving`). They go on by a step (`wake_caller`), as the target's
side does.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum
from typing import Final

from unotify.abi.seccomp import ListenerFlag, ResponseFlag
from unotify.testing.facility.descriptors import end_call
from unotify.testing.facility.ending import sleeps_killable
from unotify.testing.facility.giving import end_give
from unotify.testing.facility.listeners import find, listener_of, lock_gives_way
from unotify.testing.facility.looking import end_read, reader_would_wake
from unotify.testing.facility.rules import check, effect, first
from unotify.testing.facility.signals import fatal, goes_on_after, interrupted
from unotify.testing.facility.state import Filter, Note, NoteState, Task, World
from unotify.testing.facility.tasks import number_for, users
from unotify.testing.facility.traits import Trait

__all__ = [
    "ERR",
    "HUP",
    "IN",
    "OUT",
    "Buffer",
    "begin_receive",
    "caller_would_wake",
    "edge",
    "is_valid",
    "poll",
    "send",
    "set_flags",
    "wake_caller",
]

IN, OUT, ERR, HUP = 1, 4, 8, 16


class Buffer(Enum):
    """What RECV is given to write to."""

    CLEAN = "clean"
    DIRTY = "dirty"
    NULL = "null"
    READ_ONLY = "read-only"
    """All zero, and cannot be written to."""


# -- RECV --------------------------------------------------------------------------


@check("N5")
def buffer_is_readable(world: World, buffer: Buffer) -> int:
    """NULL is EFAULT at once, without waiting."""
    return errno.EFAULT if buffer is Buffer.NULL else 0


@check("N5")
def buffer_is_zero(world: World, buffer: Buffer) -> int:
    """A buffer that is not all zero is EINVAL, since 5.5; nothing is consumed."""
    return errno.EINVAL if buffer is Buffer.DIRTY and world.has(Trait.CLEAN_BUFFER) else 0


_BUFFER: Final = (buffer_is_readable, buffer_is_zero)


def begin_receive(world: World, task: Task, fd: int, buffer: Buffer = Buffer.CLEAN) -> None:
    """RECV: `Task.result` is 0 and `Task.received` the notification, or it sleeps (N7)."""
    task.result, task.received = None, None
    found = listener_of(world, task, fd)
    if isinstance(found, int):
        task.result = found
    elif error := first(_BUFFER, world, buffer):
        task.result = error
    else:
        file, filter = found
        file.held += 1
        task.doing = ("receiving", file.key, filter.key, buffer)
        if receiver_may_go(world, filter):
            _receive(world, task)


@effect("N7", "N8", "N1", otherwise=False)
def receiver_may_go(world: World, filter: Filter) -> bool:
    """RECV waits until there has been a notification for it, whatever became of that one."""
    return filter.requests > 0 or nobody_is_left(world, filter)


@effect("E6", otherwise=False)
def nobody_is_left(world: World, filter: Filter) -> bool:
    """RECV ends when nobody uses the filter any more, since 6.11."""
    return world.has(Trait.RECV_ENDS) and not users(world, filter)


def _receive(world: World, task: Task) -> None:
    _, file, key, buffer = task.doing
    filter = world.filters[key]
    if not nobody_is_left(world, filter):
        take_request(filter)
    note = oldest(world, filter)
    if note is None:
        end_call(world, task, file, nothing_to_receive())
        return
    mark_sent(note)
    if buffer is Buffer.READ_ONLY:
        put_back(world, filter, note)
        end_call(world, task, file, -errno.EFAULT)
        return
    target = world.tasks[note.task]
    seen = number_for(world, target, task)
    task.received = (note.id, seen, 0, *note.data)
    end_call(world, task, file, 0)


@effect("N8")
def take_request(filter: Filter) -> None:
    """Each RECV uses up one wake-up."""
    filter.requests -= 1


@effect("N2", "R2", otherwise=None)
def oldest(world: World, filter: Filter) -> Note | None:
    """The oldest notification that nobody has received."""
    for key in filter.notes:
        if world.notes[key].state == NoteState.INIT:
            return world.notes[key]
    return None


@effect("N8", otherwise=0)
def nothing_to_receive() -> int:
    """A wake-up whose notification has died is ENOENT."""
    return -errno.ENOENT


@effect("N2", "N9")
def mark_sent(note: Note) -> None:
    """RECV makes a notification SENT: nobody else receives it."""
    note.state = NoteState.SENT


@effect("N6")
def put_back(world: World, filter: Filter, note: Note) -> None:
    """A buffer that cannot be written to: the notification can be received again."""
    if sleeps_killable(world, note):
        note.done += 1  # it may sleep as one that was received
    note.state = NoteState.INIT
    filter.requests += 1
    filter.arrivals += 1


# -- SEND, ID_VALID, SET_FLAGS -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Response:
    """A ``seccomp_notif_resp``; *readable* is false for a bad pointer."""

    id: int
    value: int
    error: int
    flags: int
    readable: bool = True


@check("N10")
def response_is_readable(world: World, filter: Filter, response: Response) -> int:
    """A bad pointer is EFAULT."""
    return 0 if response.readable else errno.EFAULT


@check("N10", "C5")
def response_flags_are_known(world: World, filter: Filter, response: Response) -> int:
    """Unknown flags are EINVAL, before the id is looked at; before 5.5 CONTINUE is one."""
    known = int(ResponseFlag.CONTINUE) if world.has(Trait.CONTINUE) else 0
    return errno.EINVAL if response.flags & ~known else 0


@check("N10")
def continue_is_bare(world: World, filter: Filter, response: Response) -> int:
    """CONTINUE with a value or an error is EINVAL."""
    bare = not (response.value or response.error)
    return errno.EINVAL if response.flags & ResponseFlag.CONTINUE and not bare else 0


@check("N10", "I10")
def somebody_waits(world: World, filter: Filter, response: Response) -> int:
    """An id that is unknown, or gone, is ENOENT."""
    return errno.ENOENT if find(world, filter, response.id) is None else 0


@check("N10")
def answered_once(world: World, filter: Filter, response: Response) -> int:
    """A notification that is not received, or is answered already, is EINPROGRESS."""
    note = find(world, filter, response.id)
    return errno.EINPROGRESS if note is not None and note.state != NoteState.SENT else 0


_SEND: Final = (
    response_is_readable,
    response_flags_are_known,
    continue_is_bare,
)
_WAITING: Final = (somebody_waits, answered_once)


def send(
    world: World,
    task: Task,
    fd: int,
    id: int,
    value: int = 0,
    error: int = 0,
    flags: int = 0,
    *,
    readable: bool = True,
) -> int:
    """SEND: 0 or a negative errno."""
    found = listener_of(world, task, fd)
    if isinstance(found, int):
        return found
    response = Response(id, value, error, flags, readable)
    if refused := first(_SEND, world, found[1], response):
        return refused
    if refused := lock_gives_way(world, task, found[1]) or first(
        _WAITING, world, found[1], response
    ):
        return refused
    note = find(world, found[1], id)
    assert note is not None
    reply(note, response)
    return 0


@effect("N2", "N3", "N12")
def reply(note: Note, response: Response) -> None:
    """SEND makes it REPLIED and wakes the target, whoever has received it, in any order."""
    note.state = NoteState.REPLIED
    note.value, note.error, note.flags = response.value, response.error, response.flags
    note.done += 1


@effect("N9", otherwise=0)
def not_sent_is_invalid(note: Note | None) -> int:
    """ID_VALID is ENOENT for all but a notification that is received and not answered."""
    return 0 if note is not None and note.state == NoteState.SENT else -errno.ENOENT


def is_valid(world: World, task: Task, fd: int, id: int) -> int:
    """ID_VALID: 0 or a negative errno."""
    found = listener_of(world, task, fd)
    if isinstance(found, int):
        return found
    interrupted_ = lock_gives_way(world, task, found[1])
    return interrupted_ or not_sent_is_invalid(find(world, found[1], id))


@check("W1", "W3")
def listener_flags_are_known(world: World, flags: int) -> int:
    """SET_FLAGS takes a mask by value, since 6.6; bits other than the first are EINVAL."""
    unknown = flags & ~int(ListenerFlag.SYNC_WAKE_UP)
    return errno.EINVAL if unknown or not world.has(Trait.SYNC_WAKE_UP) else 0


def set_flags(world: World, task: Task, fd: int, flags: int) -> int:
    """SET_FLAGS: 0 or a negative errno; its effect is scheduling alone (W2)."""
    found = listener_of(world, task, fd)
    if isinstance(found, int):
        return found
    if refused := listener_flags_are_known(world, flags):
        return -refused
    if refused := lock_gives_way(world, task, found[1]):
        return refused
    found[1].flags = flags
    return 0


# -- steps -------------------------------------------------------------------------


def caller_would_wake(world: World, task: Task) -> bool:
    """Whether a thread that sleeps in RECV, in ADDFD, or before a page can go on."""
    match task.doing:
        case ("receiving", _, filter, _):
            return receiver_may_go(world, world.filters[filter]) or interrupted(world, task)
        case ("giving", gift):
            return world.gifts[gift].done or interrupted(world, task)
        case ("reading", *_):
            return reader_would_wake(world, task)
    return False


def wake_caller(world: World, task: Task) -> None:
    """Make the step; a call that a signal interrupts is EINTR, or made again (I12, A13)."""
    match task.doing:
        case ("receiving", file, filter, _):
            if receiver_may_go(world, world.filters[filter]) and not fatal(task):
                _receive(world, task)
            elif not (world.has(Trait.RECV_RESTARTS) and goes_on_after(world, task)):
                end_call(world, task, file, -errno.EINTR)
        case ("giving", key):
            end_give(world, task, key)
        case ("reading", *_):
            end_read(world, task)


# -- poll --------------------------------------------------------------------------


@effect("E1", otherwise=0)
def in_bit(world: World, filter: Filter) -> int:
    """POLLIN: something has not been received."""
    return IN if any(world.notes[key].state == NoteState.INIT for key in filter.notes) else 0


@effect("E1", "E2", otherwise=0)
def out_bit(world: World, filter: Filter) -> int:
    """POLLOUT: something is received and not answered."""
    return OUT if any(world.notes[key].state == NoteState.SENT for key in filter.notes) else 0


@effect("E3", "E4", "E5", "E7", otherwise=0)
def hup_bit(world: World, filter: Filter) -> int:
    """POLLHUP, since 5.9: no task uses the filter any more."""
    return HUP if world.has(Trait.HANGUP) and not users(world, filter) else 0


@effect("E10", otherwise=0)
def err_bit(world: World, task: Task, filter: Filter) -> int:
    """POLLERR, and nothing else: a signal came while poll waited for the listener's lock."""
    return ERR if lock_gives_way(world, task, filter) else 0


def edge(world: World, filter: Filter, seen: int) -> bool:
    """Whether who polls for edges has an event, having seen *seen* arrivals before (E8).

    One for all arrivals since, if there is still something to receive.
    """
    return filter.arrivals != seen and bool(in_bit(world, filter))


def poll(world: World, task: Task, fd: int) -> int:
    """The bits of a listener; a negative errno if it is none."""
    found = listener_of(world, task, fd)
    if isinstance(found, int):
        return found
    filter = found[1]
    if err_bit(world, task, filter):
        return ERR
    return in_bit(world, filter) | out_bit(world, filter) | hup_bit(world, filter)
