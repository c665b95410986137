"""A listener whose notifications LXC receives and answers for us, one at a time.

Theory of operation. LXC waits 30 seconds for an answer. After that it takes whatever comes next
for the answer to its *next* question, and so on for ever: each call of the container would be
answered with what was meant for the one before. So nothing is ever sent that LXC might take for
something else. The kernel notes when a packet was sent (SO_TIMESTAMP); what is older than
`PATIENCE` is not answered any more, and neither is what another packet has come after. The
connection is closed instead. Then LXC answers ENOSYS, and connects again for the next call.

Its descriptor of the kernel's listener comes along with each packet. It is asked whether the
target still waits, and gives it descriptors; the answer itself is LXC's to send.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from contextlib import suppress
from threading import Lock
from typing import Final

from unotify.abi.seccomp import ListenerFlag
from unotify.abi.types import NotificationId
from unotify.errors import KernelError, TargetGone, Unsupported
from unotify.kernel.listener import LinuxListener, notif_sizes
from unotify.oci.lxc_packets import FDS, MOST_BYTES, Question, parse
from unotify.oci.sockets import Received, receive

__all__ = ["PATIENCE", "ProxiedListener"]

_LONGEST_STAT: Final = 4096

PATIENCE: Final = 27.0
"""Seconds after LXC has sent a packet in which it may be answered; LXC waits 30."""


class ProxiedListener:
    """Implements :class:`unotify.kernel.interface.Listener` over a connection of LXC's.

    Args:
        connection: What LXC has connected; owned from now on, with SO_TIMESTAMP set.
    """

    def __init__(self, connection: socket.socket, *, patience: float = PATIENCE) -> None:
        self.sizes = notif_sizes()
        self._connection = connection
        self._patience = patience
        self._lock = Lock()
        self._question: Question | None = None
        self._sent = 0.0
        self._listener: LinuxListener | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def fileno(self) -> int:
        """The connection's descriptor; -1 once closed."""
        return self._connection.fileno()

    def receive_into(self, buffer: bytearray) -> bool:
        """Receive the next packet's notification; False if there is none.

        Raises:
            EOFError: LXC has hung up, or said what it must not: nothing more comes.
        """
        try:
            received = receive(self._connection, MOST_BYTES)
        except OSError as error:
            raise EOFError(f"LXC's connection is broken: {error.strerror}") from None
        if received is None:
            return False
        question = None
        try:
            question = self._understand(received)
        except (ValueError, OSError) as error:
            raise EOFError(f"LXC is not understood: {error}") from error
        finally:
            # Of those that were sent the listener alone is of use.
            for fd in received.fds if question is None else received.fds[: FDS - 1]:
                with suppress(OSError):
                    os.close(fd)
        buffer[:] = question.notification
        return True

    def _understand(self, received: Received) -> Question:
        if not received.data:
            raise EOFError("LXC has hung up")
        question = parse(received.data, self.sizes)
        if received.truncated or len(received.fds) != FDS:
            raise ValueError(f"{len(received.fds)} descriptors came, not {FDS}")
        age = 0.0 if received.stamp is None else max(0.0, time.time() - received.stamp)
        if age >= self._patience:
            raise ValueError(f"its packet is {age:.0f} seconds old")
        _require_same_thread(received.fds[0], question.tid)
        with self._lock:
            if self._question is not None:
                raise ValueError("it asks again before it was answered: it has given up waiting")
            if self._closed:
                raise EOFError("closed")
            listener = LinuxListener.from_fd(received.fds[2])
            if self._listener is not None:
                self._listener.close()
            self._listener, self._question = listener, question
            self._sent = time.monotonic() - age
        return question

    def send(self, response: bytes | bytearray) -> bool:
        """Give LXC the answer; False if nobody waits for it any more.

        Raises:
            KernelError: EBADF: closed.
        """
        with self._lock:
            self._require_open()
            question, listener = self._question, self._listener
            if question is None or listener is None or self._answers_another(response):
                return False
            waits = listener.is_valid(NotificationId(question.id))
            if self._is_late() or self._is_asked_again():
                self._hang_up()
                return False
            self._question = None
            try:
                self._connection.send(
                    question.answer(response), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
                )
            except OSError:
                self._hang_up()
                return False
            return waits

    def _answers_another(self, response: bytes | bytearray) -> bool:
        question = self._question
        return question is None or response[:8] != question.notification[:8]

    def _is_late(self) -> bool:
        return time.monotonic() - self._sent >= self._patience

    def _is_asked_again(self) -> bool:
        try:
            return bool(self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _hang_up(self) -> None:
        # Whoever reads sees the end, and closes it; LXC sees it too, and stops waiting.
        self._question = None
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def expire(self) -> bool:
        """End the connection if what it asked last is not answered in time; whether that is so."""
        with self._lock:
            late = not self._closed and self._question is not None and self._is_late()
            if late:
                self._hang_up()
            return late

    def is_valid(self, id: NotificationId) -> bool:
        """Whether the target still waits for *id*, and LXC for us."""
        with self._lock:
            self._require_open()
            if self._question is None or self._question.id != id or self._listener is None:
                return False
            return self._listener.is_valid(id)

    def add_fd(
        self, id: NotificationId, fd: int, *, at: int | None = None, cloexec: bool = False
    ) -> int:
        """Put a copy of *fd* into the target, as `LinuxListener.add_fd` does.

        Raises:
            TargetGone: Nobody waits any more.
            KernelError: As there.
        """
        # Not under the lock: it waits until the target has run. A copy, since LXC's next packet
        # would take the listener away.
        with self._lock:
            self._require_open()
            if self._question is None or self._question.id != id or self._listener is None:
                raise TargetGone("LXC does not wait for this call any more")
            copy = LinuxListener(os.dup(self._listener.fileno()), sizes=self.sizes)
        try:
            return copy.add_fd(id, fd, at=at, cloexec=cloexec)
        finally:
            copy.close()

    def set_flags(self, flags: ListenerFlag) -> None:
        """Not for us: the listener is LXC's; raises `Unsupported`."""
        raise Unsupported("sync-wake-up", "ioctl(SECCOMP_IOCTL_NOTIF_SET_FLAGS)")

    def pending(self) -> bool:
        """Whether a packet waits to be received, or the end; never blocks."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close it, from any thread; LXC then answers ENOSYS to whoever waits."""
        with self._lock:
            self._closed = True
            self._question = None
            self._connection.close()
            if self._listener is not None:
                self._listener.close()
                self._listener = None

    def _require_open(self) -> None:
        if self._closed:
            raise KernelError(errno.EBADF, "sendmsg(2)", "the connection is closed")

    def __repr__(self) -> str:
        return f"<ProxiedListener {'closed' if self.closed else f'fd={self.fileno()}'}>"


def _require_same_thread(directory: int, tid: int) -> None:
    """See to it that *tid* is for us who it is for LXC, unless it has ended meanwhile.

    Raises:
        ValueError: It is another thread here: LXC is in another pid namespace.
    """
    theirs = _started("stat", directory)
    if theirs in (b"", _started(f"/proc/{tid}/stat")) or not _started("stat", directory):
        return
    raise ValueError(f"its thread {tid} is another one here: is LXC in another pid namespace?")


def _started(name: str, directory: int | None = None) -> bytes:
    """When a thread started, which no two of one number share; empty if it has ended."""
    try:
        # Whatever it is instead, it does not block us, nor has it an end that we wait for.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        with open(os.open(name, flags, dir_fd=directory), "rb", buffering=0) as file:
            # The name, in parentheses, may have spaces and more of them.
            return (file.read(_LONGEST_STAT) or b"").rpartition(b")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return b""
    except IndexError:
        raise ValueError("its first descriptor is no thread's directory in /proc") from None
