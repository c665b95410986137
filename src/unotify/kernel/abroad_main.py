"""The process that acts in another user namespace; see `unotify.kernel.abroad`.

It has one thread, and imports little. What it is told comes from the supervisor alone.
"""

from __future__ import annotations

import array
import errno
import os
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Final

from unotify.abi.types import Tid
from unotify.calls.lookups import AT_FDCWD
from unotify.errors import Error, KernelError, Refused, TargetError
from unotify.kernel._libc import check, syscall
from unotify.kernel.acts import BIND_MOUNT, Outcome, execute, number, of_effective
from unotify.kernel.overlaying import OVERLAY
from unotify.kernel.overlaying import make as overlay
from unotify.kernel.packing import pack_outcome, unpack_act
from unotify.kernel.pinning import Pin
from unotify.kernel.places import Place
from unotify.kernel.rights import (
    CAP_SYS_ADMIN,
    Rights,
    become,
    limited,
    mine,
    read_status,
    settle,
    taken_on,
)
from unotify.kernel.socketing import CHROOT, SOCKETS, execute_on_socket

__all__ = ["main"]

_CLONE_NEWUSER: Final = 0x10000000
_MOST_FDS: Final = 253
_TICK: Final = 0.1


class _Place(Place):
    """A place whose descriptors came with the request."""

    __slots__ = ("_root", "_starts")

    def __init__(self, tid: Tid, tgid: int, root: int, starts: dict[int, int]) -> None:
        super().__init__(tid, lambda: tgid)
        self._root = root
        self._starts = starts

    @property
    def root(self) -> int:
        return self._root

    def start(self, dirfd: int) -> int:
        if dirfd not in self._starts:
            raise Refused(f"the target has no descriptor {dirfd}", errno=errno.EBADF)
        return self._starts[dirfd]


def main(control: int, namespace: int, ids: str = "") -> None:
    """Enter the user namespace of *namespace*, and act until *control* ends.

    Args:
        control: A socket that requests come from.
        namespace: What to enter.
        ids: User, group and further groups to take on before, where it has no ids of its own.
    """
    connection = socket.socket(fileno=control)
    try:
        if ids:
            become(*map(int, ids.split()))
        check(syscall(number("setns"), namespace, _CLONE_NEWUSER), "setns(2)")
        if not ids:
            settle()
        refused = 0
    except KernelError as error:
        refused = error.errno or errno.EPERM
    os.close(namespace)
    connection.sendall(refused.to_bytes(4, "little"))
    if refused:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks are nobody's to wait for
    while True:
        head, fds, _, _ = socket.recv_fds(connection, 8, _MOST_FDS, socket.MSG_CMSG_CLOEXEC)
        if len(head) < 8 or not fds:
            return
        text = _exactly(connection, int.from_bytes(head, "little"))
        try:
            _serve(text, fds[0], fds[1:])
        finally:
            for fd in fds:
                os.close(fd)


def _exactly(connection: socket.socket, length: int) -> bytes:
    text = b""
    while len(text) < length:
        more = connection.recv(length - len(text))
        if not more:
            raise SystemExit
        text += more
    return text


def _serve(text: bytes, answer: int, fds: list[int]) -> None:
    act, names, pins, told = unpack_act(text)
    may_wait = act.name in ("openat", "connect", "sendmsg", BIND_MOUNT, OVERLAY)
    try:
        if may_wait and os.fork():
            return
    except OSError:
        if act.name in (BIND_MOUNT, OVERLAY):
            return  # this process has to stay where it is
        may_wait = False  # too many processes: it waits here, and all others with it
    fd = -1
    try:
        reply, fd = _done(act, dict(zip(names, fds, strict=True)), pins, told, answer)
        with socket.socket(fileno=os.dup(answer)) as connection:
            head = len(reply).to_bytes(8, "little")
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
            connection.sendmsg([head], ancillary if fd >= 0 else [])
            if fd >= 0:
                # Before the rest is there, and with it the answer: the target may count on being
                # the only one who has it open.
                os.close(fd)
                fd = -1
            connection.sendall(reply)
    except OSError:
        pass  # nobody waits for it any more
    finally:
        if may_wait:
            os._exit(0)
        if fd >= 0:
            os.close(fd)


