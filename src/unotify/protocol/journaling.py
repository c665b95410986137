"""In which order a listener and its journal are used, so that no call is lost with a supervisor.

Theory of operation. A journal has slots, in memory that outlives the process. RECV writes into a
slot that nothing else uses; the slot is emptied after SEND, never before. So at each moment what
was received and not answered is in a slot. Who finds the journal of a supervisor that has ended
asks of each slot whether its target still waits: if not, the answer was given, or the notification
was never quite received. What is left is decided again.

Pure: the kernel's listener, the simulated one, and the model that is explored with deaths at each
step (``tests/unit/oci``) have this order in common.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple, Protocol

from unotify.abi.structs import NotifSizes
from unotify.abi.types import NotificationId
from unotify.errors import TargetGone
from unotify.protocol.codec import pad_response
from unotify.protocol.exchange import Exchange
from unotify.protocol.replies import Fail

__all__ = ["MOST_TRIES", "Entry", "Journaling", "Slots"]

MOST_TRIES: Final = 5
"""How many supervisors may begin to serve a call; who comes after them refuses it."""

_id_of = Struct("=Q").unpack_from


class Entry(NamedTuple):
    """A notification that a journal was left with.

    Attributes:
        slot: Where it is.
        notification: A ``struct seccomp_notif``.
        tries: How many have begun to serve it again.
    """

    slot: int
    notification: bytes
    tries: int


class Slots(Protocol):
    """A journal."""

    def take(self) -> int | None:
        """A free slot, all zero; ``None`` if there is none: `grow`."""

    def put_back(self, slot: int) -> None:
        """Empty *slot*: it is free again. Nothing happens once closed."""

    def write(self, slot: int, notification: bytes) -> None:
        """Put *notification*, which somebody else has received, into *slot*."""

    def grow(self) -> None:
        """Make more slots."""

    def entries(self) -> list[Entry]:
        """All slots that are not empty."""

    def tried(self, slot: int) -> None:
        """Note that one more begins to serve what is in *slot*."""


class Journaling(ABC):
    """Receives into a journal, and answers; the part of a listener that is the same everywhere.

    Attributes:
        journal: It.
        sizes: The kernel's struct sizes.
        most_tries: See `MOST_TRIES`.
    """

    __slots__ = ()

    most_tries = MOST_TRIES

    journal: Slots
    sizes: NotifSizes
    _slots: dict[int, int]

    # -- what it stands on -----------------------------------------------------

    @abstractmethod
    def _receive_at(self, slot: int) -> bytes | memoryview | None:
        """RECV into *slot*, and what is there then; ``None``: there was nothing (N8)."""

    @abstractmethod
    def _answer(self, response: bytes | bytearray) -> bool:
        """SEND; False if nobody waits."""

    @abstractmethod
    def _give(self, id: NotificationId, fd: int, *, at: int | None, cloexec: bool) -> int:
        """ADDFD."""

    @abstractmethod
    def is_valid(self, id: NotificationId) -> bool:
        """Whether the target still waits for *id*, received and not answered (N9)."""

    # -- while it is served ----------------------------------------------------

    @property
    def under_way(self) -> int:
        """How many calls were received and not answered."""
        return len(self._slots)

    def receive_into(self, buffer: bytearray) -> bool:
        """Receive the oldest pending notification; as `unotify.kernel.interface.Listener`.

        It is in the journal as soon as the kernel has handed it out.

        Raises:
            KernelError: As there; ENOMEM: the journal is full and cannot grow.
        """
        slot = self._room()
        try:
            found = self._receive_at(slot)
        except Exception:
            self.journal.put_back(slot)
            raise
        if found is None:
            self.journal.put_back(slot)
            return False
        buffer[:] = found
        self._slots[_id_of(buffer)[0]] = slot
        return True

    def send(self, response: bytes | bytearray) -> bool:
        """Answer; as of any listener. Then the journal has it no more."""
        taken = self._answer(response)
        self._forget(_id_of(response)[0])
        return taken

    def add_fd(
        self, id: NotificationId, fd: int, *, at: int | None = None, cloexec: bool = False
    ) -> int:
        """Put a copy of *fd* into the target; as of any listener."""
        try:
            return self._give(id, fd, at=at, cloexec=cloexec)
        except TargetGone:
            self._forget(id)
            raise

    def refuse(self, notification: bytes, number: int) -> bool:
        """Answer *notification* with the errno *number*; False if nobody waits for it."""
        response = Exchange(notification).answer(Fail(number))
        return self.send(pad_response(response, self.sizes))

    def _forget(self, number: int) -> None:
        slot = self._slots.pop(number, None)
        if slot is not None:
            self.journal.put_back(slot)

    def note(self, notification: bytes) -> None:
        """Write down what somebody else has received, and is to be answered here."""
        slot = self._room()
        self.journal.write(slot, notification)
        self.adopt(slot, notification)

    def adopt(self, slot: int, notification: bytes) -> None:
        """Answer here what somebody else has received into *slot*, which nobody else uses."""
        self._slots[_id_of(notification)[0]] = slot

    def _room(self) -> int:
        slot = self.journal.take()
        while slot is None:
            self._make_room()
            slot = self.journal.take()
        return slot

    def _make_room(self) -> None:
        # A target may die while its call is with a handler that never answers.
        gone = [id for id in list(self._slots) if not self.is_valid(NotificationId(id))]
        for number in gone:
            self._forget(number)
        if not gone:
            self.journal.grow()

    # -- after a predecessor ---------------------------------------------------

    def recover(self) -> tuple[list[bytes], list[bytes]]:
        """Look what the predecessor left; once, and before anything is received.

        Returns:
            Notifications to serve again, and those that `most_tries` supervisors have died of,
            which should be refused. Whoever does not wait any more is in neither. Before they are
            served: `try_again`.
        """
        again: list[bytes] = []
        hopeless: list[bytes] = []
        for slot, notification, tries in self.journal.entries():
            (number,) = _id_of(notification)
            # Not valid: answered, dead, or never quite received (N6, N9).
            if len(notification) == self.sizes.notif and self.is_valid(NotificationId(number)):
                self._slots[number] = slot
                (again if tries + 1 < self.most_tries else hopeless).append(notification)
            else:
                self.journal.put_back(slot)
        return again, hopeless

    def try_again(self, notifications: Sequence[bytes]) -> None:
        """Note that *notifications* are about to be served again: they may be what kills us.

        Not sooner: who ends before, for want of a socket perhaps, did not die of them.
        """
        for notification in notifications:
            slot = self._slots.get(_id_of(notification)[0])
            if slot is not None:
                self.journal.tried(slot)
