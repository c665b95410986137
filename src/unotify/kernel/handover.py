"""Listeners from other processes, and to them.

A listener is a descriptor, so it travels as one: over a unix socket
(SCM_RIGHTS), or taken out of a process that has it (pidfd_getfd(2), Linux 5.6).
Every copy keeps it alive (R3).
"""

from __future__ import annotations

import array
import errno
import os
import socket
from typing import Final

from unotify.abi.types import Tid
from unotify.errors import KernelError, TargetGone
from unotify.kernel._libc import SYS_PIDFD_GETFD, check, syscall
from unotify.kernel.listener import LISTENER_LINK, LinuxListener
from unotify.kernel.thread import open_pidfd

__all__ = ["listener_from_pid", "receive_listener", "send_listener"]

_MOST_FDS: Final = 253
"""SCM_MAX_FD: as many as one message can carry; room for all, so that none is lost."""


def send_listener(sock: socket.socket, listener: LinuxListener, data: bytes = b"\0") -> None:
    """Send *listener* over a unix socket, with *data* (not empty) beside it.

    The sender's copy stays open: close it, or the receiver's death leaves the
    targets waiting for it (R7).

    Raises:
        ValueError: *data* is empty: a stream socket would carry nothing.
        OSError: As from sendmsg(2).
    """
    if not data:
        raise ValueError("at least one byte has to go with a listener")
    rights = array.array("i", [listener.fileno()])
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def receive_listener(sock: socket.socket, *, size: int = 65536) -> tuple[LinuxListener, bytes]:
    """Receive a listener over a unix socket, and what was sent beside it.

    Other descriptors that came along are closed.

    Args:
        sock: A connected socket; as long as it blocks, so does this.
        size: The most bytes of data.

    Raises:
        KernelError: ECONNRESET: the sender closed. EBADMSG: no listener, or
            several, or a message that was cut off.
        OSError: As from recvmsg(2).
    """
    room = socket.CMSG_SPACE(_MOST_FDS * array.array("i").itemsize)
    data, ancillary, flags, _ = sock.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    listeners = [fd for fd in fds if _is_listener(fd)]
    problem = None
    if not data and not fds:
        problem = errno.ECONNRESET, "the other side closed before it sent a listener"
    elif flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
        problem = errno.EBADMSG, "the message was cut off: out of descriptors, or too much data"
    elif len(listeners) != 1:
        problem = errno.EBADMSG, f"one listener was expected, {len(listeners)} came"
    for fd in fds:
        if problem or fd != listeners[0]:
            os.close(fd)
    if problem:
        raise KernelError(problem[0], "recvmsg(2)", problem[1])
    return LinuxListener(listeners[0]), data


def listener_from_pid(pid: int, fd: int | None = None) -> LinuxListener:
    """Duplicate a listener that process *pid* has open.

    Needs ptrace rights over it; works also while it is blocked in a call.

    Args:
        pid: A process or thread.
        fd: The listener's number in there; looked for if ``None``.

    Raises:
        TargetGone: There is no such process.
        KernelError: ENOENT: it has no listener. EINVAL: it has several, or *fd* is
            something else. EPERM: no rights (M3). ENOSYS: before Linux 5.6.
    """
    pidfd = open_pidfd(Tid(pid))
    try:
        number = _find(pid) if fd is None else fd
        copy = check(
            syscall(SYS_PIDFD_GETFD, pidfd, number, 0),
            "pidfd_getfd(2)",
            hint="it needs ptrace rights over the process: same user, or CAP_SYS_PTRACE",
        )
    finally:
        os.close(pidfd)
    try:
        return LinuxListener.from_fd(copy)
    except BaseException:
        os.close(copy)
        raise


def _find(pid: int) -> int:
    directory = f"/proc/{pid}/fd"
    try:
        numbers = [int(name) for name in os.listdir(directory)]
    except FileNotFoundError:
        raise TargetGone(f"there is no process {pid}") from None
    except OSError as error:
        raise KernelError(
            error.errno or errno.EPERM, "open(/proc/PID/fd)", hint="it needs ptrace rights"
        ) from None
    found = [number for number in numbers if _link(f"{directory}/{number}") == LISTENER_LINK]
    if len(found) == 1:
        return found[0]
    if not found:
        raise KernelError(errno.ENOENT, "readlink(2)", f"process {pid} has no listener open")
    raise KernelError(
        errno.EINVAL, "readlink(2)", f"process {pid} has several listeners: {sorted(found)}"
    )


def _is_listener(fd: int) -> bool:
    return _link(f"/proc/thread-self/fd/{fd}") == LISTENER_LINK


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
