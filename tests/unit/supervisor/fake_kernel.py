"""A kernel in memory: notifications are scripted, answers are recorded.

It keeps the rules of the real one that a supervisor depends on: a notification
is received once and answered once, whoever vanished takes no answer, RECV
without any is ENOENT, and the last close answers everybody with ENOSYS.
"""

# ruff: noqa: D102 - the interface says what they do

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from threading import Condition, Event
from typing import IO, Any, Self

from tests.unit.calls.fake_memory import FakeCaller
from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.features import Feature
from unotify.abi.seccomp import FilterFlag, ListenerFlag
from unotify.abi.structs import NOTIF, NOTIF_SIZES, RESPONSE
from unotify.abi.types import Address, NotificationId, Tid
from unotify.calls.acts import Act
from unotify.calls.lookups import Spot
from unotify.errors import KernelError, TargetGone, Unsupported
from unotify.kernel.acts import Outcome
from unotify.kernel.interface import (
    Enforcement,
    Listener,
    Memory,
    Poller,
    Ready,
    Server,
    Shortcut,
    Spawned,
    Thread,
)
from unotify.kernel.rights import Rights
from unotify.protocol import Continue, Fail, PlainReply, Return

__all__ = ["FakeKernel", "FakeListener", "FakePoller", "FakeThread", "Pending", "until"]

PATIENCE = 20.0
"""Seconds until a test that waits has failed."""


