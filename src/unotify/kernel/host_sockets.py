"""Sockets of the supervisor's own network namespace, made to be like one of a target's.

A socket belongs to the network namespace that it was made in, for good. So a target that is to
reach the supervisor's network gets another socket, of the same family, type and protocol, with the
options that the target has set on its own: those that differ from what a new socket has. What
only means something in the namespace of the old one (a device, a mark), what takes a right over
the network (a priority), and filters, which cannot be read back, are not taken over.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final, NamedTuple

from unotify.errors import Refused
from unotify.kernel._libc import syscall
from unotify.kernel.acts import number

__all__ = ["Kind", "cookie_of", "is_ours", "kind_of", "listen_on", "made_like", "name_of"]

_SO_PROTOCOL: Final = 38
_SO_COOKIE: Final = 57
_SO_NETNS_COOKIE: Final = 71
_LONGEST: Final = 128


class Kind(NamedTuple):
    """What a socket is: its family, type and protocol."""

    family: int
    type: int
    protocol: int


_ORDINARY: Final = frozenset(
    {
        (socket.SOCK_STREAM, socket.IPPROTO_TCP),
        (socket.SOCK_STREAM, 262),  # IPPROTO_MPTCP
        (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    }
)
"""Types and protocols of sockets that anybody may have; a raw one takes a right."""

# level, option, size in bytes
_OPTIONS: Final = (
    *((socket.SOL_SOCKET, option, 4) for option in (2, 6, 9, 10, 15, 18, 29, 35, 37, 46)),
    (socket.SOL_SOCKET, socket.SO_LINGER, 8),
    (socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16),
    (socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16),
    # IP_TOS, TTL, PKTINFO, MTU_DISCOVER, RECVERR, RECVTTL, RECVTOS, FREEBIND, MULTICAST_TTL, _LOOP
    *((socket.IPPROTO_IP, option, 4) for option in (1, 2, 8, 10, 11, 12, 13, 15, 33, 34)),
    # IPV6_V6ONLY, UNICAST_HOPS, MULTICAST_HOPS, _LOOP, MTU_DISCOVER, RECVERR, TCLASS ...
    *((socket.IPPROTO_IPV6, option, 4) for option in (16, 18, 19, 23, 25, 26, 49, 51, 66, 67)),
    # TCP_NODELAY, CORK, KEEPIDLE, KEEPINTVL, KEEPCNT, SYNCNT, LINGER2, DEFER_ACCEPT, USER_TIMEOUT,
    # FASTOPEN, NOTSENT_LOWAT, FASTOPEN_CONNECT
    *((socket.IPPROTO_TCP, option, 4) for option in (1, 3, 4, 5, 6, 7, 8, 9, 18, 23, 25, 30)),
    (socket.IPPROTO_TCP, 13, 16),  # TCP_CONGESTION
)
_DOUBLED: Final = (socket.SO_SNDBUF, socket.SO_RCVBUF)
"""What the kernel doubles when it is set."""


def kind_of(fd: int) -> Kind:
    """What the socket *fd* is.

    Raises:
        Refused: ENOTSOCK, EBADF: it is none.
    """
    with _borrowed(fd) as found:
        return Kind(
            found.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN),
            found.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE),
            found.getsockopt(socket.SOL_SOCKET, _SO_PROTOCOL),
        )


def cookie_of(fd: int) -> int:
    """A number of the socket *fd* that no other ever has, for as long as the machine runs."""
    with _borrowed(fd) as found:
        return int(struct.unpack("=Q", found.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8))[0])


def is_ours(fd: int) -> bool:
    """Whether the socket *fd* belongs to the supervisor's network namespace (Linux 5.14).

    Raises:
        Refused: EOPNOTSUPP: the kernel does not tell; or *fd* is no socket.
    """
    with _borrowed(fd) as found:
        return _network_of(found) == _our_network()


def name_of(fd: int, *, peer: bool) -> bytes:
    """The ``struct sockaddr`` of the socket *fd*, or of its peer.

    Raises:
        Refused: ENOTCONN and the like.
    """
    # Python takes addresses apart; what the target wants is the bytes.
    call = "getpeername" if peer else "getsockname"
    buffer = ctypes.create_string_buffer(_LONGEST)
    length = ctypes.c_int(_LONGEST)
    done = syscall(number(call), fd, buffer, ctypes.byref(length))
    if done < 0:
        raise Refused(f"{call}(2)", errno=-done)
    return buffer.raw[: length.value]


def listen_on(fd: int, backlog: int) -> None:
    """As listen(2) on the socket *fd*; raises `Refused`."""
    done = syscall(number("listen"), fd, backlog)
    if done < 0:
        raise Refused("listen(2)", errno=-done)


def made_like(fd: int, family: int) -> int:
    """A new socket of *family* in our network namespace, otherwise like *fd*; the caller's.

    Raises:
        Refused: EPROTONOSUPPORT: *fd* is neither TCP nor UDP. Or it cannot be made: has the errno.
    """
    kind = kind_of(fd)
    if (kind.type, kind.protocol) not in _ORDINARY:
        raise Refused("neither TCP nor UDP", errno=errno.EPROTONOSUPPORT)
    try:
        with (
            _borrowed(fd) as theirs,
            socket.socket(family, kind.type, kind.protocol) as made,
        ):
            for level, option, size in _OPTIONS:
                _replay(theirs, made, level, option, size)
            for option in _DOUBLED:
                _replay(theirs, made, socket.SOL_SOCKET, option, 4, lambda size: size // 2)
            made.setblocking(os.get_blocking(fd))
            return made.detach()
    except OSError as error:
        raise Refused(f"no socket of family {family}", errno=error.errno or errno.EIO) from None


def _replay(
    theirs: socket.socket,
    made: socket.socket,
    level: int,
    option: int,
    size: int,
    turned: Callable[[int], int] = int,
) -> None:
    try:
        value = theirs.getsockopt(level, option, size)
        if value == made.getsockopt(level, option, size):
            return
        if size == 4:
            value = struct.pack("=i", turned(struct.unpack("=i", value)[0]))
        made.setsockopt(level, option, value)
    except OSError:
        pass  # not of this family or type; or a right that is the target's alone


@contextmanager
def _borrowed(fd: int) -> Iterator[socket.socket]:
    """The socket *fd* as an object of Python's, which does not close it."""
    copy = os.dup(fd)
    try:
        found = socket.socket(fileno=copy)
    except OSError as error:
        os.close(copy)
        raise Refused("no socket", errno=error.errno or errno.ENOTSOCK) from None
    with found:
        yield found


def _network_of(found: socket.socket) -> bytes:
    try:
        return found.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    except OSError:
        raise Refused(
            "this kernel does not tell a socket's network namespace", errno=errno.EOPNOTSUPP
        ) from None


@cache
def _our_network() -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        return _network_of(found)
