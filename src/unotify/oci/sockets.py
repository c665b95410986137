"""Sockets that runtimes connect to: made here, or passed by systemd."""

from __future__ import annotations

import array
import errno
import os
import socket
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from unotify.errors import KernelError
from unotify.oci.systemd import Inherited

__all__ = [
    "SO_TIMESTAMP",
    "Peer",
    "Received",
    "listen",
    "listening",
    "peer_of",
    "receive",
    "unlink",
]

SO_TIMESTAMP: Final = getattr(socket, "SO_TIMESTAMP", 29)
"""Has the kernel note when each packet was sent; Python has no name for it."""

_BACKLOG: Final = 1024
_CREDENTIALS: Final = struct.Struct("iII")
_TIME: Final = struct.Struct("ll")
_INT: Final = array.array("i").itemsize
_MOST_FDS: Final = 253
"""SCM_MAX_FD: room for as many as one message can carry, so that none is lost for lack of it."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who connected, as the kernel tells (SO_PEERCRED): as it was then, in our namespaces."""

    pid: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Received:
    """What one recvmsg(2) returned; the descriptors are the caller's."""

    data: bytes
    fds: tuple[int, ...]
    truncated: bool
    stamp: float | None = None
    """When it was sent, in seconds since the epoch, where the socket keeps that."""


def listen(path: str, kind: socket.SocketKind) -> socket.socket:
    """Make a listening socket that only its owner may connect to.

    One that a former agent has left behind is replaced.

    Args:
        path: Where; its directory has to exist.
        kind: SOCK_STREAM for container runtimes, SOCK_SEQPACKET for LXC.

    Raises:
        KernelError: EADDRINUSE: somebody listens there, or it is no socket. ENAMETOOLONG. Others
            as from bind(2).
    """
    encoded = os.fsencode(path)
    if not encoded or encoded[0] in b"\0@":
        raise KernelError(
            errno.EINVAL,
            "bind(2)",
            f"{path!r} is no path",
            hint="an abstract socket has no permissions; give the path of a file",
        )
    if len(encoded) > 107:
        raise KernelError(
            errno.ENAMETOOLONG, "bind(2)", f"{path} is longer than 107 bytes, as sockets' names go"
        )
    made = socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        _clear(path, kind)
        made.bind(path)
        # Nobody can connect before listen(), so nobody finds it with other permissions.
        os.chmod(path, 0o600)
        made.listen(_BACKLOG)
    except KernelError:
        made.close()
        raise
    except OSError as error:
        made.close()
        raise KernelError(
            error.errno or errno.EIO, "bind(2)", f"cannot listen at {path}: {error.strerror}"
        ) from None
    return made


def _clear(path: str, kind: socket.SocketKind) -> None:
    """Remove a socket that nobody listens at any more."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    problem = f"{path} exists and is no socket"
    if stat.S_ISSOCK(mode):
        with socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as s:
            found = s.connect_ex(path)
        if found == errno.ECONNREFUSED:
            os.unlink(path)
            return
        problem = f"another process listens at {path}"
    raise KernelError(
        errno.EADDRINUSE, "bind(2)", problem, hint="stop it first, or give another path"
    )


def unlink(path: str, inode: int) -> None:
    """Remove *path* if it still is the socket that was made with *inode*."""
    try:
        if os.lstat(path).st_ino == inode:
            os.unlink(path)
    except OSError:
        return


def listening(passed: Sequence[Inherited]) -> list[socket.socket]:
    """The listening sockets that a service manager has passed to us.

    Args:
        passed: As :func:`unotify.oci.systemd.inherited` tells.

    Raises:
        KernelError: EINVAL: one of them is no listening unix socket.
    """
    found = []
    for each in passed:
        try:
            given = socket.socket(fileno=each.fd)
        except OSError as error:
            raise KernelError(
                errno.EINVAL,
                "getsockopt(2)",
                f"descriptor {each.fd} ({each.name}) of LISTEN_FDS: {error.strerror}",
            ) from None
        if given.family != socket.AF_UNIX or not given.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        ):
            raise KernelError(
                errno.EINVAL,
                "getsockopt(2)",
                f"descriptor {each.fd} ({each.name}) of LISTEN_FDS is no listening unix socket",
                hint="ListenStream= for container runtimes, ListenSequentialPacket= for LXC",
            )
        given.setblocking(False)
        found.append(given)
    return found


def peer_of(connection: socket.socket) -> Peer:
    """Who connected."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(*_CREDENTIALS.unpack(raw))


def receive(connection: socket.socket, size: int) -> Received | None:
    """Receive what is there, with its descriptors; ``None`` if nothing is.

    Raises:
        OSError: As from recvmsg(2).
    """
    room = socket.CMSG_SPACE(_MOST_FDS * _INT) + socket.CMSG_SPACE(_TIME.size)
    flags = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
    try:
        data, ancillary, found, _ = connection.recvmsg(size, room, flags)
    except BlockingIOError:
        return None
    fds, stamp = array.array("i"), None
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % _INT])
        elif level == socket.SOL_SOCKET and kind == SO_TIMESTAMP:
            seconds, microseconds = _TIME.unpack(content)
            stamp = seconds + microseconds / 1e6
    return Received(data, tuple(fds), bool(found & socket.MSG_CTRUNC), stamp)
