"""What agents have in their own memory in `restart_model`, and their listeners and journals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from unotify.abi.structs import NOTIF, NOTIF_SIZES, RESPONSE
from unotify.abi.types import NotificationId
from unotify.protocol.journaling import Entry, Journaling
from unotify.testing.facility import descriptors, listening
from unotify.testing.facility.state import World

LISTENER, JOURNAL, ASKED, ASKING = 3, 4, 5, 6
"""Descriptors of each agent: its listener, its journal, whoever asks it, whom it asks."""

NAME = "web"
SCRIPTS = ("give", "ask", "leave", "restore", "keep")
STRIDE = NOTIF.size + 1
FIRST = 2


class Killed(Exception):
    """The agent dies here."""


class Handled(NamedTuple):
    """A call that an agent has received, or got back.

    Attributes:
        word: What is to be answered.
        acted: Whether its handler has done what it does.
    """

    id: int
    thread: int
    word: int
    acted: bool = False


class Agent(NamedTuple):
    """What an agent has in its own memory.

    Attributes:
        number: The how manieth it is.
        script: What it is at: one of the protocol's, ``connect``, ``idle`` or ``left``.
        handed: What it was given by the agent before.
        came: What came of the script's steps so far.
        serving: Whether it receives.
        before: The process that it takes over from, once that has said who it is.
        free: Slots that it takes for empty, and *used* the others, by id.
        again: What it has recovered; *hopeless* likewise.
    """

    number: int
    tid: int
    script: str
    handed: tuple[str, ...] = ()
    came: tuple[Any, ...] = ()
    serving: bool = False
    before: int = 0
    free: tuple[int, ...] = ()
    used: tuple[tuple[int, int], ...] = ()
    calls: tuple[Handled, ...] = ()
    again: tuple[bytes, ...] = ()
    hopeless: tuple[bytes, ...] = ()


class Notes(NamedTuple):
    """All that is not the kernel's.

    Attributes:
        mail: What was sent by sockets and not read: the words, and with how many descriptors.
        desk: Whether an agent is with the keeper, and what that holds: names and descriptors.
        accepted: ``(id, thread, word)`` of answers that the kernel took.
        acted: How often handlers did something, by id.
        died: How many agents have ended that served a call, by id.
        excused: Whether nobody could have gone on.
        broken: What went wrong that nobody may notice.
    """

    agents: tuple[Agent, ...] = ()
    mail: tuple[tuple[int, tuple[tuple[Any, int], ...]], ...] = ()
    desk: tuple[bool, tuple[tuple[str, tuple[int, ...]], ...]] = (False, ())
    accepted: tuple[tuple[int, int, int], ...] = ()
    acted: tuple[tuple[int, int], ...] = ()
    died: tuple[tuple[int, int], ...] = ()
    budget: tuple[tuple[str, int], ...] = ()
    started: int = 1
    received: bool = False
    excused: bool = False
    broken: str = ""

    def spend(self, name: str) -> Notes:
        """One less."""
        return self._replace(budget=tuple((key, left - (key == name)) for key, left in self.budget))

    def left(self, name: str) -> int:
        """How often it may still come."""
        return dict(self.budget).get(name, 0)

    def more(self, name: str, id: int) -> Notes:
        """Count one more for *id*."""
        counts = dict(getattr(self, name))
        counts[id] = counts.get(id, 0) + 1
        return self._replace(**{name: tuple(sorted(counts.items()))})  # type: ignore[arg-type]


class ModelJournal:
    """One agent's use of a journal, which is a file of the facility."""

    def __init__(self, world: World, file: int, free: Iterable[int], spend: Callable[[], None]):
        self.world = world
        self.file = file
        self.free = sorted(free)
        self.spend = spend

    def _set(self, slot: int, data: bytes) -> None:
        file = self.world.files[self.file]
        at = slot * STRIDE
        file.content = file.content[:at] + data.ljust(STRIDE, b"\0") + file.content[at + STRIDE :]

    def held(self, slot: int) -> bytes:
        """What is in *slot*."""
        return self.world.files[self.file].content[slot * STRIDE : (slot + 1) * STRIDE]

    def take(self) -> int | None:
        """A free slot."""
        return self.free.pop(0) if self.free else None

    def put_back(self, slot: int) -> None:
        """Empty it."""
        self._set(slot, b"")
        self.free.append(slot)
        self.spend()

    def write(self, slot: int, notification: bytes) -> None:
        """Fill it."""
        self._set(slot, notification)

    def grow(self) -> None:
        """As many slots again."""
        file = self.world.files[self.file]
        count = len(file.content) // STRIDE
        file.content += bytes(count * STRIDE)
        self.free += range(count, 2 * count)

    def entries(self) -> list[Entry]:
        """What is in slots that are not empty."""
        count = len(self.world.files[self.file].content) // STRIDE
        held = [(slot, self.held(slot)) for slot in range(count)]
        return [Entry(slot, data[:-1], data[-1]) for slot, data in held if any(data)]

    def tried(self, slot: int) -> None:
        """One more try."""
        held = self.held(slot)
        self._set(slot, held[:-1] + bytes([held[-1] + 1]))
        self.spend()


