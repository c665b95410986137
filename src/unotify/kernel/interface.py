"""What the rooms above need from a kernel, as types.

`unotify.kernel.linux` offers it for the running Linux; a simulated kernel can
offer the same. So nothing above this room imports anything specific to an
operating system, and each ordering of events can be a unit test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Flag, IntEnum, auto
from typing import Any, Protocol, runtime_checkable

from unotify.abi.arch import Arch
from unotify.abi.features import Feature
from unotify.abi.seccomp import FilterFlag, ListenerFlag
from unotify.abi.structs import NotifSizes
from unotify.abi.types import Address, NotificationId, Tid
from unotify.calls.acts import Act
from unotify.calls.lookups import Spot
from unotify.kernel.lives import Life

__all__ = [
    "Came",
    "Done",
    "Enforcement",
    "Entering",
    "Held",
    "Kernel",
    "Listener",
    "Lookable",
    "Looking",
    "Memory",
    "Pinned",
    "Poller",
    "Process",
    "Ready",
    "Server",
    "Shortcut",
    "Spawned",
    "Thread",
]


class Ready(Flag):
    """Why a poller returned a listener."""

    PENDING = auto()
    """A notification waits to be received (POLLIN, E1)."""
    HANGUP = auto()
    """No task uses the filter any more (POLLHUP, E3)."""


class Listener(Protocol):
    """One notification descriptor. Thread-safe but for `receive_into`: see there."""

    sizes: NotifSizes
    """The kernel's struct sizes; buffers are at least this large."""

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""

    def fileno(self) -> int:
        """Return the descriptor, for the caller's own poll; -1 once closed."""

    def receive_into(self, buffer: bytearray) -> bool:
        """Receive the oldest pending notification; blocks while there is none (N7).

        *buffer* (``sizes.notif`` bytes) is zeroed first (N5). EINTR is retried
        after Python's signal handlers have run, which may raise.

        Returns:
            False on ENOENT: a notification vanished before it was received, or
            nobody uses the filter any more (N8, E6). Poll to tell which.
        """

    def send(self, response: bytes | bytearray) -> bool:
        """Send a ``seccomp_notif_resp``.

        Returns:
            False when nobody waits for it: ENOENT, or EINPROGRESS after an
            earlier reply (N10). Other errors raise :exc:`KernelError`.
        """

    def is_valid(self, id: NotificationId) -> bool:
        """Whether the target still waits for *id*, received and not answered (N9)."""

    def add_fd(
        self, id: NotificationId, fd: int, *, at: int | None = None, cloexec: bool = False
    ) -> int:
        """Put a copy of *fd* into the target; the call stays unanswered (A1-A13).

        Returns:
            The descriptor's number in the target.

        Raises:
            TargetGone: Nobody waits any more.
            KernelError: EMFILE, EBADF (A5, A7) and so on: answer with an errno.
        """

    def set_flags(self, flags: ListenerFlag) -> None:
        """Set the listener's flags; raises :exc:`Unsupported` before Linux 6.6."""

    def pending(self) -> bool:
        """Whether a notification waits to be received; never blocks."""

    def close(self) -> None:
        """Close it. The last close answers everybody who waits with ENOSYS (R3, R4)."""


class Poller(Protocol):
    """Waits for several listeners and for a wake-up from elsewhere."""

    def add(self, listener: Listener) -> None:
        """Watch *listener* too; thread-safe, effective at the next `wait`."""

    def remove(self, listener: Listener) -> None:
        """Watch it no more; thread-safe, no error if it is not watched."""

    def wait(self, timeout: float | None = None) -> Sequence[tuple[Listener, Ready]]:
        """Block until something is ready, `wake` was called or *timeout* seconds passed."""

    def peek(self, bell: Poller) -> bool:
        """Block until `wait` would return at once, here or at *bell*; takes nothing away.

        Returns:
            Whether it would here.
        """

    def fileno(self) -> int:
        """A descriptor that is readable whenever `wait` would return at once."""

    def wake(self) -> None:
        """End one `wait`, now or the next; safe in threads and signal handlers."""

    def close(self) -> None:
        """Free its descriptors."""


