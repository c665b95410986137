"""All that the simulated kernel remembers: numbered records of plain values.

Records name each other by number, and hold nothing that can be changed in place. So the whole
world can be turned into one tuple (`World.freeze`), which is what an exploration compares, and
back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from enum import IntEnum
from operator import attrgetter
from typing import Any, Final, NamedTuple, Self

from unotify.abi.arch import Arch
from unotify.bpf import Program
from unotify.testing.facility.disk import Disk
from unotify.testing.facility.traits import LATEST, VERSIONS, Trait

__all__ = [
    "CallData",
    "File",
    "Filter",
    "Gift",
    "Inode",
    "Memory",
    "Note",
    "NoteState",
    "Process",
    "Space",
    "Table",
    "Task",
    "UserSpace",
    "World",
]


class CallData(NamedTuple):
    """``struct seccomp_data``: a call as filters and supervisors see it."""

    nr: int
    arch: int
    args: tuple[int, ...] = (0, 0, 0, 0, 0, 0)
    ip: int = 0


class NoteState(IntEnum):
    """Where a notification is in its life, by the kernel's own names."""

    INIT = 0
    SENT = 1
    REPLIED = 2


@dataclass(slots=True)
class Task:
    """A thread.

    Attributes:
        tid: Its number in the first pid namespace.
        numbers: Its number in each namespace that it is visible in.
        chain: Its newest filter; 0 for none.
        mode: As in ``/proc/PID/status``: 0, 1 strict, 2 filter.
        doing: Why it sleeps, and on what; empty while it runs.
        pending: Signals that wait for it; 0 is a wake-up without a signal (I4).
        result: What its last call returned; ``None`` while one is under way.
        received: What its last RECV was given.
        user_space: The user namespace it is in; 0 is the first one.
        tracer: Who traces it; 0 for nobody.
        traces: What it is stopped for then: see `tracing`.
        script: Calls that it still makes, in an exploration.
        scripted: Whether its results are noted.
        history: What calls have returned, if they are noted.
    """

    tid: int
    process: int
    table: int
    numbers: tuple[tuple[int, int], ...]
    chain: int = 0
    mode: int = 0
    no_new_privs: bool = False
    privileged: bool = True
    uid: int = 0
    gid: int = 0
    comm: str = "init"
    pending: tuple[int, ...] = ()
    blocked: frozenset[int] = frozenset()
    doing: tuple[Any, ...] = ()
    call: CallData | None = None
    result: int | None = 0
    received: tuple[Any, ...] | None = None
    handled: tuple[int, ...] = ()
    dead: bool = False
    groups: tuple[int, ...] = ()
    user_space: int = 0
    tracer: int = 0
    traces: frozenset[str] = frozenset()
    script: tuple[CallData, ...] = ()
    scripted: bool = False
    history: tuple[int, ...] = ()


@dataclass(slots=True)
class Process:
    """A thread group.

    Attributes:
        actions: What signals do, where that is not the default: ``(signal, kind)``, the kinds
            being ``ignore``, ``handle`` and ``restart``.
        space: The pid namespace that its new processes are in.
        active: The pid namespace that it is in itself.
        status: Its exit code, or a negative signal; ``None`` while it lives.
        limit: RLIMIT_NOFILE.
    """

    pid: int
    parent: int
    memory: int
    space: int
    active: int
    actions: tuple[tuple[int, str], ...] = ()
    pending: tuple[int, ...] = ()
    stopped: bool = False
    status: int | None = None
    reaped: bool = False
    limit: int = 1024
    exe: str = "/sbin/init"
    dumpable: bool = True


@dataclass(slots=True)
class Table:
    """A table of descriptors: ``(number, file, close-on-exec)``, in order."""

    key: int
    fds: tuple[tuple[int, int, bool], ...] = ()


@dataclass(slots=True)
class Memory:
    """An address space: ``(address, protection, bytes)`` of each mapping.

    Attributes:
        guarded: Mappings whose pages somebody delivers when they are asked for, or never (M4).
    """

    key: int
    parts: tuple[tuple[int, int, bytes], ...] = ()
    next: int = 0x10000
    guarded: tuple[int, ...] = ()


@dataclass(slots=True)
class File:
    """An open file description.

    Attributes:
        kind: ``listener``, ``file``, ``path`` (O_PATH) or ``socket``.
        name: What it was opened by.
        filter: Of a listener.
        offset: Where the next read begins.
        peer: Of a socket, the other end.
        queue: Of a socket, files that were sent and not received.
        memory: Of ``/proc/TID/mem``, the address space.
        inode: Of a file in the tree; else -1, and *content* is what it has.
        held: How many running calls or people outside hold it open.
        content: What is in it.
    """

    key: int
    kind: str
    name: str = ""
    filter: int = 0
    memory: int = 0
    inode: int = -1
    offset: int = 0
    peer: int = 0
    queue: tuple[int, ...] = ()
    held: int = 0
    content: bytes = b""


@dataclass(slots=True)
class Filter:
    """One filter of a chain, and its listener.

    Attributes:
        program: An index of `World.programs`.
        prev: The next older one; 0 for none.
        listener: Whether it has one that is open.
        arrivals: How often pollers were woken for something to receive (E8).
        requests: How often a reader may still be woken (N8).
        busy: Whether somebody holds its lock: who has a signal does not wait for it (I12).
        notes: Its notifications, the oldest first.
    """

    key: int
    program: int
    prev: int
    size: int
    listener: bool = False
    killable: bool = False
    log: bool = False
    next_id: int = 0
    requests: int = 0
    arrivals: int = 0
    flags: int = 0
    busy: bool = False
    notes: tuple[int, ...] = ()


