"""The thread that makes a call: opened when something of it is asked first.

Theory of operation. Most calls are decided by their registers, and nothing is opened for them.
Else the thread is opened first and the notification asked after that whether it still waits (P8),
and asked again after each read (M6); the kernel's room does so. Once the notification is answered
or has vanished the same thread id may be somebody else's, so everything is over with it.
"""

from __future__ import annotations

from collections.abc import Callable

from unotify.abi.types import NotificationId, Tid
from unotify.errors import TargetGone
from unotify.kernel.interface import Kernel, Listener, Pinned, Thread
from unotify.protocol import Exchange

__all__ = ["Opened"]


class Opened:
    """What all parts of a :class:`unotify.Target` share."""

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

    def _mark(self) -> Thread:
        """Open it, for what may change while it is looked at: no plain Continue afterwards."""
        self._exchange.memory_read = True
        return self._open()

    def _open(self) -> Thread:
        if not self._exchange.waiting:
            raise TargetGone(f"thread {self.tid} does not wait for this call any more")
        if self._thread is None:
            self._thread = self._kernel.open_thread(self.tid, self.is_waiting)
        return self._thread