def until(condition: Callable[[], object]) -> None:
    """Wait for *condition*."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.0005)


@dataclass(eq=False)
class Pending:
    """One call of a target, from its side."""

    raw: bytes
    id: int
    tid: int
    reply: PlainReply | None = None
    sent: bool = False
    """Whether it has been received."""
    gone: bool = False
    installed: list[tuple[int, int | None, bool]] = field(default_factory=list)
    """What ADDFD was asked for: our descriptor, at, cloexec."""
    done: Event = field(default_factory=Event)

    def answer(self) -> PlainReply:
        """Wait for the reply."""
        assert self.done.wait(PATIENCE), "never answered"
        assert self.reply is not None
        return self.reply


class FakeListener:
    """A listener; see `unotify.kernel.interface.Listener`."""

    sizes = NOTIF_SIZES

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel = kernel
        self.queue: deque[Pending] = deque()
        self.sent: dict[int, Pending] = {}
        self.closed = False
        self.hung_up = False
        self.own_filter = False
        self.flags: ListenerFlag | None = None
        self.flags_error: Exception | None = None
        self.receive_error: Exception | None = None
        self.add_fd_error: Exception | None = None
        self.send_errors: deque[Exception] = deque()
        self.on_send: Callable[[], object] = lambda: None
        self.on_add_fd: Callable[[], object] = lambda: None
        self.next_fd = 100
        self._next_id = 1 << 63

    # -- the target's side ---------------------------------------------------

    def notification(
        self,
        call: str | int,
        *args: int,
        tid: int = 100,
        arch: Arch = Arch.X86_64,
        audit: int | None = None,
    ) -> Pending:
        """A call, not pending yet."""
        nr = call if isinstance(call, int) else tables.number(call, arch)
        registers = [arg & 0xFFFFFFFFFFFFFFFF for arg in args] + [0] * (6 - len(args))
        self._next_id += 1
        raw = NOTIF.pack(
            self._next_id, tid, 0, nr, arch.audit if audit is None else audit, 0, *registers
        )
        return Pending(raw, self._next_id, tid)

    def notify(self, call: str | int, *args: int, **options: Any) -> Pending:
        """A target makes *call* and waits."""
        pending = self.notification(call, *args, **options)
        with self.kernel.changed:
            self.queue.append(pending)
            self.kernel.tell()
        return pending

    def interrupt(self, pending: Pending) -> None:
        """The target stops waiting."""
        with self.kernel.changed:
            pending.gone = True
            self.sent.pop(pending.id, None)
            if pending in self.queue:
                self.queue.remove(pending)
            self.kernel.tell()

    def hang_up(self) -> None:
        """The last task exits."""
        with self.kernel.changed:
            self.hung_up = True
            for pending in [*self.queue, *self.sent.values()]:
                pending.gone = True
            self.queue.clear()
            self.sent.clear()
            self.kernel.tell()

    # -- the supervisor's side -----------------------------------------------

    def fileno(self) -> int:
        return -1

    def receive_into(self, buffer: bytearray) -> bool:
        with self.kernel.changed:
            if self.receive_error is not None:
                raise self.receive_error
            if not self.queue:
                return False
            pending = self.queue.popleft()
            pending.sent = True
            self.sent[pending.id] = pending
            self.kernel.tell()
        buffer[:] = pending.raw.ljust(len(buffer), b"\0")
        return True

    def accept(self, pending: Pending) -> bytes:
        """Receive *pending* for a backlog."""
        pending.sent = True
        self.sent[pending.id] = pending
        return pending.raw

    def send(self, response: bytes | bytearray) -> bool:
        self.on_send()
        id, value, error, flags = RESPONSE.unpack_from(response)
        with self.kernel.changed:
            if self.send_errors:
                raise self.send_errors.popleft()
            if self.closed:
                raise KernelError(errno.EBADF, "ioctl(2)")
            pending = self.sent.pop(id, None)
        if pending is None:
            return False
        self._finish(pending, Continue() if flags else Fail(-error) if error else Return(value))
        return True

    def _finish(self, pending: Pending, reply: PlainReply) -> None:
        pending.reply = reply
        pending.done.set()

    def is_valid(self, id: NotificationId) -> bool:
        return id in self.sent

    def add_fd(
        self, id: NotificationId, fd: int, *, at: int | None = None, cloexec: bool = False
    ) -> int:
        self.on_add_fd()
        pending = self.sent.get(id)
        if pending is None:
            raise TargetGone
        if self.add_fd_error is not None:
            raise self.add_fd_error
        pending.installed.append((fd, at, cloexec))
        return self.next_fd if at is None else at

    def set_flags(self, flags: ListenerFlag) -> None:
        if self.flags_error is not None:
            raise self.flags_error
        self.flags = flags

    def pending(self) -> bool:
        return bool(self.queue)

    def close(self) -> None:
        with self.kernel.changed:
            self.closed = True
            waiting = [*self.queue, *self.sent.values()]
            self.queue.clear()
            self.sent.clear()
            self.kernel.tell()
        for pending in waiting:
            self._finish(pending, Fail(errno.ENOSYS))


class FakePoller:
    """A poller; see `unotify.kernel.interface.Poller`."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel = kernel
        self.listeners: list[Listener] = []
        self.closed = False
        self._woken = False
        self._fd = -1

    def add(self, listener: Listener) -> None:
        with self.kernel.changed:
            self.listeners.append(listener)
            self.kernel.tell()

    def remove(self, listener: Listener) -> None:
        with self.kernel.changed:
            if listener in self.listeners:
                self.listeners.remove(listener)
            self.kernel.tell()

    def wait(self, timeout: float | None = None) -> Sequence[tuple[Listener, Ready]]:
        with self.kernel.changed:
            assert not self.closed, "a closed poller is used"
            self.kernel.changed.wait_for(lambda: self._woken or self._ready(), timeout)
            self._woken = False
            ready = self._ready()
            self.refresh()
            return ready

    def peek(self, bell: FakePoller, timeout: float | None = None) -> bool:
        with self.kernel.changed:
            assert not self.closed, "a closed poller is used"
            self.kernel.changed.wait_for(lambda: self._due() or bell._due(), timeout)
            return self._due()

    def _due(self) -> bool:
        return self._woken or bool(self._ready())

    def _ready(self) -> list[tuple[Listener, Ready]]:
        found: list[tuple[Listener, Ready]] = []
        for listener in self.listeners:
            assert isinstance(listener, FakeListener)
            if listener.queue or listener.receive_error is not None:
                found.append((listener, Ready.PENDING))
            elif listener.hung_up:
                found.append((listener, Ready.HANGUP))
        return found

    def fileno(self) -> int:
        with self.kernel.changed:
            if self._fd < 0:
                self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self.refresh()
            return self._fd

    def refresh(self) -> None:
        """Make the descriptor readable, or not."""
        if self._fd < 0:
            return
        os.eventfd_write(self._fd, 1)
        if not (self._woken or self._ready()):
            os.eventfd_read(self._fd)

    def wake(self) -> None:
        with self.kernel.changed:
            self._woken = True
            self.kernel.tell()

    def close(self) -> None:
        with self.kernel.changed:
            self.closed = True
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


