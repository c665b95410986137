"""Connecting, binding and sending on the target's own socket, with addresses that were copied.

Theory of operation. The socket is a duplicate of the target's descriptor (pidfd_getfd), so what is
done to it is done to the target's, and its network namespace goes with it. A unix address with
a path is looked up as the target would; the kernel then gets the pinned socket by its name in
our ``/proc/thread-self/fd``.

Who sends shows: a peer that asks for credentials (SO_PEERCRED, SCM_CREDENTIALS) gets the effective
ids that were taken on, but the supervisor's process id; where the kernel lets us, the target's
is given with each message.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

from unotify.calls.acts import Act
from unotify.calls.lookups import AT_FDCWD, Spot
from unotify.calls.messages import Control, Message
from unotify.errors import Refused
from unotify.kernel._libc import syscall
from unotify.kernel.acts import Outcome, number
from unotify.kernel.blocking import Waiting
from unotify.kernel.host_sockets import made_like
from unotify.kernel.pinning import Pin, pin
from unotify.kernel.places import Place
from unotify.kernel.rights import CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN
from unotify.kernel.walking import NO_MAGICLINKS, openat2

__all__ = ["CHROOT", "HOST", "SENDER", "SOCKETS", "Sender", "execute_on_socket", "unix_path"]

_AF: Final = struct.Struct("=H")
_SOL_SOCKET: Final = 1
_SO_TYPE: Final = 3
_SO_DOMAIN: Final = 39
_SCM_RIGHTS: Final = 1
_SCM_CREDENTIALS: Final = 2
_HEAD: Final = struct.Struct("@Nii")
_WORD: Final = struct.calcsize("@N")
_UCRED: Final = struct.Struct("=iII")

SENDER: Final = CAP_SYS_ADMIN | CAP_SETUID | CAP_SETGID
"""What it takes to say who a message is from."""

CHROOT: Final = 1 << 18
"""CAP_SYS_CHROOT: what it takes to bind to a path as seen from another root."""


HOST: Final = 2
"""As the value ``fresh`` of an act: it is done on a new socket of our own network namespace."""

SOCKETS: Final = frozenset({"connect", "bind", "sendmsg"})
"""Acts that are done here."""


class Sender(NamedTuple):
    """Who a message on a unix socket is from.

    Attributes:
        pid: The process, as we number it.
        uid: Its real user id.
        gid: Its real group id.
        own_pid: What it calls itself, in its own pid namespace.
        uids: User ids that it may give; ``None``: all.
        gids: Group ids that it may give; ``None``: all.
    """

    pid: int
    uid: int
    gid: int
    own_pid: int
    uids: frozenset[int] | None
    gids: frozenset[int] | None

    def saying(self, data: bytes) -> bytes:
        """The ``struct ucred`` that stands for the target's *data*.

        We have the capabilities to say anything, so the kernel's checks are made here.

        Raises:
            Refused: EPERM: it says to be what it is not.
        """
        if len(data) != _UCRED.size:
            raise Refused("credentials of another size", errno=errno.EINVAL)
        pid, uid, gid = _UCRED.unpack(data)
        if (
            pid not in (self.pid, self.own_pid)
            or (self.uids is not None and uid not in self.uids)
            or (self.gids is not None and gid not in self.gids)
        ):
            raise Refused("credentials of somebody else", errno=errno.EPERM)
        return _UCRED.pack(self.pid, uid, gid)


def execute_on_socket(
    act: Act,
    place: Place,
    pins: Mapping[str, Pin],
    fds: Mapping[str, int],
    passed: Mapping[int, int],
    sender: Sender | None,
    *,
    own_cwd: bool,
    wait: Waiting,
) -> Outcome:
    """Connect, bind or send.

    Args:
        act: What.
        place: Where paths of unix sockets begin.
        pins: What the path in ``address`` was found to name already.
        fds: Our copy of the socket.
        passed: Our copies of descriptors that are sent along, by the target's number.
        sender: Who it is from, where that can be said.
        own_cwd: Whether this thread's current directory is its own.
        wait: For what may take long.
    """
    fd = fds["fd"]
    _option(fd, _SO_TYPE)  # what is no socket is refused before any path is looked at
    if act.values.get("fresh") == HOST:
        return _on_host(act, place, fd, passed, wait)
    held = pins.get("address")
    if act.name == "sendmsg":
        return _send(act, place, fd, passed, sender, wait, held)
    address = act.values["address"]
    assert isinstance(address, bytes)
    if act.name == "bind":
        return _bind(place, fd, address, held, own_cwd=own_cwd)
    family = _AF.unpack_from(address)[0] if len(address) >= 2 else 0
    address, pinned = _address(place, address, held)
    fresh = -1
    try:
        if act.values.get("fresh"):
            fresh = _another(fd, family)
            fd = fd if fresh < 0 else fresh
        done = wait(lambda: syscall(number("connect"), fd, address, len(address)))
        if fresh >= 0 and done in (0, -errno.EINPROGRESS):
            fresh = -1
            return Outcome(done, fd)
        return Outcome(done)
    finally:
        if fresh >= 0:
            os.close(fresh)
        if pinned is not None:
            pinned.close()


def _on_host(act: Act, place: Place, fd: int, passed: Mapping[int, int], wait: Waiting) -> Outcome:
    """The same on a new socket of our own network namespace, which is the caller's if it worked."""
    address = act.values["address"]
    assert isinstance(address, bytes)
    fresh = made_like(fd, _AF.unpack_from(address)[0])
    try:
        if act.name == "sendmsg":
            done = _send(act, place, fresh, passed, None, wait).value
        else:
            done = wait(lambda: syscall(number(act.name), fresh, address, len(address)))
        if done >= 0 or done == -errno.EINPROGRESS:
            kept, fresh = fresh, -1
            return Outcome(done, kept)
        return Outcome(done)
    finally:
        if fresh >= 0:
            os.close(fresh)