class Memory(Protocol):
    """One target's memory; each result is a snapshot that the target may change meanwhile."""

    def read(self, address: Address, length: int) -> bytes:
        """Read exactly *length* bytes; raises :exc:`BadAddress`, :exc:`TargetGone`."""

    def read_string(self, address: Address, limit: int) -> bytes:
        """Read up to a NUL, which is not returned; at most *limit* bytes with it.

        Raises:
            PathTooLong: No NUL within *limit*.
            BadAddress: An unreadable byte before the NUL.
        """

    def write(self, address: Address, data: bytes) -> None:
        """Write *data*; defensible only under WAIT_KILLABLE_RECV (M8)."""


class Pinned(Protocol):
    """What a path names, held so that nobody can put something else there."""

    @property
    def text(self) -> str:
        """Its path, as seen from the target's root; old at once."""

    def close(self) -> None:
        """Let it go."""


class Done(Protocol):
    """What came of an act."""

    @property
    def value(self) -> int:
        """The result, or a negative errno."""

    @property
    def fd(self) -> int:
        """A new descriptor, which is the caller's; -1 for none."""

    @property
    def outs(self) -> Mapping[str, bytes]:
        """What was written, by argument."""


class Thread(Protocol):
    """A blocked target thread, opened once and then immune to pid reuse (P8)."""

    @property
    def tid(self) -> Tid:
        """Its id, as seen from here."""

    @property
    def tgid(self) -> int:
        """The process it belongs to, as seen from here."""

    @property
    def memory(self) -> Memory:
        """Its memory."""

    def fileno(self) -> int:
        """A pidfd of the thread (of its process before Linux 6.9)."""

    def comm(self) -> str:
        """The thread's name, up to 15 characters."""

    def ids(self) -> tuple[int, int]:
        """Its effective user and group id, as our user namespace numbers them."""

    def started(self) -> int:
        """When its process started, in clock ticks: with `tgid`, a name that is not reused."""

    def exe(self) -> str:
        """The path of the program that it runs, as seen from here."""

    def cgroup(self) -> str:
        """Its path in the unified hierarchy of cgroups; empty without one."""

    def fd_kind(self, fd: int) -> str:
        """One of file, directory, socket, pipe, char, block, anon (no type), none (not open)."""

    def fd_path(self, fd: int) -> str:
        """What its descriptor *fd* is open on, as ``/proc/PID/fd`` says; empty if it is not."""

    def defer(self) -> None:
        """Ask only in `act` whether it still waits, for all that is looked at until then."""

    def forget(self) -> None:
        """Ask at once again, if `act` was never reached."""

    def pin(self, spot: Spot) -> Pinned:
        """Find out what *spot* names, and hold it; the caller closes it.

        Raises:
            Refused: The kernel would refuse the path too; has its errno.
        """

    def act(self, act: Act, pins: Mapping[str, Any]) -> Done:
        """Do *act* as this thread would, with its rights and not with ours.

        Args:
            act: What.
            pins: Paths that `pin` was asked about already, by argument.

        Raises:
            TargetGone: It does not wait any more.
            TargetError: It cannot be done; has the errno that the target gets.
        """

    def rights(self) -> Any:
        """Its credentials and umask: a `unotify.kernel.rights.Rights`."""

    def argv(self) -> tuple[bytes, ...]:
        """The arguments of its program."""

    def namespaces(self) -> dict[str, int]:
        """The inode numbers of its namespaces, by their kind."""

    def directory(self, name: str) -> str:
        """Its ``cwd`` as seen from its root, or its ``root`` as seen from ours."""

    def fd_flags(self, fd: int) -> int:
        """The flags of its descriptor *fd*, O_CLOEXEC among them; -1 if it has none."""

    def around(self, container: str | None) -> Any:
        """What surrounds it: a `unotify.kernel.surroundings.Surroundings`.

        Args:
            container: The user namespace that its container began in, as its link says; empty if
                nobody told, ``None`` for ours.
        """

    def kill(self) -> None:
        """Send SIGKILL to its process, and to no other."""

    def steal_fd(self, fd: int) -> int:
        """Duplicate the target's descriptor *fd* with pidfd_getfd(2)."""

    def close(self) -> None:
        """Free it; later use raises :exc:`TargetGone`."""


