"""The packets of LXC's seccomp proxy (``lxc.seccomp.notify.proxy``), without any I/O.

LXC receives a container's notifications itself. It sends each in a packet of its own to a
SOCK_SEQPACKET socket, waits up to 30 seconds for an answer, and gives that to the kernel. A packet
is a header, the kernel's two structs and a cookie, all in the machine's byte order; an answer is
the same without the cookie (src/lxc/seccomp.c, ``struct seccomp_notify_proxy_msg``; tried with
LXC 5.0.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from unotify.abi.structs import NotifSizes
from unotify.protocol import Exchange

__all__ = ["FDS", "MOST_BYTES", "Question", "parse"]

_HEADER: Final = Struct("=QiiHHH2xQ")
_ID: Final = Struct("=Q")

MOST_BYTES: Final = 8192
"""The longest packet that is read; cookies have tens of bytes."""

FDS: Final = 3
"""Descriptors of each packet: the thread's directory in ``/proc``, its memory, the listener."""


@dataclass(frozen=True, slots=True)
class Question:
    """One packet of LXC's.

    Attributes:
        monitor: The process that sends it, as LXC sees it.
        init: The container's first process, likewise.
        notification: The kernel's ``struct seccomp_notif``.
        cookie: What ``lxc.seccomp.notify.cookie`` says.
    """

    monitor: int
    init: int
    notification: bytes
    cookie: bytes
    header: bytes
    """As it came: an answer repeats it."""
    room: int
    """Bytes of the kernel's ``struct seccomp_notif_resp``."""

    @property
    def id(self) -> int:
        """The notification's."""
        return int(_ID.unpack_from(self.notification)[0])

    @property
    def tid(self) -> int:
        """The calling thread, as LXC sees it."""
        return Exchange(self.notification).tid

    def answer(self, response: bytes | bytearray) -> bytes:
        """The packet that answers with a ``struct seccomp_notif_resp``.

        Raises:
            ValueError: It answers another notification.
        """
        if _ID.unpack_from(response)[0] != self.id:
            raise ValueError("the answer of another notification")
        return (
            self.header + self.notification + bytes(response[: self.room]).ljust(self.room, b"\0")
        )


def parse(packet: bytes, sizes: NotifSizes) -> Question:
    """Take a packet apart.

    Args:
        packet: What was received.
        sizes: The kernel's struct sizes, which have to be those of LXC.

    Raises:
        ValueError: It is none.
    """
    if len(packet) < _HEADER.size:
        raise ValueError(f"a packet of {len(packet)} bytes")
    reserved, monitor, init, notif, resp, data, cookie_len = _HEADER.unpack_from(packet)
    if reserved:
        raise ValueError("its reserved field is not 0")
    if (notif, resp, data) != tuple(sizes):
        told = f"{notif}, {resp} and {data} bytes"
        raise ValueError(f"its structs have {told}, the kernel's {tuple(sizes)}")
    rest = len(packet) - _HEADER.size - notif - resp
    if rest != cookie_len:
        raise ValueError(f"its cookie has {rest} bytes, not {cookie_len}")
    begin = _HEADER.size
    notification = packet[begin : begin + notif]
    preset = packet[begin + notif : begin + notif + resp]
    if preset[: _ID.size] != notification[: _ID.size]:
        raise ValueError("its answer has another id than its notification")
    return Question(
        monitor,
        init,
        notification,
        packet[begin + notif + resp :],
        packet[:begin],
        resp,
    )
