"""What is done with a listener: RECV, SEND, ID_VALID, ADDFD, SET_FLAGS, and poll.

RECV and ADDFD may sleep. They are begun here and go on by a step (`wake_caller`), as the
target's side does.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum
from typing import Final

from unotify.abi.seccomp import AddFdFlag, ListenerFlag, ResponseFlag
from unotify.abi.structs import ADDFD_SIZE_VER0, COMMON_IOCTLS
from unotify.testing.facility.descriptors import file_at, settle_file
from unotify.testing.facility.ending import sleeps_killable
from unotify.testing.facility.rules import check, effect, first
from unotify.testing.facility.signals import fatal, interrupted
from unotify.testing.facility.state import File, Filter, Gift, Note, NoteState, Task, World
from unotify.testing.facility.tasks import number_for, users
from unotify.testing.facility.traits import Trait

__all__ = [
    "HUP",
    "IN",
    "OUT",
    "Buffer",
    "begin_give",
    "begin_receive",
    "caller_would_wake",
    "edge",
    "ioctl_number",
    "is_valid",
    "poll",
    "send",
    "set_flags",
    "wake_caller",
]

IN, OUT, HUP = 1, 4, 16
_O_CLOEXEC: Final = 0o2000000
_PAGE: Final = 4096


class Buffer(Enum):
    """What RECV is given to write to."""

    CLEAN = "clean"
    DIRTY = "dirty"
    NULL = "null"
    READ_ONLY = "read-only"
    """All zero, and cannot be written to."""


# -- which ioctl -------------------------------------------------------------------


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
        _end_call(world, task, file, nothing_to_receive())
        return
    mark_sent(note)
    if buffer is Buffer.READ_ONLY:
        put_back(world, filter, note)
        _end_call(world, task, file, -errno.EFAULT)
        return
    target = world.tasks[note.task]
    seen = number_for(world, target, task)
    task.received = (note.id, seen, 0, *note.data)
    _end_call(world, task, file, 0)


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


def _end_call(world: World, task: Task, file: int, result: int) -> None:
    task.doing, task.result = (), result
    world.files[file].held -= 1
    settle_file(world, file)


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
    somebody_waits,
    answered_once,
)


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
    return found if isinstance(found, int) else not_sent_is_invalid(find(world, found[1], id))


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
    found[1].flags = flags
    return 0


# -- ADDFD -------------------------------------------------------------------------


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
    gift_has_a_taker,
    taker_is_unanswered,
    answer_is_alone,
)


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
    if error := first(_GIVE, world, task, filter, given):
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
    _end_call(world, task, gift.file, result)


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


# -- steps -------------------------------------------------------------------------


def caller_would_wake(world: World, task: Task) -> bool:
    """Whether a thread that sleeps in RECV or ADDFD can go on."""
    match task.doing:
        case ("receiving", _, filter, _):
            return receiver_may_go(world, world.filters[filter]) or interrupted(world, task)
        case ("giving", gift):
            return world.gifts[gift].done or interrupted(world, task)
    return False


def wake_caller(world: World, task: Task) -> None:
    """Make the step; a call that a signal interrupts is EINTR (I12, A13)."""
    match task.doing:
        case ("receiving", file, filter, _):
            if receiver_may_go(world, world.filters[filter]) and not fatal(task):
                _receive(world, task)
            else:
                _end_call(world, task, file, -errno.EINTR)
        case ("giving", key):
            gift = world.gifts[key]
            if not gift.done:
                take_gift_back(world, gift)
                _end_gift(world, task, gift, -errno.EINTR)
            else:
                _end_gift(world, task, gift, gift.result)


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
    return in_bit(world, filter) | out_bit(world, filter) | hup_bit(world, filter)