class Held(Pinned, Protocol):
    """What a path names, as descriptors of a running kernel."""

    @property
    def fd(self) -> int:
        """An O_PATH descriptor of it, or of the directory that `name` is in."""

    @property
    def name(self) -> bytes:
        """A last name that does not exist or is not looked at; empty if it is `fd` itself."""

    def require_reached(self) -> None:
        """Raise :exc:`Refused`, EACCES, if only our rights led there."""


@runtime_checkable
class Entering(Protocol):
    """A thread whose namespaces can be entered; one of a simulated kernel need not have any."""

    def open_namespace(self, kind: str) -> int:
        """A descriptor of its namespace *kind*, which is the caller's."""


class Lookable(Held, Protocol):
    """What is held, and can be looked at."""

    def look(self, *, flags: int = 0, mask: int = 0) -> bytes:
        """``struct statx`` of it; raises :exc:`Refused`, ENOENT, if it is a mere name."""

    def named(self) -> Pinned | None:
        """Hold what the name stands for now, links not followed; ``None``: nothing."""

    def is_stacked(self) -> bool:
        """Whether it lies on an overlay: there another inode may come to stand for it."""

    def handle(self) -> bytes:
        """A name of the inode that no later one has; empty without one."""


@runtime_checkable
class Looking(Protocol):
    """A thread whose files and processes can be looked at; a simulated one need not have any."""

    def defer(self) -> None:
        """As of `Thread`."""

    def settle(self) -> None:
        """Ask now for all that was looked at since `defer`; raises :exc:`TargetGone`."""

    def forget(self) -> None:
        """As of `Thread`."""

    def look(self, spot: Spot, *, flags: int = 0, mask: int = 0) -> bytes:
        """``struct statx`` of what *spot* names, all of one thing; who asks settles afterwards.

        Raises:
            Refused: The kernel would refuse it too; has its errno.
        """

    def look_at_fd(self, fd: int) -> bytes:
        """``struct statx`` of a descriptor of our own."""

    def life(self) -> Life:
        """Its process, and whose child that is."""

    def life_of(self, pid: int) -> Life | None:
        """Another process, such as its parent: whose number *pid* is now; ``None``: nobody's."""

    def children_of(self, pid: int) -> list[int]:
        """The children of process *pid* that live."""


class Process(Protocol):
    """What a spawn returns: the part of :class:`subprocess.Popen` that is used above."""

    pid: int
    returncode: int | None
    args: Any

    def poll(self) -> int | None:
        """The exit status if it has ended, as in subprocess."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, as in subprocess."""

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Talk to it until its end, as in subprocess."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


@dataclass(frozen=True)
class Enforcement:
    """What an installed filter really got.

    Attributes:
        flags: The filter flags that the kernel took.
        missing: Preferred features that this kernel does not have.
        no_new_privs: Whether the target can no longer gain privileges by exec.
        instructions: Length of the program.
    """

    flags: FilterFlag
    missing: frozenset[Feature]
    no_new_privs: bool
    instructions: int


@dataclass
class Spawned:
    """A program that runs under a filter, and that filter's listener.

    Attributes:
        backlog: Notifications of the *program* that were received during the
            hand-over; serve them before anything else.
        unprivileged: We had no capability when it was started, so that in our user
            namespace it, and what it starts, can be nobody else than we are.
    """

    process: Any
    listener: Listener
    enforcement: Enforcement
    backlog: list[bytes] = field(default_factory=list)
    unprivileged: bool = False


