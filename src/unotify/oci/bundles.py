"""Descriptors that belong together, and how they go from one process to another.

A *bundle* has a name and a few descriptors: a container's listener with its journal, or a socket
that runtimes connect to. Over a unix socket of the type SOCK_SEQPACKET each goes in one message,
so that it arrives whole or not at all: a short JSON object, and the descriptors beside it.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "MOST_FDS",
    "Bundle",
    "PeerError",
    "close_all",
    "peer_of",
    "receive",
    "require_peer",
    "send",
]

MOST_FDS: Final = 8
"""The most descriptors of a bundle."""

_LONGEST: Final = 8192
_UCRED: Final = struct.Struct("=iII")


class PeerError(OSError):
    """The other side is not who it should be, or does not say what it should."""


@dataclass(frozen=True)
class Bundle:
    """Descriptors that belong together.

    Attributes:
        name: What they are kept as; up to 255 printable characters of ASCII, and no colon.
        fds: The descriptors, in order.
    """

    name: str
    fds: tuple[int, ...]

    def close(self) -> None:
        """Close them all."""
        close_all(self.fds)


def close_all(fds: Sequence[int]) -> None:
    """Close *fds*."""
    for fd in fds:
        os.close(fd)


def peer_of(sock: socket.socket) -> tuple[int, int]:
    """Process id and user id of whoever connected, or listens, on the other side.

    The process may have ended since, and its number be another's; the user id stays true.
    """
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(raw)
    return pid, uid


def require_peer(sock: socket.socket) -> None:
    """Raise `PeerError` unless the other side is of our own user, or root's."""
    _, uid = peer_of(sock)
    if uid not in (0, os.geteuid()):
        raise PeerError(f"the other side runs as user {uid}, and not as {os.geteuid()} or root")


def send(sock: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send *message*, and copies of *fds*.

    Raises:
        OSError: As from sendmsg(2).
        ValueError: Too much for one message.
    """
    data = json.dumps(message).encode()
    if len(data) > _LONGEST or len(fds) > MOST_FDS:
        raise ValueError(f"a message has {_LONGEST} bytes and {MOST_FDS} descriptors at most")
    socket.send_fds(sock, [data], list(fds))


def receive(sock: socket.socket) -> tuple[dict[str, Any], tuple[int, ...]] | None:
    """Receive a message and its descriptors, which are the caller's; ``None`` at the end.

    Raises:
        PeerError: What came is no such message; its descriptors are closed.
        OSError: As from recvmsg(2).
    """
    room = socket.CMSG_SPACE(MOST_FDS * array.array("i").itemsize)
    data, ancillary, flags, _ = sock.recvmsg(_LONGEST, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    try:
        if not data and not fds:
            return None
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise PeerError("a message was cut off")
        try:
            message = json.loads(data)
        except ValueError:
            raise PeerError("a message is no JSON") from None
        if not isinstance(message, dict):
            raise PeerError("a message is no JSON object")
    except BaseException:
        close_all(fds)
        raise
    return message, tuple(fds)
