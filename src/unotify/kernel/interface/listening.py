"""A filter's listener, and waiting for several of them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Flag, auto
from typing import Protocol

from unotify.abi.seccomp import ListenerFlag
from unotify.abi.structs import NotifSizes
from unotify.abi.types import NotificationId

__all__ = ["Listener", "Poller", "Ready"]


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

    def peek(self, bell: Poller, timeout: float | None = None) -> bool:
        """Block until `wait` would return at once, here or at *bell*; takes nothing away.

        Returns:
            Whether it would here; False after *timeout* seconds.
        """

    def fileno(self) -> int:
        """A descriptor that is readable whenever `wait` would return at once."""

    def wake(self) -> None:
        """End one `wait`, now or the next; safe in threads and signal handlers."""

    def close(self) -> None:
        """Free its descriptors."""