class Came(IntEnum):
    """Why a `Server` came back."""

    LOOK = 0
    """Something else is ready: wait as usual."""
    YOURS = 1
    """A notification was received that takes more; it is in `Server.received`."""
    TAKEN = 2
    """A notification was received and taken away by `Server.take`: serve what it was made."""
    LOST = 3
    """It was answered; but somebody else waits for the listeners by now."""


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A rule about one call of the kernel's own architecture, in the plainest words.

    Attributes:
        nr: The call's number.
        verdict: 0 for "not decided here", 1 for "perform this open", or a negative errno.
        program: A filter that allows if the rule is about these registers; empty for any.
        tests: Of the path: whether it has to lie below one of the texts or be one; whether
            that is to be false; the texts.
        path: Which argument the path is; likewise *dirfd* and *flags*.
    """

    nr: int
    verdict: int
    program: bytes = b""
    tests: tuple[tuple[bool, bool, tuple[bytes, ...]], ...] = ()
    path: int = 0
    dirfd: int | None = None
    flags: int = 0


class Server(Protocol):
    """Answers notifications by shortcuts, without Python.

    One thread serves; the other methods may be called by any.
    """

    def serve(self) -> int:
        """Wait for listeners, and answer until something takes more: see `Came`."""

    def received(self) -> tuple[int, bytearray]:
        """The descriptor of the listener, and the notification that came last."""

    def take(self) -> int:
        """Take away what is under way; a `Came`.

        Returns:
            TAKEN: a notification without an answer, which nobody but the caller knows of.
            LOST: one that is being answered. Either way `serve` comes back after it.
            LOOK: nothing is.
        """

    def since(self) -> int:
        """Since when it is busy with one notification, as perf_counter_ns; 0: it is not."""

    def doze(self, dozing: bool) -> None:
        """Whether the next notification is to ring."""

    def retire(self) -> None:
        """Answer nothing more: listeners or rules have changed."""

    def counts(self) -> tuple[int, list[int]]:
        """Targets that were gone, and answers by the bit length of their microseconds."""

    def close(self) -> None:
        """Free what it keeps; it serves no more."""


class Kernel(Protocol):
    """A kernel that supervises: the running one, or a simulated one."""

    @property
    def arch(self) -> Arch:
        """The architecture of the supervisor."""

    @property
    def architectures(self) -> tuple[Arch, ...]:
        """All ABIs whose calls a target here may issue, `arch` first."""

    def stalled(self) -> int:
        """How many threads are lost to reads that their targets stall (M4)."""

    def features(self) -> frozenset[Feature]:
        """What this kernel has: probed once, in a throw-away child, then remembered."""

    def poller(self) -> Poller:
        """A new poller; whoever asks closes it."""

    def server(
        self,
        poller: Poller,
        bell: Poller,
        sources: Mapping[Listener, bool],
        shortcuts: Sequence[Shortcut],
    ) -> Server | None:
        """Somebody who answers by *shortcuts* without Python, or ``None``: nobody can.

        Args:
            poller: It waits for what this waits for.
            bell: Is woken when a notification comes after `Server.doze`.
            sources: Listeners, and whether their targets are as we are: see `Spawned`.
            shortcuts: Tried in order.
        """

    def rest(self) -> None:
        """Free what is kept for targets: for now there are none."""

    def memory_file(self, data: bytes, *, sealed: bool) -> Any:
        """A file in memory with *data*, to be closed by the caller; *sealed*: only to be read."""

    def open_thread(self, tid: Tid, still_valid: Callable[[], bool]) -> Thread:
        """Open a blocked target thread.

        *still_valid* tells whether its notification still waits; it is asked
        after opening and after each read (P8, M6).

        Raises:
            TargetGone: It is not there, or not visible from here (*tid* is 0).
        """

    def spawn(
        self,
        program: bytes,
        args: Any,
        *,
        flags: FilterFlag = FilterFlag(0),
        preferred: FilterFlag = FilterFlag.WAIT_KILLABLE_RECV,
        no_new_privs: bool = True,
        popen_options: Mapping[str, Any] | None = None,
    ) -> Spawned:
        """Start *args* under the filter *program* (encoded BPF); see `unotify.kernel.spawn`.

        *flags* are required, *preferred* ones are done without if need be. The
        process has the `Enforcement` as its attribute ``enforcement``.
        """
