"""How a notification's sleep can end, on the target's side."""

from __future__ import annotations

import errno

from unotify.testing.facility.rules import effect
from unotify.testing.facility.state import Note, NoteState, World
from unotify.testing.facility.traits import Trait

__all__ = ["end_note", "sleeps_killable"]


@effect("I5", "I6", "I8", otherwise=False)
def sleeps_killable(world: World, note: Note) -> bool:
    """With WAIT_KILLABLE_RECV, once received, only what kills ends the wait."""
    killable = world.filters[note.filter].killable
    if world.has(Trait.FAST_REPLY):
        return killable and note.state >= NoteState.SENT
    return killable and note.state == NoteState.SENT


def end_note(world: World, note: Note) -> None:
    """Nobody sleeps as *note* any more."""
    forget_gifts(world, note)
    unlink(world, note)
    world.notes.pop(note.key, None)


@effect("A12")
def forget_gifts(world: World, note: Note) -> None:
    """Descriptors that the target has not taken are ESRCH for whoever gave them."""
    for key in note.gifts:
        gift = world.gifts[key]
        gift.result, gift.done = -errno.ESRCH, True
    note.gifts = ()


@effect("N2", "N10", "I9")
def unlink(world: World, note: Note) -> None:
    """The listener does not know it any more."""
    filter = world.filters[note.filter]
    filter.notes = tuple(key for key in filter.notes if key != note.key)