class Modelled(Journaling):
    """An agent's listener: the real order, on the facility.

    Args:
        world: Where.
        agent: Whose.
        fuse: After how many things that it does the agent is killed.
    """

    sizes = NOTIF_SIZES
    journal: ModelJournal
    receiving = 0
    """After how many steps of receiving an agent may be killed; after the last of them it may be
    in any case, so for what the kernel does in one it is none."""

    def __init__(self, world: World, agent: Agent, *, fuse: int = 0) -> None:
        self.world = world
        self.task = world.tasks[agent.tid]
        self.fuse = fuse
        file = descriptors.file_at(world, self.task, JOURNAL)
        assert file is not None
        self.journal = ModelJournal(world, file.key, agent.free, self.spend)
        self._slots = dict(agent.used)

    def spend(self) -> None:
        """One thing is done."""
        self.fuse -= 1
        if not self.fuse:
            raise Killed

    def receive(self) -> bytes:
        """RECV alone; empty if there was nothing."""
        listening.begin_receive(self.world, self.task, LISTENER)
        assert not self.task.doing, "RECV blocks"
        found, self.task.received = self.task.received, None
        if found is None:
            return b""
        id, pid, flags, nr, arch, args, ip = found
        self.world.extra = self.world.extra._replace(received=True)
        return NOTIF.pack(id, pid, flags, nr, arch, ip, *args)

    def _receive_at(self, slot: int) -> bytes | None:
        if any(self.journal.held(slot)):
            # EINVAL (N5): the agent takes its listener for broken, and closes it.
            self.world.extra = self.world.extra._replace(broken="RECV into a slot that is in use")
            return None
        found = self.receive()
        if found:
            self.journal.write(slot, found)  # by the kernel, as part of RECV
        return found or None

    def _answer(self, response: bytes | bytearray) -> bool:
        id, value, error, flags = RESPONSE.unpack_from(response)
        note = next((note for note in self.world.notes.values() if note.id == id), None)
        result = listening.send(self.world, self.task, LISTENER, id, value, error, flags)
        if result == 0 and note is not None:
            notes: Notes = self.world.extra
            row = (id, note.task, value or error)
            self.world.extra = notes._replace(accepted=tuple(sorted((*notes.accepted, row))))
        self.spend()
        return result == 0

    def _give(self, id: NotificationId, fd: int, *, at: int | None, cloexec: bool) -> int:
        raise AssertionError("agents of this model give nobody a descriptor")

    def is_valid(self, id: NotificationId) -> bool:
        """Whether the target waits (N9)."""
        return listening.is_valid(self.world, self.task, LISTENER, id) == 0

    def kept(self, agent: Agent) -> Agent:
        """What the agent remembers of it."""
        return agent._replace(
            free=tuple(sorted(self.journal.free)), used=tuple(sorted(self._slots.items()))
        )


def handled(notification: bytes) -> Handled:
    """A call that has been received, and its only right answer."""
    id, pid, _, _, _, _, word, *_ = NOTIF.unpack(notification)
    return Handled(id, pid, word * 100 + id)


class Words(NamedTuple):
    """A message."""

    items: tuple[tuple[str, Any], ...]