@dataclass(slots=True)
class Note:
    """One notification.

    Attributes:
        id: What supervisors call it.
        done: How often its target may still wake (the completion's count).
        gifts: Descriptors that wait for the target, the next first.
    """

    key: int
    filter: int
    task: int
    id: int
    data: CallData
    state: NoteState = NoteState.INIT
    value: int = 0
    error: int = 0
    flags: int = 0
    done: int = 0
    gifts: tuple[int, ...] = ()


@dataclass(slots=True)
class Gift:
    """One ADDFD under way.

    Attributes:
        asked: The arguments of the call, to make it again.
    """

    key: int
    note: int
    file: int
    at: int
    exact: bool
    cloexec: bool
    answers: bool
    asked: tuple[int, ...] = ()
    taken: bool = False
    done: bool = False
    result: int = 0


@dataclass(slots=True)
class Space:
    """A pid namespace."""

    key: int
    parent: int
    next: int = 1


@dataclass(slots=True)
class UserSpace:
    """A user namespace; the first one is 0 and has no record.

    Attributes:
        owner: The user who made it.
    """

    key: int
    parent: int
    owner: int


@dataclass(slots=True)
class Inode:
    """One file, directory, link or device.

    Attributes:
        mode: Kind and permissions, as in ``st_mode``.
        data: What is in it, or where a link leads to.
        entries: Of a directory: names and inodes, in order.
        device: Of a device, ``st_rdev``.
    """

    key: int
    mode: int
    uid: int = 0
    gid: int = 0
    data: bytes = b""
    entries: tuple[tuple[str, int], ...] = ()
    device: int = 0


_RECORDS: Final = {
    "tasks": Task,
    "processes": Process,
    "tables": Table,
    "memories": Memory,
    "files": File,
    "filters": Filter,
    "notes": Note,
    "gifts": Gift,
    "spaces": Space,
    "user_spaces": UserSpace,
    "inodes": Inode,
}
_READ: Final[dict[str, Callable[[Any], Any]]] = {
    name: attrgetter(*(field.name for field in fields(cls))) for name, cls in _RECORDS.items()
}


class World:
    """One kernel and all that runs on it.

    Args:
        traits: What this kernel has; those of the latest version by default.
        arch: The machine.
        first_id: Where the ids of each listener's notifications start (N4).

    Attributes:
        audit: What the kernel has logged: ``(thread id, number, action)``.
        root: The inode that paths begin at.
        natives: What calls do, by name, where the model is asked for more than it has.
        extra: Whatever an exploration wants to remember; any hashable value.
    """

    def __init__(
        self,
        traits: Iterable[Trait] = VERSIONS[LATEST],
        *,
        arch: Arch = Arch.X86_64,
        first_id: int = (1 << 63) + 1,
    ) -> None:
        self.traits = frozenset(traits)
        self.arch = arch
        self.first_id = first_id
        self.programs: list[Program] = []
        self.verdicts: dict[tuple[int, CallData], int] = {}
        self.natives: dict[str, Callable[[World, Task, CallData], int | None]] = {}
        self.tasks: dict[int, Task] = {}
        self.processes: dict[int, Process] = {}
        self.tables: dict[int, Table] = {}
        self.memories: dict[int, Memory] = {}
        self.files: dict[int, File] = {}
        self.filters: dict[int, Filter] = {}
        self.notes: dict[int, Note] = {}
        self.gifts: dict[int, Gift] = {}
        self.spaces: dict[int, Space] = {}
        self.user_spaces: dict[int, UserSpace] = {}
        self.inodes: dict[int, Inode] = {0: Inode(0, 0o40755)}
        self.root = 0
        self.last_key = 0
        self.audit: tuple[tuple[int, int, int], ...] = ()
        self.extra: Any = ()

    def key(self) -> int:
        """A number for a new record."""
        self.last_key += 1
        return self.last_key

    def freeze(self) -> tuple[Any, ...]:
        """All of it as one value that can be compared and kept."""
        return (
            *(tuple(map(read, getattr(self, name).values())) for name, read in _READ.items()),
            self.last_key,
            self.audit,
            self.extra,
        )

    def thaw(self, frozen: tuple[Any, ...]) -> Self:
        """Another world that is as this one was when *frozen* was made of it."""
        other = object.__new__(type(self))
        for name in ("traits", "arch", "first_id", "programs", "verdicts", "natives"):
            setattr(other, name, getattr(self, name))
        for (name, cls), rows in zip(_RECORDS.items(), frozen, strict=False):
            setattr(other, name, {row[0]: cls(*row) for row in rows})
        other.last_key, other.audit, other.extra = frozen[len(_RECORDS) :]
        other.root = self.root
        return other

    @property
    def disk(self) -> Disk:
        """Files by path."""
        return Disk(self)

    def has(self, trait: Trait) -> bool:
        """Whether this kernel has *trait*."""
        return trait in self.traits

    # -- who belongs to whom -------------------------------------------------

    def process_of(self, task: Task) -> Process:
        """The process of a thread."""
        return self.processes[task.process]

    def threads(self, process: int) -> list[Task]:
        """The threads of a process that live."""
        return [task for task in self.tasks.values() if task.process == process and not task.dead]

    def memory_of(self, task: Task) -> Memory:
        """Its address space."""
        return self.memories[self.processes[task.process].memory]

    def chain(self, task: Task) -> list[Filter]:
        """Its filters, the newest first."""
        found = []
        key = task.chain
        while key:
            one = self.filters[key]
            found.append(one)
            key = one.prev
        return found
