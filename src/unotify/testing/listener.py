"""A listener and a poller of the simulated kernel, as `unotify.kernel.interface` has them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from unotify.abi.features import Feature
from unotify.abi.seccomp import ListenerFlag, ResponseFlag
from unotify.abi.structs import NOTIF, NOTIF_SIZES, RESPONSE
from unotify.abi.types import NotificationId
from unotify.errors import KernelError, TargetGone, Unsupported
from unotify.kernel.interface import Listener, Poller, Ready
from unotify.testing.facility import descriptors, giving, listeners, listening, tasks

if TYPE_CHECKING:
    from unotify.testing.kernel import SimulatedKernel

__all__ = ["Sent", "SimulatedListener", "SimulatedPoller"]


class Sent(NamedTuple):
    """What was sent for a notification, and taken.

    Attributes:
        kind: ``return``, ``fail``, ``continue`` or ``add-fd``.
        number: The value, the errno, 0, or the descriptor in the target.
        name: Of a descriptor, what it is open on.
        content: Of a descriptor, what is in it.
        cloexec: Of a descriptor, whether exec closes it.
    """

    kind: str
    number: int = 0
    name: str = ""
    content: bytes = b""
    cloexec: bool = False


class SimulatedListener:
    """One notification descriptor.

    Attributes:
        sizes: As GET_NOTIF_SIZES tells.
        sent: What was sent and taken, by id.
    """

    sizes = NOTIF_SIZES

    def __init__(self, kernel: SimulatedKernel, fd: int, filter: int) -> None:
        self._kernel = kernel
        self._fd = fd
        self.filter = filter
        self.sent: dict[int, list[Sent]] = {}

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._fd < 0

    def fileno(self) -> int:
        """Its number inside the facility, -1 once closed; nothing that select(2) knows."""
        return self._fd

    def receive_into(self, buffer: bytearray) -> bool:
        """Receive the oldest pending notification; sleeps while there is none (N7)."""
        kernel, call = self._kernel, "ioctl(SECCOMP_IOCTL_NOTIF_RECV)"
        with kernel.changed:
            task = kernel.helper()
            try:
                while True:
                    listening.begin_receive(kernel.world, task, self._fd)
                    kernel.settle()
                    kernel.changed.wait_for(lambda: not task.doing)
                    if task.result != -errno.EINTR:
                        break
                result, found = task.result, task.received
            finally:
                tasks.die(kernel.world, task)
                kernel.settle()
        if result == -errno.ENOENT:
            return False
        if found is None:
            _fail(result or 0, call)
        id, pid, flags, nr, arch, args, ip = found
        raw = NOTIF.pack(id, pid, flags, nr, arch, ip, *args)
        buffer[:] = raw.ljust(max(len(buffer), len(raw)), b"\0")
        return True

    def send(self, response: bytes | bytearray) -> bool:
        """Send a ``seccomp_notif_resp``; False if nobody waits (N10)."""
        kernel = self._kernel
        id, value, error, flags = RESPONSE.unpack_from(response)
        with kernel.changed:
            result = listening.send(
                kernel.world, kernel.supervisor, self._fd, id, value, error, flags
            )
            if not result:
                self._note(id, _sent(value, error, flags))
            kernel.settle()
        if result in (-errno.ENOENT, -errno.EINPROGRESS):
            return False
        if result:
            _fail(result, "ioctl(SECCOMP_IOCTL_NOTIF_SEND)")
        return True

    def is_valid(self, id: NotificationId) -> bool:
        """Whether the target still waits for *id* (N9)."""
        kernel = self._kernel
        with kernel.changed:
            result = listening.is_valid(kernel.world, kernel.supervisor, self._fd, id)
        if result not in (0, -errno.ENOENT):
            _fail(result, "ioctl(SECCOMP_IOCTL_NOTIF_ID_VALID)")
        return not result

    def add_fd(
        self, id: NotificationId, fd: int, *, at: int | None = None, cloexec: bool = False
    ) -> int:
        """Put a copy of a real descriptor into the target (A1-A13)."""
        kernel, call = self._kernel, "ioctl(SECCOMP_IOCTL_NOTIF_ADDFD)"
        with kernel.changed:
            if listeners.ioctl_number(kernel.world, 0x40182103) != "addfd":
                raise KernelError(errno.EINVAL, call)
            file = kernel.adopt(fd)
            place = kernel.place(file)
            task = kernel.helper()
            try:
                while True:
                    giving.begin_give(
                        kernel.world,
                        task,
                        self._fd,
                        id,
                        place,
                        flags=0 if at is None else 1,
                        newfd=at or 0,
                        newfd_flags=0o2000000 if cloexec else 0,
                    )
                    kernel.settle()
                    kernel.changed.wait_for(lambda: not task.doing)
                    if task.result != -errno.EINTR:
                        break
                result = task.result or 0
                if result >= 0:
                    self._note(id, Sent("add-fd", result, file.name, file.content, cloexec))
            finally:
                tasks.die(kernel.world, task)
                descriptors.close(kernel.world, kernel.supervisor, place)
                kernel.settle()
        if result in (-errno.ENOENT, -errno.ESRCH, -errno.EINPROGRESS):
            raise TargetGone("the call ended before it got its descriptor")
        if result < 0:
            _fail(result, call)
        return result

    def set_flags(self, flags: ListenerFlag) -> None:
        """Set the listener's flags; Unsupported before 6.6 (W3)."""
        kernel, call = self._kernel, "ioctl(SECCOMP_IOCTL_NOTIF_SET_FLAGS)"
        with kernel.changed:
            result = listening.set_flags(kernel.world, kernel.supervisor, self._fd, int(flags))
        if result == -errno.EINVAL:
            raise Unsupported(Feature.SYNC_WAKE_UP.label, call)
        if result:
            _fail(result, call)

    def pending(self) -> bool:
        """Whether a notification waits to be received."""
        return bool(self.bits() & listening.IN)

    def bits(self) -> int:
        """What poll(2) says of it; EBADF once closed.

        Raises:
            KernelError: It is closed.
        """
        kernel = self._kernel
        with kernel.changed:
            bits = listening.poll(kernel.world, kernel.supervisor, self._fd)
        if bits < 0:
            _fail(bits, "poll(2)")
        return bits

    def close(self) -> None:
        """Close it. The last close answers everybody with ENOSYS (R3, R4)."""
        kernel = self._kernel
        with kernel.changed:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                descriptors.close(kernel.world, kernel.supervisor, fd)
                kernel.settle()

    def _note(self, id: int, sent: Sent) -> None:
        self.sent.setdefault(id, []).append(sent)