def _done(
    act: Any, fds: dict[str, int], names: dict[str, bytes], told: dict[str, Any], answer: int
) -> tuple[bytes, int]:
    root = fds["root"]
    starts = {int(name[3:]): fd for name, fd in fds.items() if name.startswith("at ")}
    starts.setdefault(AT_FDCWD, root)
    place = _Place(Tid(told["tid"]), told["tgid"], root, starts)
    alike, limit = told["limits"]
    place.is_alike, place.file_limit = lambda: alike, lambda: limit
    pins = {name: Pin(fds[f"pin {name}"], pinned, root) for name, pinned in names.items()}
    given = {name[3:]: fd for name, fd in fds.items() if name.startswith("fd ")}
    passed = {int(name[5:]): fd for name, fd in fds.items() if name.startswith("pass ")}
    try:
        ours = mine()
        theirs = _without_strangers(_rights(fds["proc"]), ours)
        umask = theirs.umask
        if act.real_ids:
            theirs = theirs.of_real_ids()
            act = of_effective(act)
        place.fsuid = theirs.fsuid
        os.umask(umask)
        with _acting_as(theirs, ours, more=_MORE.get(act.name, 0)):
            if act.name == OVERLAY:
                outcome = overlay(act, pins)
            elif act.name in SOCKETS:
                outcome = execute_on_socket(
                    act, place, pins, given, passed, None, own_cwd=True, wait=_waiting(answer)
                )
            else:
                outcome = execute(act, place, pins, given, _waiting(answer))
    except TargetError as error:
        return pack_outcome(Outcome(-error.errno), str(error)), -1
    except (Error, OSError) as error:
        failed = error.errno if isinstance(error, OSError) and error.errno else errno.EPERM
        return pack_outcome(Outcome(-failed), str(error)), -1
    return pack_outcome(outcome), outcome.fd


_MOUNTS: Final = CHROOT | CAP_SYS_ADMIN
_MORE: Final = {"bind": CHROOT, BIND_MOUNT: _MOUNTS, OVERLAY: _MOUNTS}
"""Capabilities in the user namespace that an act needs, whatever the target has."""


def _acting_as(theirs: Rights, ours: Rights, *, more: int) -> AbstractContextManager[None]:
    if theirs.key == ours.key:
        return nullcontext()
    if theirs.key[:-1] == ours.key[:-1]:
        # In a namespace without ids nobody can take on any; ours are the target's then.
        return limited(theirs.effective | more, ours)
    return taken_on(theirs, ours, more=more)


def _rights(proc: int) -> Rights:
    fd = os.open("status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        return Rights.parse(read_status(fd))
    finally:
        os.close(fd)


def _without_strangers(theirs: Rights, ours: Rights) -> Rights:
    """*theirs* without groups that have no number here: they could be anybody's."""
    if _groups_stay():
        return replace(theirs, groups=ours.groups)
    with open("/proc/sys/kernel/overflowgid") as file:
        overflow = int(file.read())
    return replace(theirs, groups=tuple(gid for gid in theirs.groups if gid != overflow))


def _groups_stay() -> bool:
    """Whether nobody here can change groups; ours are the target's as far as they count."""
    with open("/proc/self/setgroups") as asked:
        if asked.read().strip() == "deny":
            return True
    for kind in ("uid", "gid"):
        with open(f"/proc/self/{kind}_map") as table:
            if not table.read():
                return True  # then we had the target's groups before we came
    return False


def _waiting(answer: int) -> Callable[[Callable[[], int]], int]:
    """Waits as long as somebody wants the answer."""

    def wait(call: Callable[[], int]) -> int:
        def look(*_: object) -> None:
            try:
                gone = not os.read(answer, 1)
            except BlockingIOError:
                gone = False
            if gone:
                os._exit(0)

        os.set_blocking(answer, False)
        signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)
        try:
            while (done := call()) == -errno.EINTR:
                pass
            return done
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.set_blocking(answer, True)

    return wait