def _another(fd: int, family: int) -> int:
    """A new socket of *family*, of the kind of *fd*; -1 if that one will do."""
    theirs, kind = _option(fd, _SO_DOMAIN), _option(fd, _SO_TYPE)
    if theirs == family:
        return -1
    try:
        with socket.socket(family, kind) as made:
            made.setblocking(os.get_blocking(fd))
            return made.detach()
    except OSError as error:
        raise Refused(f"no socket of family {family}", errno=error.errno or errno.EIO) from None


def _option(fd: int, option: int) -> int:
    # Without socket.socket(fileno=...), which keeps what is no socket open for good.
    value = struct.pack("=i", 0)
    length = ctypes.c_uint(len(value))
    buffer = ctypes.create_string_buffer(value, len(value))
    done = syscall(number("getsockopt"), fd, _SOL_SOCKET, option, buffer, ctypes.byref(length))
    if done < 0:
        raise Refused("the target's descriptor is no socket", errno=-done)
    return int(struct.unpack("=i", buffer.raw)[0])


def unix_path(address: bytes) -> bytes | None:
    """The path in a unix address, or ``None``: it has none."""
    if len(address) < 3 or _AF.unpack_from(address)[0] != socket.AF_UNIX or not address[2]:
        return None
    return address[2:].split(b"\0", 1)[0]


def _address(place: Place, address: bytes, held: Pin | None) -> tuple[bytes, Pin | None]:
    """*address*, with a pinned socket in place of its path; and what is to be closed after it.

    *held* is that socket, if somebody has pinned it before.
    """
    path = unix_path(address)
    if path is None:
        return address, None
    found = pin(place, Spot(path)) if held is None else held
    ours = found if held is None else None
    if found.name:
        # Whoever makes it now may make it a link, which would be followed from our own root.
        if ours is not None:
            ours.close()
        raise Refused(f"{os.fsdecode(path)}: there is no such socket", errno=errno.ENOENT)
    return _AF.pack(socket.AF_UNIX) + b"/proc/thread-self/fd/%d\0" % found.fd, ours


def _bind(place: Place, fd: int, address: bytes, held: Pin | None, *, own_cwd: bool) -> Outcome:
    path = unix_path(address)
    if path is None:
        return Outcome(syscall(number("bind"), fd, address, len(address)))
    pinned = pin(place, Spot(path, follow=False, parent=True)) if held is None else held
    try:
        # The path stays as it is where it can: getsockname(2) tells it. Not if the directory was
        # decided about, since the path may lead elsewhere by now.
        if own_cwd and held is None:
            with _standing(place) as there:
                if there and _means_the_same(place, path, pinned):
                    return Outcome(syscall(number("bind"), fd, address, len(address)))
        name = b"/proc/thread-self/fd/%d/%s\0" % (pinned.fd, pinned.name)
        address = _AF.pack(socket.AF_UNIX) + name
        if len(address) > 110:
            return Outcome(-errno.ENAMETOOLONG)
        return Outcome(syscall(number("bind"), fd, address, len(address)))
    finally:
        if held is None:
            pinned.close()