def _sent(value: int, error: int, flags: int) -> Sent:
    if flags & ResponseFlag.CONTINUE:
        return Sent("continue")
    return Sent("fail", -error) if error else Sent("return", value)


def _fail(result: int, call: str) -> NoReturn:
    raise KernelError(-result or errno.EIO, call)


class SimulatedPoller:
    """Waits for several listeners; see `unotify.kernel.interface.Poller`."""

    def __init__(self, kernel: SimulatedKernel) -> None:
        self._kernel = kernel
        self._listeners: list[Listener] = []
        self._woken = False
        self._lamp: tuple[socket.socket, socket.socket] | None = None
        self._lit = False

    def add(self, listener: Listener) -> None:
        """Watch *listener* too."""
        with self._kernel.changed:
            self._listeners.append(listener)
            self._kernel.settle()

    def remove(self, listener: Listener) -> None:
        """Watch it no more."""
        with self._kernel.changed:
            if listener in self._listeners:
                self._listeners.remove(listener)
            self._kernel.settle()

    def wait(self, timeout: float | None = None) -> Sequence[tuple[Listener, Ready]]:
        """Block until something is ready, `wake` was called or *timeout* seconds passed."""
        with self._kernel.changed:
            self._kernel.changed.wait_for(lambda: self._woken or self._ready(), timeout)
            self._woken = False
            ready = self._ready()
            self.refresh()
            return ready

    def peek(self, bell: Poller, timeout: float | None = None) -> bool:
        """Block until `wait` would return at once, here or at *bell*; whether it would here."""
        assert isinstance(bell, SimulatedPoller)
        with self._kernel.changed:
            self._kernel.changed.wait_for(lambda: self.lit or bell.lit, timeout)
            return self.lit

    @property
    def lit(self) -> bool:
        """Whether `wait` would return at once; the lock is held."""
        return self._woken or bool(self._ready())

    def _ready(self) -> list[tuple[Listener, Ready]]:
        found: list[tuple[Listener, Ready]] = []
        for listener in self._listeners:
            if not isinstance(listener, SimulatedListener) or listener.closed:
                continue
            bits = listener.bits()
            if bits & listening.IN:
                found.append((listener, Ready.PENDING))
            elif bits & listening.HUP:
                found.append((listener, Ready.HANGUP))
        return found

    def fileno(self) -> int:
        """A real descriptor that is readable whenever `wait` would return at once."""
        with self._kernel.changed:
            if self._lamp is None:
                self._lamp = socket.socketpair()
            self.refresh()
            return self._lamp[0].fileno()

    def refresh(self) -> None:
        """Make that descriptor readable, or not; the lock is held."""
        if self._lamp is None:
            return
        wanted = self._woken or bool(self._ready())
        if wanted and not self._lit:
            self._lamp[1].send(b"x")
        elif self._lit and not wanted:
            self._lamp[0].recv(1)
        self._lit = wanted

    def wake(self) -> None:
        """End one `wait`."""
        with self._kernel.changed:
            self._woken = True
            self._kernel.settle()

    def close(self) -> None:
        """Free its descriptors."""
        with self._kernel.changed:
            lamp, self._lamp = self._lamp, None
            self._listeners.clear()
            if self in self._kernel._pollers:
                self._kernel._pollers.remove(self)
        for end in lamp or ():
            end.close()
