"""The language of scenarios: what targets do, what the supervisor does, what is seen.

A scenario is a function of a `Stage`. It is written once, and played on two stages: the simulated
kernel (`tests.scenarios.simulated`) and the running one (`tests.scenarios.real`). What it asserts
is asserted on both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

from unotify.bpf.instructions import Instruction

__all__ = [
    "SCENARIOS",
    "Answer",
    "Later",
    "Listener",
    "Memory",
    "Missing",
    "Rules",
    "Scenario",
    "Seen",
    "Stage",
    "Tracer",
    "Worker",
    "scenario",
]


Rules: TypeAlias = Mapping[str, int] | Sequence[Instruction] | int | None
"""A filter: an action by call, instructions, one action for all, or no pointer."""


class Seen(NamedTuple):
    """A notification as RECV gives it."""

    id: int
    pid: int
    flags: int
    nr: int
    arch: int
    ip: int
    args: tuple[int, ...]


class Answer(NamedTuple):
    """What a call returned, as libc says it: -1 and the errno's name, or a number and ""."""

    ret: int
    errno: str = ""


class Missing(Exception):
    """What a scenario needs and a kernel has not; the model alone proves it then."""


class Later(Protocol):
    """An ioctl that may sleep, in a thread of the supervisor's."""

    def sleeps(self) -> None:
        """Wait until it does."""

    def result(self) -> Any:
        """Wait for its result: as the plain form returns it."""


class Listener(Protocol):
    """The supervisor's end."""

    def receive(self) -> Seen:
        """Wait until something pends, and receive it."""

    def recv(self, buffer: str = "clean") -> Seen | str:
        """RECV into a buffer that is clean, dirty, null or read-only: what came, or an errno."""

    def recv_later(self) -> Later:
        """RECV that sleeps."""

    def addfd_later(self, id: int, **options: Any) -> Later:
        """ADDFD that sleeps, since the target does not run."""

    def send(self, id: int, value: int = 0, error: int = 0, flags: int = 0) -> str:
        """SEND: "" or an errno."""

    def send_nothing(self) -> str:
        """SEND of a bad pointer."""

    def valid(self, id: int, *, old: bool = False) -> str:
        """ID_VALID, by its new number or the old one: "" or an errno."""

    def addfd(self, id: int, **options: Any) -> int | str:
        """ADDFD: a number or an errno. Options: flags, newfd, newfd_flags, size, dirty, source.

        *source* is ``file``, ``path`` (O_PATH), ``closed`` or ``listener``.
        """

    def set_flags(self, flags: int) -> str:
        """SET_FLAGS: "" or an errno."""

    def other(self, number: int) -> str:
        """An ioctl by its raw number, on zeros: "" or an errno."""

    def plain(self, operation: str) -> str:
        """read, write, lseek or mmap of it: "" or an errno."""

    def link(self) -> str:
        """What /proc says it is."""

    def cloexec(self) -> bool:
        """Whether the supervisor's own copy was made close-on-exec."""

    def poll(self) -> set[str]:
        """IN, OUT, HUP."""

    def edges(self) -> int:
        """Events of an edge-triggered poll since the last look; the first look begins it."""

    def until(self, *bits: str) -> None:
        """Wait until poll says just these."""

    def copy(self) -> Listener:
        """dup(2)."""

    def close(self) -> None:
        """Close it."""