class FakeThread:
    """A target thread; see `unotify.kernel.interface.Thread`."""

    def __init__(self, kernel: FakeKernel, tid: Tid, still_valid: Callable[[], bool]) -> None:
        self.tid = tid
        self.tgid = int(tid)
        self.closed = False
        self._kernel = kernel
        self._still_valid = still_valid

    @property
    def memory(self) -> Memory:
        return self

    def _check(self) -> None:
        if self.closed or not self._still_valid():
            raise TargetGone

    def read(self, address: Address, length: int) -> bytes:
        data = self._kernel.memory.read(address, length)
        self._check()
        return data

    def read_string(self, address: Address, limit: int) -> bytes:
        data = self._kernel.memory.read_string(address, limit)
        self._check()
        return data

    def write(self, address: Address, data: bytes) -> None:
        self._kernel.memory.pieces[address] = data
        self._check()

    def fileno(self) -> int:
        self._check()
        return 99

    def comm(self) -> str:
        self._check()
        return "fake"

    def ids(self) -> tuple[int, int]:
        self._check()
        return self._kernel.ids

    def started(self) -> int:
        self._check()
        return self._kernel.started

    def exe(self) -> str:
        self._check()
        return self._kernel.exe

    def cgroup(self) -> str:
        self._check()
        return "/fake.slice"

    def fd_kind(self, fd: int) -> str:
        self._check()
        return "none" if fd not in self._kernel.fds else "file"

    def fd_path(self, fd: int) -> str:
        self._check()
        return self._kernel.fds.get(fd, "")

    def defer(self) -> None:
        pass

    def forget(self) -> None:
        pass

    def pin(self, spot: Spot) -> FakePin:
        self._kernel.resolved.append((spot.path, spot.dirfd, spot.follow, spot.in_root))
        self._check()
        return FakePin(self._kernel.names.get(spot.path, spot.path.decode()))

    def act(self, act: Act, pins: Mapping[str, Any]) -> Outcome:
        self._check()
        self._kernel.acts.append((act, pins))
        return self._kernel.outcome

    def rights(self) -> Rights:
        self._check()
        return self._kernel.rights

    def argv(self) -> tuple[bytes, ...]:
        self._check()
        return (b"fake", b"-x")

    def namespaces(self) -> dict[str, int]:
        self._check()
        return {"user": 4026531837}

    def directory(self, name: str) -> str:
        self._check()
        return {"cwd": "/srv/fake", "root": "/"}[name]

    def fd_flags(self, fd: int) -> int:
        self._check()
        return self._kernel.flags.get(fd, os.O_CLOEXEC) if fd in self._kernel.fds else -1

    def kill(self) -> None:
        self._check()
        self._kernel.killed.append(self.tgid)

    def steal_fd(self, fd: int) -> int:
        self._check()
        return fd + 1000

    def close(self) -> None:
        self.closed = True


@dataclass
class FakePin:
    """What a path names."""

    text: str
    closed: bool = False

    def close(self) -> None:
        self.closed = True