@contextmanager
def _standing(place: Place) -> Iterator[bool]:
    """Stand at the target's root and directory, for one system call; or not, without the right.

    Only for a thread whose root and directory are its own. If there is no way back it ends,
    and all of us with it.
    """
    shared = place.shares_root()
    start, root = place.start(AT_FDCWD), place.root
    home = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    moved = False
    try:
        if not shared:
            os.fchdir(root)
            moved = syscall(number("chroot"), b".") == 0
        if shared or moved:
            os.fchdir(start)
        yield shared or moved
    finally:
        os.fchdir(home)
        if moved and syscall(number("chroot"), b".") < 0:
            os.abort()
        os.close(home)


def _means_the_same(place: Place, path: bytes, pinned: Pin) -> bool:
    """Whether *path* leads us where it leads the target: not through ``/proc/self``."""
    head, slash, _ = path.rstrip(b"/").rpartition(b"/")
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    found = openat2(place.start(AT_FDCWD), head + slash or b".", flags, 0, NO_MAGICLINKS)
    if found < 0:
        return False
    try:
        # By whichever mount: the socket is made in that directory. Nothing in /proc is ours here.
        ours, theirs = os.fstat(found), os.fstat(pinned.fd)
        return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)
    finally:
        os.close(found)


class _Header(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_char_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


def _send(
    act: Act,
    place: Place,
    fd: int,
    passed: Mapping[int, int],
    sender: Sender | None,
    wait: Waiting,
    held: Pin | None = None,
) -> Outcome:
    flags = int(act.values["flags"] or 0) | socket.MSG_NOSIGNAL
    stream = _option(fd, _SO_TYPE) == socket.SOCK_STREAM
    unix = _option(fd, _SO_DOMAIN) == socket.AF_UNIX
    several = act.call == "sendmmsg"
    sent: list[int] = []
    for message in act.messages:
        if message.cut and not stream:
            done = -errno.EMSGSIZE
        else:
            whose = sender if unix else None
            done = _send_one(place, fd, message, passed, whose, flags, wait, held)
        if not several:
            return Outcome(done)
        if done < 0:
            if not sent:
                return Outcome(done)
            break
        sent.append(done)
    outs = {f"length {at}": struct.pack("=I", count) for at, count in enumerate(sent)}
    return Outcome(len(sent), outs=outs)


def _send_one(
    place: Place,
    fd: int,
    message: Message,
    passed: Mapping[int, int],
    sender: Sender | None,
    flags: int,
    wait: Waiting,
    held: Pin | None,
) -> int:
    address, pinned = _address(place, message.address, held)
    try:
        control = b"".join(_controls(message.controls, passed, sender))
        vector = _Vector(message.data, len(message.data))
        header = _Header(
            address or None,
            len(address),
            ctypes.addressof(vector),
            1,
            control or None,
            len(control),
            0,
        )
        return wait(lambda: syscall(number("sendmsg"), fd, ctypes.byref(header), flags))
    finally:
        if pinned is not None:
            pinned.close()


def _controls(
    controls: tuple[Control, ...], passed: Mapping[int, int], sender: Sender | None
) -> list[bytes]:
    found, said = [], False
    for control in controls:
        data = control.data
        if control.level == _SOL_SOCKET and control.kind == _SCM_RIGHTS:
            data = b"".join(struct.pack("=i", passed[fd]) for fd in control.fds)
        elif control.level == _SOL_SOCKET and control.kind == _SCM_CREDENTIALS:
            said = True
            if sender is not None:
                data = sender.saying(data)
            elif len(data) == _UCRED.size:
                # Ours is the only process id that the kernel believes us.
                data = struct.pack("=i", os.getpid()) + data[4:]
        found.append(_control(control.level, control.kind, data))
    if sender is not None and not said:
        found.append(_control(_SOL_SOCKET, _SCM_CREDENTIALS, _UCRED.pack(*sender[:3])))
    return found


def _control(level: int, kind: int, data: bytes) -> bytes:
    raw = _HEAD.pack(_HEAD.size + len(data), level, kind) + data
    return raw + bytes(-len(raw) % _WORD)