class Worker(Protocol):
    """A process that does as it is told; each named thread of it waits for orders."""

    pid: int

    def install(self, rules: Rules, flags: int = 0, *, thread: str = "") -> int | str:
        """Install a filter: an action by call, one for all, or no pointer; a number or an errno."""

    def prctl(self, rules: Rules, *, thread: str = "") -> str:
        """Install a filter by the older call, which filters see: nothing, or an errno."""

    def holds(self, listener: Listener, *, compat: bool = False) -> Listener:
        """A copy of a listener for a worker that supervises; *compat*: by 32-bit calls."""

    def repeat_call(self, name: str, *args: int, times: int, alarm: float) -> None:
        """Begin a call *times* times; its results are closed, and SIGALRM comes meanwhile."""

    def failures(self) -> list[str]:
        """Wait for the end of that: the errnos of what failed."""

    def leave(self, to: str) -> None:
        """Let the thread that leads the process end alone; thread *to* takes its orders."""

    def clock(self, number: int) -> None:
        """Read a clock as libc does: by the vDSO where that has it."""

    def jump(self, address: int) -> None:
        """Call a function of the vsyscall page."""

    def ring_open(self, path: str) -> int:
        """openat2(2) through io_uring: a descriptor, or a negative errno."""

    def unshare_users(self) -> None:
        """Be in a user namespace of its own."""

    def unshare_files(self, *, thread: str = "") -> None:
        """Let a thread have a table of descriptors of its own."""

    def open(self, path: str, *, thread: str = "") -> int:
        """Open a file to be read."""

    def pages(self, data: bytes, protection: int = 3) -> int:
        """Map pages with *data*; nothing is mapped behind them."""

    def guard(self) -> int:
        """Map a page that is delivered only when it is told to."""

    def deliver(self, address: int, data: bytes) -> None:
        """Deliver it."""

    def look(self, other: Worker, address: int, length: int = 1, way: str = "vm") -> bytes | str:
        """Read another's memory, by process_vm_readv (vm), by /proc (mem); or take a descriptor.

        With ``way="fd"`` *address* is the descriptor. Bytes, or an errno.
        """

    def repeat(self, length: int, flags: int = 0) -> int | str:
        """Install a filter of *length* instructions that allows everything."""

    def strict(self, call: str = "") -> str:
        """Strict mode: "" or an errno; then it makes a call, of whose answer nobody hears."""

    def seccomp(self, operation: int, flags: int = 0, *, bare: bool = True) -> str:
        """An operation without a pointer, or (not *bare*) with a bad one; an errno or nothing."""

    def available(self, action: int) -> str:
        """GET_ACTION_AVAIL: nothing for yes, or an errno."""

    def sizes(self) -> tuple[int, ...]:
        """GET_NOTIF_SIZES."""

    def mode(self) -> int:
        """0 without seccomp, 1 strict, 2 with filters."""

    def no_new_privs(self, *, thread: str = "") -> bool:
        """Whether a thread has the bit."""

    def set_no_new_privs(self) -> None:
        """Set it."""

    def drop(self) -> None:
        """Become an ordinary user."""

    def filters(self, *, thread: str = "") -> int:
        """How many filters are in a thread's chain."""

    def thread(self, name: str) -> int:
        """Start a thread; its id."""

    def call(self, name: str | int, *args: int, thread: str = "", compat: bool = False) -> None:
        """Let a thread begin a call."""

    def answer(self, *, thread: str = "") -> Answer:
        """Wait for what it returned."""

    def waiting(self, *threads: str) -> None:
        """Wait until these sleep as notifications."""

    def text(self, data: bytes) -> int:
        """Put a string into its memory."""

    def poke(self, address: int, data: bytes, *, thread: str = "") -> None:
        """Let a thread overwrite it."""

    def close(self, fd: int) -> str:
        """Close a descriptor in there."""

    def fds(self) -> dict[int, str]:
        """Its descriptors."""

    def limit(self, files: int) -> None:
        """RLIMIT_NOFILE."""

    def handle(self, signal: int, *, restart: bool) -> None:
        """Catch a signal."""

    def ignore(self, signal: int) -> None:
        """Ignore it."""

    def handled(self) -> list[int]:
        """What has been caught."""

    def kill(self, signal: int, *, thread: str = "") -> None:
        """Send it a signal, or one of its threads."""

    def state(self, *, thread: str = "") -> str:
        """A letter."""

    def becomes(self, state: str, *, thread: str = "") -> None:
        """Wait until it is in that state."""

    def unshare_pids(self) -> None:
        """Let its next processes be in a pid namespace of their own."""

    def global_pid(self) -> int:
        """Its id as the supervisor has it."""

    def fork(self) -> Worker:
        """A process that it makes, and that takes orders too."""

    def end_thread(self, thread: str) -> None:
        """Let a thread end."""

    def ended(self) -> int:
        """Wait for the end of the process: an exit code, or a negative signal."""

    def exit(self, code: int = 0) -> None:
        """Let it end."""

    def program(self) -> int:
        """The address of the path of a program that can be executed."""


