"""A listener with a journal on the simulated kernel: what one supervisor leaves to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unotify.abi.structs import NOTIF_SIZES
from unotify.abi.types import NotificationId
from unotify.kernel.interface import Listener
from unotify.protocol.journaling import Entry, Journaling
from unotify.testing.facility import descriptors
from unotify.testing.listener import SimulatedListener

if TYPE_CHECKING:
    from unotify.testing.kernel import SimulatedKernel

__all__ = [
    "SimulatedJournal",
    "SimulatedJournaledListener",
    "SimulatedMemory",
    "journaled",
    "revive",
]

_NAME = "/memfd:unotify-journal (deleted)"

_FIRST = 2
"""Slots of a new journal: few, so that it has to grow now and then."""


class SimulatedMemory:
    """What is in a journal: memory that outlives whoever uses it.

    Attributes:
        record: What is said of the listener.
        slots: Notifications, and how often each was tried again.
    """

    def __init__(self) -> None:
        self.record = b""
        self.slots: list[tuple[bytes, int]] = [(b"", 0)] * _FIRST


class SimulatedJournal:
    """One supervisor's use of such memory; implements `unotify.protocol.journaling.Slots`."""

    def __init__(self, kernel: SimulatedKernel, fd: int, memory: SimulatedMemory) -> None:
        self._kernel = kernel
        self._fd = fd
        self._memory = memory
        self._free = [slot for slot, (held, _) in enumerate(memory.slots) if not held]

    @property
    def record(self) -> bytes:
        """What is said of the listener."""
        return self._memory.record

    @record.setter
    def record(self, record: bytes) -> None:
        self._memory.record = record

    def fileno(self) -> int:
        """Its number inside the facility, -1 once closed."""
        return self._fd

    def take(self) -> int | None:
        """A free slot; ``None`` if there is none."""
        return self._free.pop() if self._free else None

    def put_back(self, slot: int) -> None:
        """Empty *slot*: it is free again. Nothing happens once closed."""
        if self._fd >= 0:
            self._memory.slots[slot] = b"", 0
            self._free.append(slot)

    def write(self, slot: int, notification: bytes) -> None:
        """Put *notification* into *slot*."""
        self._memory.slots[slot] = notification, 0

    def grow(self) -> None:
        """Make as many slots again as there are."""
        count = len(self._memory.slots)
        self._memory.slots += [(b"", 0)] * count
        self._free += range(count, 2 * count)

    def entries(self) -> list[Entry]:
        """All slots that are not empty."""
        return [
            Entry(slot, held, tries)
            for slot, (held, tries) in enumerate(self._memory.slots)
            if held
        ]

    def tried(self, slot: int) -> None:
        """Note that one more begins to serve what is in *slot*."""
        held, tries = self._memory.slots[slot]
        self._memory.slots[slot] = held, tries + 1

    def close(self) -> None:
        """Close it here; other copies of the descriptor keep what is in it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            descriptors.close(self._kernel.world, self._kernel.supervisor, fd)


class SimulatedJournaledListener(Journaling, SimulatedListener):
    """A `SimulatedListener` with a journal.

    Args:
        kernel: Whose it is.
        fd: Its number inside the facility; taken over.
        filter: Which filter's it is.
        journal: Its journal; taken over.
    """

    journal: SimulatedJournal
    sizes = NOTIF_SIZES

    def __init__(
        self, kernel: SimulatedKernel, fd: int, filter: int, journal: SimulatedJournal
    ) -> None:
        SimulatedListener.__init__(self, kernel, fd, filter)
        self.journal = journal
        self._slots: dict[int, int] = {}

    _answer = SimulatedListener.send

    def _give(self, id: NotificationId, fd: int, *, at: int | None, cloexec: bool) -> int:
        return SimulatedListener.add_fd(self, id, fd, at=at, cloexec=cloexec)

    is_valid = SimulatedListener.is_valid

    def _receive_at(self, slot: int) -> bytes | None:
        buffer = bytearray(self.sizes.notif)
        if not SimulatedListener.receive_into(self, buffer):
            return None
        # As part of RECV: here nobody dies in between.
        self.journal.write(slot, bytes(buffer))
        return bytes(buffer)

    def close(self) -> None:
        """Close both. Other copies keep them alive (R3)."""
        with self._kernel.changed:
            super().close()
            self.journal.close()


def journaled(kernel: SimulatedKernel, listener: Listener) -> SimulatedJournaledListener | None:
    """The same with a new journal; ``None`` if it has one, or is of another kind."""
    if type(listener) is not SimulatedListener:
        return None
    memory = SimulatedMemory()
    with kernel.changed:
        file = descriptors.new_file(kernel.world, "file", _NAME)
        kernel.memories[file.key] = memory
        journal = SimulatedJournal(kernel, kernel.place(file), memory)
        fd, listener._fd = listener._fd, -1
        return SimulatedJournaledListener(kernel, fd, listener.filter, journal)


def revive(kernel: SimulatedKernel, fds: Sequence[int]) -> SimulatedJournaledListener | None:
    """A listener of copies of its descriptor and of its journal's, in any order."""
    with kernel.changed:
        listening: list[tuple[int, int]] = []
        kept: list[tuple[int, SimulatedMemory]] = []
        for fd in fds:
            file = descriptors.file_at(kernel.world, kernel.supervisor, fd)
            if file is not None and file.kind == "listener":
                listening.append((fd, file.filter))
            elif file is not None and file.key in kernel.memories:
                kept.append((fd, kernel.memories[file.key]))
        if len(fds) != 2 or len(listening) != 1 or len(kept) != 1:
            return None
        journal = SimulatedJournal(kernel, *kept[0])
        return SimulatedJournaledListener(kernel, *listening[0], journal)