class FakeProcess:
    """What a fake spawn returns."""

    pid = 4711
    returncode: int | None = 0

    def __init__(self, args: Any) -> None:
        self.args = args

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        return (input, None)

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class FakeKernel:
    """A kernel; see `unotify.kernel.interface.Kernel`."""

    arch = Arch.X86_64
    architectures = (Arch.X86_64, Arch.I386)

    def __init__(self) -> None:
        self.changed = Condition()
        self.memory = FakeCaller()
        self.pollers: list[FakePoller] = []
        self.threads: list[FakeThread] = []
        self.listeners: list[FakeListener] = []
        self.spawns: list[dict[str, Any]] = []
        self.backlog: Callable[[FakeListener], list[bytes]] = lambda _: []
        self.stalls = 0
        self.ids = (1000, 100)
        self.exe = "/usr/bin/fake"
        self.started = 7
        self.fds: dict[int, str] = {}
        """Each target's descriptors, and what they are open on."""
        self.flags: dict[int, int] = {}
        """Their flags, where that is not O_CLOEXEC."""
        self.names: dict[bytes, str] = {}
        """What paths resolve to, where that is not the path itself."""
        self.resolved: list[tuple[bytes, int, bool, bool]] = []
        self.killed: list[int] = []
        self.rests = 0
        self.sleeping = True
        """Whether threads of ours that are looked at wait for something."""
        self.make_server: Callable[..., Server] | None = None
        """Makes who answers without Python."""
        self.contents: list[tuple[bytes, bool]] = []
        """Files in memory that were asked for."""
        self.acts: list[tuple[Act, Mapping[str, Any]]] = []
        self.outcome = Outcome(0)
        """What comes of each act."""
        self.rights = Rights(
            1000, 100, 1000, 100, (), 0, 0, (1000, 100), (1000, 100), 0o022, True, 1
        )

    def tell(self) -> None:
        """Something has changed; the lock is held."""
        self.changed.notify_all()
        for poller in self.pollers:
            poller.refresh()

    def listener(self) -> FakeListener:
        """A new listener."""
        self.listeners.append(FakeListener(self))
        return self.listeners[-1]

    def stalled(self) -> int:
        return self.stalls

    def features(self) -> frozenset[Feature]:
        return frozenset(Feature)

    def poller(self) -> FakePoller:
        self.pollers.append(FakePoller(self))
        return self.pollers[-1]

    def sleeps(self, tid: int) -> bool:
        return self.sleeping

    def user_namespace(self, pid: int) -> str:
        return "user:[1]" if pid == os.getpid() else ""

    def server(
        self,
        poller: Poller,
        bell: Poller,
        shortcuts: Sequence[Shortcut],
        *,
        counting: bool = False,
    ) -> Server | None:
        make = self.make_server
        return None if make is None else make(shortcuts, counting)

    def rest(self) -> None:
        self.rests += 1

    def memory_file(self, data: bytes, *, sealed: bool) -> IO[bytes]:
        self.contents.append((data, sealed))
        return TemporaryFile()

    def open_thread(self, tid: Tid, still_valid: Callable[[], bool]) -> Thread:
        if not tid or not still_valid():
            raise TargetGone
        self.threads.append(FakeThread(self, tid, still_valid))
        return self.threads[-1]

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
        listener = self.listener()
        self.spawns.append(
            {
                "program": program,
                "args": args,
                "flags": flags,
                "preferred": preferred,
                "no_new_privs": no_new_privs,
                "options": dict(popen_options or {}),
            }
        )
        enforcement = Enforcement(preferred, frozenset(), no_new_privs, len(program) // 8)
        backlog = self.backlog(listener)
        return Spawned(FakeProcess(args), listener, enforcement, backlog)


def unsupported() -> Unsupported:
    """What a kernel without SET_FLAGS says."""
    return Unsupported("sync-wake-up", "ioctl(2)")