class Memory(Protocol):
    """``/proc/TID/mem``, open."""

    def read(self, address: int, length: int) -> bytes | str:
        """pread(2): bytes, or an errno."""

    def write(self, address: int, data: bytes) -> int | str:
        """pwrite(2): a length, or an errno."""


class Tracer(Protocol):
    """What the supervisor does by ptrace(2) to one thread."""

    def wait(self, call: str = "") -> int:
        """Wait for its stop: at the entry of *call*, or where a filter says TRACE; its data."""

    def interrupt(self) -> None:
        """PTRACE_INTERRUPT, and wait for the stop."""

    def quiet(self) -> bool:
        """Whether there is no stop now."""

    def go_on(self, call: str = "", *args: int, value: int | None = None) -> None:
        """Let it go on: with its call, with another, or with a value instead of any.

        It is stopped at no further entry.
        """

    def metadata(self, offset: int) -> int | str:
        """PTRACE_SECCOMP_GET_METADATA: flags of a filter, or an errno."""

    def detach(self) -> None:
        """PTRACE_DETACH."""


class Stage(Protocol):
    """A kernel, and a supervisor on it."""

    real: bool

    def worker(self) -> Worker:
        """A new process."""

    def take(self, worker: Worker, fd: int) -> Listener:
        """Take a worker's listener over; its own copy is closed."""

    def supervised(self, *names: str, flags: int = 0) -> tuple[Worker, Listener]:
        """A worker with a filter that notifies of these calls, and the listener."""

    def nr(self, name: str, *, compat: bool = False) -> int:
        """A call's number."""

    def open_pidfd(self, tid: int, flags: int = 0) -> str:
        """pidfd_open(2) by the supervisor: nothing for a success, or an errno."""

    def audit(self, *, compat: bool = False) -> int:
        """The number of the architecture."""

    def look(self, worker: Worker, address: int, length: int, *, thread: str = "") -> bytes | str:
        """process_vm_readv(2) by the supervisor: bytes, or an errno."""

    def look_later(self, worker: Worker, address: int, length: int) -> Later:
        """The same in a thread, since it may sleep."""

    def memory(self, worker: Worker) -> Memory:
        """Open ``/proc/TID/mem``."""

    def take_fd(self, worker: Worker, fd: int, *, thread: str = "", whole: bool = False) -> str:
        """pidfd_getfd(2), through the thread or (*whole*) the process: its link, or an errno."""

    def same_file(self, worker: Worker, fd: int) -> bool:
        """kcmp(2): whether a descriptor of a worker is what is given as *file*."""

    def audited(self, worker: Worker) -> int:
        """How many answered calls of a worker the kernel has logged since the last look."""

    def starved(self, worker: Worker) -> AbstractContextManager[None]:
        """A time in which a worker's process does not run."""

    def trace(self, worker: Worker, *traces: str) -> Tracer:
        """PTRACE_SEIZE; *traces* are ``entries`` and ``filters``."""

    def offset(self) -> int:
        """Where the next read of what is given as *file* begins, as the supervisor sees it."""

    def close(self) -> None:
        """End all."""


@dataclass(frozen=True)
class Scenario:
    """One scenario."""

    name: str
    facts: tuple[str, ...]
    play: Callable[[Stage], None]
    root: bool = False
    """Whether an ordinary user cannot play it on the running kernel."""


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    *facts: str, root: bool = False
) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    """Make a function a scenario for these statements."""

    def decorate(play: Callable[[Stage], None]) -> Callable[[Stage], None]:
        name = play.__name__
        assert name not in SCENARIOS, name
        SCENARIOS[name] = Scenario(name, facts, play, root)
        return play

    return decorate


def of_facts(scenarios: Iterable[Scenario]) -> dict[str, list[str]]:
    """The names of the scenarios of each statement."""
    found: dict[str, list[str]] = {}
    for one in scenarios:
        for fact in one.facts:
            found.setdefault(fact, []).append(one.name)
    return found
