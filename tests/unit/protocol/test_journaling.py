"""The order in which a listener and its journal are used."""

from __future__ import annotations

import pytest

from unotify.abi.structs import NOTIF, NOTIF_SIZES, RESPONSE
from unotify.abi.types import NotificationId
from unotify.errors import KernelError, TargetGone
from unotify.protocol.journaling import MOST_TRIES, Entry, Journaling


def notification(id: int) -> bytes:
    """A ``struct seccomp_notif``."""
    return NOTIF.pack(id, 1, 0, 39, 0xC000003E, 0, *range(6))


class Plain:
    """A journal of two slots that says what is done with it."""

    def __init__(self, told: list[str]) -> None:
        self.told = told
        self.slots = [(b"", 0), (b"", 0)]
        self.free = [1, 0]

    def take(self) -> int | None:
        """A slot."""
        return self.free.pop() if self.free else None

    def put_back(self, slot: int) -> None:
        """Empty it."""
        self.told.append(f"empty {slot}")
        self.slots[slot] = b"", 0
        self.free.append(slot)

    def write(self, slot: int, notification: bytes) -> None:
        """Fill it."""
        self.slots[slot] = notification, 0

    def grow(self) -> None:
        """More slots."""
        self.told.append("grow")
        self.free.append(len(self.slots))
        self.slots.append((b"", 0))

    def entries(self) -> list[Entry]:
        """What is in them."""
        return [Entry(slot, *held) for slot, held in enumerate(self.slots) if held[0]]

    def tried(self, slot: int) -> None:
        """One more try."""
        self.slots[slot] = self.slots[slot][0], self.slots[slot][1] + 1


class Listener(Journaling):
    """A listener that says what is done with it."""

    sizes = NOTIF_SIZES
    journal: Plain

    def __init__(self, *ids: int) -> None:
        self.told: list[str] = []
        self.journal = Plain(self.told)
        self._slots = {}
        self.pending = list(ids)
        self.valid: set[int] = set()
        self.error: Exception | None = None

    def _receive_at(self, slot: int) -> bytes | None:
        if self.error:
            raise self.error
        if not self.pending:
            return None
        self.valid.add(self.pending[0])
        self.journal.write(slot, notification(self.pending.pop(0)))
        return self.journal.slots[slot][0]

    def _answer(self, response: bytes | bytearray) -> bool:
        id, _, error, _ = RESPONSE.unpack(response)
        self.told.append(f"answer {id} {error}")
        waits = id in self.valid
        self.valid.discard(id)
        return waits

    def _give(self, id: NotificationId, fd: int, *, at: int | None, cloexec: bool) -> int:
        if id not in self.valid:
            raise TargetGone("gone")
        return 9

    def is_valid(self, id: NotificationId) -> bool:
        """Whether it waits."""
        return id in self.valid

    def receive(self) -> bool:
        """Receive one."""
        return self.receive_into(bytearray(NOTIF.size))

    def answer(self, id: int) -> bool:
        """Answer it."""
        return self.send(RESPONSE.pack(id, 0, 0, 0))


def test_a_slot_is_emptied_after_the_answer() -> None:
    """Never before: who dies in between leaves a slot that nobody waits for."""
    listener = Listener(7)
    assert listener.receive()
    assert listener.under_way == 1
    assert listener.answer(7)
    assert listener.told == ["answer 7 0", "empty 0"]
    assert listener.under_way == 0
    assert not listener.answer(7)


def test_nothing_and_errors_leave_no_slot_in_use() -> None:
    """RECV that finds nothing, or fails, gives its slot back."""
    listener = Listener()
    assert not listener.receive()
    listener.error = KernelError(22, "ioctl(SECCOMP_IOCTL_NOTIF_RECV)")
    with pytest.raises(KernelError):
        listener.receive()
    assert len(listener.journal.free) == 2


def test_room_is_made_of_the_dead_and_then_by_growing() -> None:
    """A target may die while its handler never answers; else there are more slots."""
    listener = Listener(1, 2, 3, 4)
    assert listener.receive()
    assert listener.receive()
    listener.valid.discard(2)
    assert listener.receive()
    assert listener.told == ["empty 1"]
    assert listener.receive()
    assert listener.told[-1] == "grow"
    assert listener.under_way == 3


def test_a_descriptor_for_nobody() -> None:
    """ADDFD says that the target has gone: then there will be no answer."""
    listener = Listener(7)
    assert listener.receive()
    assert listener.add_fd(NotificationId(7), 3) == 9
    assert listener.under_way == 1
    listener.valid.clear()
    with pytest.raises(TargetGone):
        listener.add_fd(NotificationId(7), 3)
    assert listener.under_way == 0


def successor(of: Listener) -> Listener:
    """Whoever finds the same slots."""
    found = Listener()
    found.valid = of.valid
    found.journal.slots = list(of.journal.slots)
    found.journal.free = [slot for slot, held in enumerate(found.journal.slots) if not held[0]]
    return found


def test_only_who_waits_is_decided_again() -> None:
    """What was answered, or is dead, is emptied; what waits is given back, and can be answered."""
    listener = Listener(1, 2)
    assert listener.receive()
    assert listener.receive()
    listener.valid.discard(1)
    found = successor(listener)
    assert found.recover() == ([notification(2)], [])
    assert found.told == ["empty 0"]
    assert found.answer(2)
    assert found.told == ["empty 0", "answer 2 0", "empty 1"]


def test_what_somebody_else_received_is_written_down() -> None:
    """It is recovered like what was received here."""
    listener = Listener()
    listener.note(notification(5))
    listener.valid.add(5)
    assert successor(listener).recover() == ([notification(5)], [])


def test_tries_are_counted_when_it_is_served_again() -> None:
    """Who only looks has not died of it; after so many who served it, it is hopeless."""
    listener = Listener(7)
    assert listener.receive()
    for _ in range(MOST_TRIES - 1):
        for _ in range(3):
            assert successor(listener).recover() == ([notification(7)], [])
        listener = successor(listener)
        again, _ = listener.recover()
        listener.try_again(again)
    assert successor(listener).recover() == ([], [notification(7)])
    last = successor(listener)
    last.recover()
    assert last.refuse(notification(7), 1)
    assert last.told == ["answer 7 -1", "empty 0"]
