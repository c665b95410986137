"""A listener that a worker has a copy of, on the running kernel."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.scenarios.language import Seen
from tests.scenarios.real_waiting import until
from tests.scenarios.real_words import name_of, number_of, said
from unotify.abi.structs import NOTIF, RESPONSE

if TYPE_CHECKING:
    from tests.scenarios.real_worker import RealWorker

__all__ = ["RealHeld"]

RECV, SEND, VALID, ADDFD = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103


class Ordered:
    """An ioctl that a worker makes."""

    def __init__(self, held: RealHeld, request: int, understand: Callable[[Any], Any]) -> None:
        self._held, self._request, self._understand = held, request, understand

    def sleeps(self) -> None:
        """Wait until it does."""
        call = Path(f"/proc/{self._held.worker.pid}/syscall")
        until(lambda: f" {self._request:#x} " in call.read_text(), "its sleep")

    def result(self) -> Any:
        """What came."""
        return self._understand(self._held.worker.said(""))


class RealHeld:
    """A listener that a worker has a copy of."""

    def __init__(self, worker: RealWorker, fd: int, *, compat: bool) -> None:
        self.worker, self.fd, self._compat = worker, fd, compat

    def _begin(self, request: int, data: bytes) -> None:
        compat = self._compat
        self.worker.start("ioctl", fd=self.fd, request=request, hex=data.hex(), compat=compat)

    def _ioctl(self, request: int, data: bytes) -> Any:
        self._begin(request, data)
        return self.worker.said("")

    def recv(self, buffer: str = "clean") -> Seen | str:
        """RECV."""
        return seen(self._ioctl(RECV, bytes(NOTIF.size)))

    def recv_later(self) -> Ordered:
        """RECV that sleeps."""
        self._begin(RECV, bytes(NOTIF.size))
        return Ordered(self, RECV, seen)

    def send(self, id: int, value: int = 0, error: int = 0, flags: int = 0) -> str:
        """SEND."""
        return said(number_of(self._ioctl(SEND, RESPONSE.pack(id, value, error, flags))))

    def valid(self, id: int, *, old: bool = False) -> str:
        """ID_VALID."""
        return said(number_of(self._ioctl(VALID, struct.pack("=Q", id))))

    def addfd(self, id: int, *, flags: int = 0) -> int | str:
        """ADDFD of what the worker has as 0."""
        return number_of(self._ioctl(ADDFD, struct.pack("=QIIII", id, flags, 0, 0, 0)))

    def addfd_later(self, id: int, *, flags: int = 0) -> Ordered:
        """The same, sleeping."""
        self._begin(ADDFD, struct.pack("=QIIII", id, flags, 0, 0, 0))
        return Ordered(self, ADDFD, number_of)

    def close(self) -> None:
        """Close it."""
        self.worker.close(self.fd)


def seen(answer: Any) -> Seen | str:
    """A notification, or an errno."""
    if answer["errno"]:
        return name_of(answer["errno"])
    id, pid, flags, nr, arch, ip, *args = NOTIF.unpack(bytes.fromhex(answer["hex"]))
    return Seen(id, pid, flags, nr, arch, ip, tuple(args))
