"""The thread behind a notification: its memory and its identity, for as long as it waits."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

from unotify.abi.types import Address, NotificationId, Tid
from unotify.calls import Call
from unotify.calls.acts import Act, Replacement
from unotify.calls.lookups import RESOLVE_IN_ROOT, Spot
from unotify.errors import Refused, TargetGone, Unsupported
from unotify.kernel.interface import (
    Done,
    Entering,
    Held,
    Kernel,
    Listener,
    Memory,
    Pinned,
    Thread,
)
from unotify.protocol import Exchange, Reply
from unotify.supervisor.looks import Looks
from unotify.supervisor.performing import perform

__all__ = ["Target"]


_log = logging.getLogger("unotify")

_AT_EACCESS: Final = 0x200
_NONE: Final[Mapping[str, Pinned]] = MappingProxyType({})


class HasFd(Protocol):
    """What has a descriptor of something in a target's mounts."""

    @property
    def fd(self) -> int:
        """It."""


@dataclass(frozen=True, slots=True)
class _Itself:
    """Something held, by a descriptor of somebody else's."""

    fd: int
    name: bytes = b""

    def require_reached(self) -> None:
        """It was."""


class Target(Looks):
    """The target thread that makes one call.

    Everything here is a snapshot, checked to be of the thread that waits: the
    thread is opened first and the notification checked after that (P8), and
    again after each read (M6). It dies with its notification: once that is
    answered or has vanished, each use raises :exc:`TargetGone`, since the same
    thread id may by then be somebody else.

    Reading memory marks the call: a plain :class:`unotify.Continue` is refused
    afterwards. Only the supervisor makes these.

    Attributes:
        tid: The thread's id here; 0 if it is not visible from here (P3).
        succeeded: Whether it took the answer, and that was no error; for `afterwards`.
    """

    __slots__ = (
        "_container",
        "_exchange",
        "_kernel",
        "_later",
        "_listener",
        "_pins",
        "_quiet",
        "_thread",
        "succeeded",
        "tid",
    )

    def __init__(
        self,
        exchange: Exchange,
        kernel: Kernel,
        listener: Listener,
        *,
        quiet: bool = False,
        container: str | None = "",
    ) -> None:
        self._exchange = exchange
        self._kernel = kernel
        self._listener = listener
        self._quiet = quiet
        self._container = container
        self._thread: Thread | None = None
        self._pins: dict[str, Pinned] = {}
        self._later: list[Callable[[bool], object]] = []
        self.succeeded = False
        self.tid: Tid = exchange.tid

    @property
    def listener(self) -> Listener:
        """What its call was received from."""
        return self._listener

    def is_waiting(self) -> bool:
        """Whether it still waits for the answer; ask before each side effect (I9)."""
        exchange = self._exchange
        return exchange.waiting and self._listener.is_valid(NotificationId(exchange.id))

    @property
    def pid(self) -> int:
        """The process (thread group) it belongs to."""
        return self._open().tgid

    @property
    def comm(self) -> str:
        """The thread's name: up to 15 characters that it may choose freely."""
        return self._open().comm()

    @property
    def uid(self) -> int:
        """Its effective user id, as the supervisor's user namespace numbers it."""
        return self._open().ids()[0]

    @property
    def gid(self) -> int:
        """Its effective group id, as the supervisor's user namespace numbers it."""
        return self._open().ids()[1]

    @property
    def exe(self) -> str:
        """The path of the program that it runs, as seen from here."""
        return self._open().exe()

    @property
    def cgroup(self) -> str:
        """Its path in the unified hierarchy of cgroups; empty without one."""
        return self._open().cgroup()

    @property
    def started(self) -> int:
        """When its process started, in clock ticks: with `pid`, a name that is not reused."""
        return self._open().started()

    def fd_kind(self, fd: int) -> str:
        """What kind of thing its descriptor *fd* is open on; marks the call.

        ``file``, ``directory``, ``socket``, ``pipe``, ``char``, ``block``, ``anon`` for what
        has no name (an eventfd, a pidfd ...), or ``none``. Another thread may put something
        else there meanwhile.
        """
        self._exchange.memory_read = True
        return self._open().fd_kind(fd)

    def fd_path(self, fd: int) -> str:
        """What its descriptor *fd* is open on, as ``/proc/PID/fd`` says; marks the call.

        Empty if it is not open.
        """
        self._exchange.memory_read = True
        return self._open().fd_path(fd)

    def resolve(
        self, path: bytes, *, dirfd: int = -100, follow: bool = True, in_root: bool = False
    ) -> str:
        """Tell what *path* names, as seen from its root, links and ``..`` followed; marks the call.

        The last component need not exist. It may have been renamed by the time of the answer.

        Args:
            path: As the target gave it; empty names *dirfd* itself.
            dirfd: Its descriptor that a relative path starts at; -100 for its directory.
            follow: Whether a link in the last component is followed.
            in_root: Take *dirfd* as the root of the walk (RESOLVE_IN_ROOT).

        Raises:
            Refused: The kernel would refuse the path too; propagates as its errno.
            TargetGone: It does not wait any more.
            KernelError: The supervisor has no ptrace rights over it.
        """
        self._exchange.memory_read = True
        resolve = RESOLVE_IN_ROOT if in_root else 0
        pinned = self._open().pin(Spot(path, dirfd, follow, resolve=resolve, empty=True))
        try:
            return pinned.text
        finally:
            pinned.close()

    def pin(self, argument: str, spot: Spot) -> str:
        """Tell what a path argument of the call names, and hold it; marks the call.

        What is performed afterwards is done to that very thing, whatever its name means by then.

        Args:
            argument: Its name.
            spot: How it is looked up, as :func:`unotify.calls.lookups.spot_of` tells.

        Raises:
            Refused: The kernel would refuse the path too; propagates as its errno.
            TargetGone: It does not wait any more.
            KernelError: The supervisor has no ptrace rights over it.
        """
        self._exchange.memory_read = True
        if argument not in self._pins:
            self._pins[argument] = self._open().pin(spot)
        return self._pins[argument].text

    def find(self, argument: str, spot: Spot) -> Held:
        """As `pin`, but return what holds it; closed when the call is over.

        Raises:
            Refused: As `pin`; EACCES too if only the supervisor could come there.
        """
        self.pin(argument, spot)
        found = cast(Held, self._pins[argument])
        found.require_reached()
        return found

    def let_go(self, *arguments: str) -> None:
        """Hold what `find` or `pin` found for *arguments* no more, or all: it keeps mounts busy."""
        for argument in arguments or tuple(self._pins):
            found = self._pins.pop(argument, None)
            if found is not None:
                found.close()

    def may(self, place: Held, mode: int) -> bool:
        """Whether its rights are enough for *place*: faccessat2(2), of its effective ids.

        Args:
            place: What `find` returned; if it has a name left, its directory is meant.
            mode: ``os.R_OK``, ``os.W_OK``, ``os.X_OK``.
        """
        values = {"mode": mode, "flags": _AT_EACCESS}
        act = Act("faccessat2", "faccessat2", values, {"path": Spot(b"", empty=True)})
        return self._open().act(act, {"path": _Itself(place.fd)}).value == 0

    def bind(self, source: HasFd, place: HasFd) -> None:
        """Bind *source* to *place*, in its mount namespace and with the rights of its namespaces.

        For supervisors that may not mount themselves: it is done by a process in the target's
        user namespace.

        Args:
            source: What `find` returned, or whatever else has a descriptor.
            place: Likewise.

        Raises:
            TargetGone: It does not wait any more.
            Refused: As mount(2) says; EPERM: its user namespace is the supervisor's own.
        """
        namespace = self.open_namespace("mnt")
        try:
            held = {
                "source": _Itself(source.fd),
                "place": _Itself(place.fd),
                "namespace": _Itself(namespace),
            }
            done = self._open().act(Act("bind-mount", "mount"), held)
        finally:
            os.close(namespace)
        if done.value < 0:
            raise Refused("it cannot be bound", errno=-done.value)

    def open_namespace(self, kind: str) -> int:
        """Open its namespace of *kind*, such as ``mnt``; whoever asks closes the descriptor.

        Raises:
            TargetGone: It does not wait any more.
            KernelError: The supervisor has no ptrace rights over it.
            Unsupported: The kernel is a simulated one.
        """
        thread = self._open()
        if not isinstance(thread, Entering):
            raise Unsupported("namespaces", "setns(2)", "this kernel has none to enter")
        return thread.open_namespace(kind)

    def afterwards(self, callback: Callable[[bool], object]) -> None:
        """Call *callback* when the call is over, with whether the target took a success.

        If it did not (it was killed meanwhile, a deadline was over, or the answer is an error
        after all), what was done for it can be undone (I10). What `find` returned is still held
        then. The last that was registered is called first; what it raises is logged.
        """
        self._later.append(callback)

    def act(self, act: Act, *, pinned: Collection[str] = ()) -> Done:
        """Do *act* as the target would; for :meth:`unotify.calls.Call.perform`.

        Args:
            act: What.
            pinned: Arguments whose :meth:`pin` is used, if there is one.

        Raises:
            TargetGone: It does not wait any more.
            TargetError: It cannot be done; propagates as its errno.
        """
        pins = {name: pin for name, pin in self._pins.items() if name in pinned} or _NONE
        return self._open().act(act, pins)

    def perform(
        self, call: Call, *, as_supervisor: bool = False, replaced: Mapping[str, Replacement]
    ) -> Reply:
        """Do *call* in the target's place; see :meth:`unotify.calls.Call.perform`."""
        # All that is read until the act is used in the act alone: it is asked once, there,
        # whether the target still waits.
        thread = self._open()
        thread.defer()
        try:
            return perform(call, self, as_supervisor=as_supervisor, replaced=replaced)
        finally:
            thread.forget()

    @property
    def credentials(self) -> Any:
        """Its ids, groups, capabilities and umask: a `unotify.kernel.rights.Rights`."""
        return self._open().rights()

    @property
    def around(self) -> Any:
        """Its container, namespaces and control groups: what handlers ask about.

        A `unotify.kernel.surroundings.Surroundings`. It tells which capabilities the target has
        in its container, and which process a number means that it gave.
        """
        return self._open().around(self._container)

    @property
    def umask(self) -> int:
        """The bits that its new files do not get."""
        return int(self._open().rights().umask)

    @property
    def argv(self) -> tuple[bytes, ...]:
        """The arguments of its program, which it may rewrite."""
        return self._open().argv()

    @property
    def namespaces(self) -> dict[str, int]:
        """The inode numbers of its namespaces, by their kind: ``user``, ``mnt``, ``pid`` ..."""
        return self._open().namespaces()

    @property
    def cwd(self) -> str:
        """Its current directory, as seen from its root."""
        return self._here("cwd")

    @property
    def root(self) -> str:
        """Its root directory, as seen from the supervisor's."""
        return self._here("root")

    def _here(self, name: str) -> str:
        return self._open().directory(name)

    def fd_flags(self, fd: int) -> int:
        """The flags of its descriptor *fd*, O_CLOEXEC among them; -1 if it has none."""
        self._exchange.memory_read = True
        return self._open().fd_flags(fd)

    def kill(self) -> None:
        """Kill its process.

        Raises:
            TargetGone: It does not wait any more.
            KernelError: EPERM: it is another user's.
        """
        self._open().kill()

    @property
    def observer(self) -> Memory:
        """Its memory, without marking the call; for those who only look."""
        return self._open().memory

    def fileno(self) -> int:
        """A pidfd of the thread (of its process before Linux 6.9); valid until the reply."""
        return self._open().fileno()

    def steal_fd(self, fd: int) -> int:
        """Duplicate the target's descriptor *fd* into the supervisor; the caller closes it.

        Raises:
            TargetGone: The target does not wait any more.
            KernelError: EBADF if it has no such descriptor; EPERM without
                ptrace rights over it.
        """
        return self._open().steal_fd(fd)

    def read(self, address: Address, length: int) -> bytes:
        """Read exactly *length* bytes of its memory, and mark the call.

        Raises:
            BadAddress: It could not read that itself; propagates as ``EFAULT``.
            TargetGone: It does not wait any more; what was read is thrown away.
        """
        self._exchange.memory_read = True
        return self._open().memory.read(address, length)

    def read_string(self, address: Address, limit: int = 4096) -> bytes:
        """Read up to a NUL, at most *limit* bytes with it, and mark the call.

        Raises:
            PathTooLong: No NUL within *limit*; propagates as ``ENAMETOOLONG``.
            BadAddress: An unreadable byte before the NUL.
            TargetGone: It does not wait any more.
        """
        self._exchange.memory_read = True
        return self._open().memory.read_string(address, limit)

    def write(self, address: Address, data: bytes) -> None:
        """Write to its memory: only defensible where it cannot be interrupted (M8).

        Without WAIT_KILLABLE_RECV the call may have been interrupted since the
        last check, and the address reused for something else.

        Raises:
            Unsupported: The filter was installed without it, or nobody knows.
            BadAddress: It could not write there itself.
            TargetGone: It does not wait any more.
        """
        self.require_quiet()
        self._open().memory.write(address, data)

    def require_quiet(self) -> None:
        """Raise :exc:`Unsupported` where writing to its memory is not defensible (M8)."""
        if not self._quiet:
            raise Unsupported(
                "wait-killable-recv",
                "seccomp(2)",
                "an answer in the target's memory needs a filter with WAIT_KILLABLE_RECV (M8)",
                hint="Linux 5.19 has it; of an attached listener say attach(wait_killable=True)",
            )

    def step_back(self) -> None:
        """Free what it holds before it goes on, which may count on that: to unmount, say.

        Not if somebody wants to be told `afterwards`, who may need it.
        """
        if not self._later:
            self.close()

    def close(self) -> None:
        """Free what it holds; the supervisor does this when the call is over."""
        later, self._later = self._later, []
        for callback in reversed(later):
            try:
                callback(self.succeeded)
            except Exception:
                _log.exception("what was to be done after a call of thread %d failed", self.tid)
        pins, self._pins = self._pins, {}
        for pinned in pins.values():
            pinned.close()
        if self._thread is not None:
            self._thread.close()
            self._thread = None

    def _open(self) -> Thread:
        if not self._exchange.waiting:
            raise TargetGone(f"thread {self.tid} does not wait for this call any more")
        if self._thread is None:
            self._thread = self._kernel.open_thread(self.tid, self.is_waiting)
        return self._thread

    def __repr__(self) -> str:
        return f"<Target tid={self.tid}>"
