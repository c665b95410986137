"""A thread that sleeps as a notification: how that begins, and what it is given and told."""

from __future__ import annotations

from unotify.abi.seccomp import Action, ResponseFlag
from unotify.testing.facility.descriptors import receive_exactly, receive_lowest
from unotify.testing.facility.rules import effect
from unotify.testing.facility.state import CallData, Filter, Note, NoteState, Task, World

__all__ = ["begin_note", "continues", "log_reply", "note_of", "result_of", "take_gift"]


def begin_note(world: World, task: Task, call: CallData, filter: Filter) -> bool:
    """Become a notification, and sleep; ``False`` where nobody can be asked."""
    if has_no_listener(filter):
        return False
    note = Note(world.key(), filter.key, task.tid, next_id(filter), call)
    world.notes[note.key] = note
    filter.notes += (note.key,)
    count_request(filter)
    count_arrival(filter)
    task.doing = ("notified", note.key, False)
    return True


@effect("F5", "F6", "R4", "R8", otherwise=False)
def has_no_listener(filter: Filter) -> bool:
    """The winner's own listener is asked; where it has none, or no more, the call is ENOSYS."""
    return not filter.listener


@effect("N4", otherwise=1)
def next_id(filter: Filter) -> int:
    """Ids count up, 64 bits wide, and come again only after all others."""
    found = filter.next_id
    filter.next_id = (found + 1) & (1 << 64) - 1
    return found


@effect("N1")
def count_request(filter: Filter) -> None:
    """A new notification wakes a reader."""
    filter.requests += 1


@effect("E8")
def count_arrival(filter: Filter) -> None:
    """A new notification is one edge for those who poll for edges."""
    filter.arrivals += 1


def note_of(world: World, task: Task) -> Note | None:
    """The notification that a thread sleeps as."""
    if task.doing and task.doing[0] in ("notified", "interrupted"):
        return world.notes[task.doing[1]]
    return None


def take_gift(world: World, task: Task, note: Note) -> None:
    """Put one descriptor in, in the target's own context (A2), and tell whoever gave it."""
    gift, note.gifts = world.gifts[note.gifts[0]], note.gifts[1:]
    place = receive_exactly if gift.exact else receive_lowest
    fd = place(world, task, gift)
    gift.result, gift.taken, gift.done = fd, True, True
    if gift.answers:
        answer_by_gift(note, fd)


@effect("A10", "A15")
def answer_by_gift(note: Note, fd: int) -> None:
    """ADDFD_FLAG_SEND answers with the number; if nothing was installed, it still waits."""
    if fd < 0:
        note.state = NoteState.SENT
    else:
        note.value, note.error, note.flags = fd, 0, 0


@effect("C1", otherwise=False)
def continues(note: Note) -> bool:
    """CONTINUE runs the call with its registers as they were; no filter runs again."""
    return bool(note.flags & ResponseFlag.CONTINUE)


@effect("C6")
def log_reply(world: World, task: Task, call: CallData) -> None:
    """With FLAG_LOG a reply is audited, a CONTINUE is not."""
    world.audit += ((task.tid, call.nr, int(Action.USER_NOTIF)),)


@effect("V1", "V2", "V3", "V4", "V6", otherwise=0)
def result_of(note: Note) -> int:
    """The error if there is one, of whatever sign, or else the value."""
    return note.error or note.value
