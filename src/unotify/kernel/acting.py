"""Acting for a target: as whom, and in which thread.

Theory of operation. Three questions decide where an act happens.

- Is the target in our user namespace? If not its ids and capabilities mean something else here,
  and a process of its namespace acts (`unotify.kernel.abroad`). A message on a unix socket that
  asks for nobody's rights is sent from here all the same, for we can say who it is from.
- May it do what we may? A supervisor with privileges takes on the target's
  (`unotify.kernel.rights`), in whatever thread it is.
- Does the act make a file, and is the target's umask another than ours? A umask belongs to
  a process, so this happens in a thread that has left the others' (CLONE_FS). Likewise what
  needs a current directory.

Everything of the target is opened before rights are changed, and the target asked after that
whether it still waits (P8). Credentials, root and directory may change between two calls of one
thread, so they are looked up for each. What is kept is the target's directory in ``/proc``
(`unotify.kernel.home`) and the processes in other namespaces, until the last target has gone.
"""

from __future__ import annotations

import errno
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import Any, Final, TypeAlias

from unotify.calls.acts import Act
from unotify.calls.lookups import AT_FDCWD, Spot
from unotify.calls.messages import Control
from unotify.errors import KernelError, Refused, TargetGone
from unotify.kernel._libc import SYS_PIDFD_SEND_SIGNAL, check, syscall
from unotify.kernel.abroad import Abroad
from unotify.kernel.acts import BIND_MOUNT, Outcome, execute, number, of_effective
from unotify.kernel.blocking import Interrupter, Waiting
from unotify.kernel.overlaying import OVERLAY
from unotify.kernel.pinning import Pin, pin
from unotify.kernel.places import Place
from unotify.kernel.rights import (
    CAP_SETGID,
    CAP_SETUID,
    Rights,
    are_mine,
    mine,
    my_status,
    same_rights,
    taken_on,
    umask_of,
)
from unotify.kernel.socketing import CHROOT, SENDER, SOCKETS, Sender, execute_on_socket, unix_path

__all__ = ["Actor"]

_CLONE_FS: Final = 0x200
_REST: Final = 5.0


class Actor:
    """Acts for all targets of one kernel object."""

    def __init__(self) -> None:
        self.interrupter = Interrupter()
        self._apart = _Apart()
        self._abroad = Abroad()
        self._known: Rights | None = None

    @cached_property
    def _home(self) -> str:
        return os.readlink("/proc/self/ns/user")

    @cached_property
    def _own(self) -> bytes:
        # Rights are only ever lost: if some were meanwhile, we act with less than we think.
        return my_status()

    def _mine(self) -> Rights:
        """This thread's rights; read again if they are others than were known."""
        known = self._known
        if known is None or not are_mine(known):
            known = self._known = mine()
        return known

    @cached_property
    def _privileged(self) -> bool:
        # Whoever has no capability may look into nobody but its equals (M3).
        return os.geteuid() == 0 or bool(Rights.parse(self._own).effective)

    def rest(self) -> None:
        """End the processes that acted in other user namespaces, but for those that do now."""
        self._abroad.rest()

    def act(self, thread: Any, act: Act, pins: Mapping[str, Pin]) -> Outcome:
        """Do *act* for *thread*.

        Args:
            thread: A `unotify.kernel.thread.LinuxThread`.
            act: What.
            pins: What some of its paths were found to name already.

        Raises:
            TargetGone: It does not wait any more.
            TargetError: The act cannot be done; has the errno that the target gets.
            KernelError: The supervisor may not.
        """
        alone = not (act.fds or act.messages or pins)
        if alone and (act.as_supervisor or act.lent or not self._is_abroad(thread)):
            return self._here(thread, act, pins, {}, {})
        with ExitStack() as stack:
            fds = {name: _stolen(stack, thread, fd) for name, fd in act.fds.items()}
            passed = {
                fd: _stolen(stack, thread, fd)
                for message in act.messages
                for control in message.controls
                for fd in control.fds
            }
            if not act.as_supervisor:
                for pinned in pins.values():
                    pinned.require_reached()
            away = not (act.as_supervisor or act.lent) and self._is_abroad(thread)
            if act.name in (BIND_MOUNT, OVERLAY) and not away:
                raise Refused("it is in our own user namespace", errno=errno.EPERM)
            if away and not _is_letter(act, fds):
                thread.settle()
                with self.interrupter.entry(thread.process, thread.is_waiting) as wait:
                    outcome = self._abroad.act(thread, act, pins, fds, passed, wait)
            else:
                outcome = self._here(thread, act, pins, fds, passed)
        if act.name == "sendmsg" and outcome.value == -errno.EPIPE:
            _break_pipe(thread, act)
        return outcome

    def pin(self, thread: Any, spot: Spot) -> Pin:
        """Find out what *spot* names for *thread*, with its rights.

        What it may not reach is looked up with ours, for rules to match, and is then refused to
        whoever acts on it with the target's rights.

        Raises:
            TargetError, KernelError: As `unotify.kernel.pinning.pin`.
        """
        place: Place = thread.place
        try:
            with self.interrupter.entry(thread.process, thread.is_waiting) as wait:
                if self._is_abroad(thread):
                    return self._abroad.pin(thread, spot, wait)
                return self._pin_here(thread, place, spot)
        except Refused as refused:
            if refused.errno != errno.EACCES:
                raise
            try:
                found = pin(place, spot)
            except Refused:
                raise refused from None
            found.out_of_reach = True
            return found

    def _pin_here(self, thread: Any, place: Place, spot: Spot) -> Pin:
        if self._privileged:
            theirs = self._others(thread)
            if theirs is not None:
                ours = self._mine()
                place.prepare(spot)
                before, place.fsuid = place.fsuid, theirs.fsuid
                try:
                    with taken_on(theirs, ours):
                        return pin(place, spot)
                finally:
                    place.fsuid = before
        return pin(place, spot)

    def _is_abroad(self, thread: Any) -> bool:
        return bool(thread.user_namespace() != self._home)

    def _others(self, thread: Any) -> Rights | None:
        """The target's rights; ``None``: they are our own."""
        status: bytes = thread.status()
        at_home = thread.user_namespace() == self._home
        if at_home and same_rights(status, self._own):
            return None
        theirs = Rights.parse(status)
        return theirs if at_home else replace(theirs, effective=0, permitted=0)

    def _here(
        self,
        thread: Any,
        act: Act,
        pins: Mapping[str, Pin],
        fds: Mapping[str, int],
        passed: Mapping[int, int],
    ) -> Outcome:
        place: Place = thread.place
        theirs = sender = None
        if not act.as_supervisor and self._privileged:
            theirs = self._others(thread)
            if act.real_ids or act.messages:
                theirs = theirs or thread.rights()
                sender = _sender(act, thread, fds.get("fd", -1), theirs, self._mine())
                if act.real_ids:
                    theirs = theirs.of_real_ids()
        if act.real_ids:
            # Whoever acts has the rights that were asked about as its effective ones.
            act = of_effective(act)

        def work(wait: Waiting, own_cwd: bool) -> Outcome:
            if act.name in SOCKETS:
                return execute_on_socket(
                    act, place, pins, fds, passed, sender, own_cwd=own_cwd, wait=wait
                )
            return execute(act, place, pins, fds, wait)

        def as_target(own_cwd: bool = False) -> Outcome:
            with self.interrupter.entry(thread.process, thread.is_waiting) as wait:
                if theirs is None:
                    return work(wait, own_cwd)
                more = act.lent | (CHROOT if act.name == "bind" else 0)
                with taken_on(theirs, self._mine(), more=SENDER if sender else more):
                    return work(wait, own_cwd)

        if not act.as_supervisor:
            place.is_alike = thread.is_alike
            place.file_limit = thread.file_limit
        if theirs is not None:
            place.fsuid = theirs.fsuid
            _prepare(place, act, pins)
        umask = self._umask(thread, act)
        if umask is None:
            if not act.spots.keys() <= pins.keys():
                place.root  # noqa: B018 - opened, before the target is asked whether it waits
            thread.settle()
            return as_target()
        _prepare(place, act, pins)
        thread.settle()
        return self._apart.run(umask, as_target)

    def _umask(self, thread: Any, act: Act) -> int | None:
        """The umask to act with in a thread apart; ``None``: this thread will do."""
        address = act.values.get("address")
        if act.name == "bind":
            if not isinstance(address, bytes) or unix_path(address) is None:
                return None
            return umask_of(my_status() if act.as_supervisor else thread.status())
        if not act.creates or act.as_supervisor:
            return None
        theirs = umask_of(thread.status())
        return None if theirs == umask_of(my_status()) else theirs


def _is_credentials(control: Control) -> bool:
    return (control.level, control.kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)


def _is_letter(act: Act, fds: Mapping[str, int]) -> bool:
    """Whether *act* asks for nobody's rights: it sends on a unix socket, to no path, as itself.

    Then it need not be done in the target's user namespace, where nobody could say which
    process a message is from.
    """
    if act.name != "sendmsg" or any(
        unix_path(message.address) or any(map(_is_credentials, message.controls))
        for message in act.messages
    ):
        return False
    return _is_unix(fds["fd"])


def _sender(act: Act, thread: Any, fd: int, theirs: Rights, ours: Rights) -> Sender | None:
    if act.name != "sendmsg" or ours.permitted & SENDER != SENDER or not _is_unix(fd):
        return None
    uids = frozenset((theirs.uid, theirs.real[0], theirs.saved[0]))
    gids = frozenset((theirs.gid, theirs.real[1], theirs.saved[1]))
    return Sender(
        *(thread.tgid, *theirs.real, theirs.own_pid),
        None if theirs.effective & CAP_SETUID else uids,
        None if theirs.effective & CAP_SETGID else gids,
    )


def _is_unix(fd: int) -> bool:
    # Elsewhere what it takes to say who sends would be a right to send other things.
    try:
        with socket.socket(fileno=os.dup(fd)) as found:
            return found.family == socket.AF_UNIX
    except OSError:
        return False


def _prepare(place: Place, act: Act, pins: Mapping[str, Pin]) -> None:
    for argument, spot in act.spots.items():
        if argument not in pins:
            place.prepare(spot)
    if act.name in SOCKETS:
        place.root  # noqa: B018 - opened
        place.start(AT_FDCWD)


def _stolen(stack: ExitStack, thread: Any, fd: int) -> int:
    try:
        stolen: int = thread.steal_fd(fd)
    except KernelError as error:
        if error.errno in (errno.EBADF, errno.EINVAL):
            raise Refused(f"the target has no descriptor {fd}", errno=errno.EBADF) from None
        raise
    stack.callback(os.close, stolen)
    return stolen


def _break_pipe(thread: Any, act: Act) -> None:
    # What send(2) on a broken stream does besides its error.
    if not int(act.values["flags"] or 0) & socket.MSG_NOSIGNAL:
        done = syscall(SYS_PIDFD_SEND_SIGNAL, thread.fileno(), signal.SIGPIPE, 0, 0)
        if done == -errno.ESRCH:
            raise TargetGone(f"thread {thread.tid} has ended")
        check(done, "pidfd_send_signal(2)")


_Job: TypeAlias = tuple[int, Callable[[bool], Outcome], Future[Outcome]]


class _Apart:
    """Threads that share neither umask nor current directory with the others."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def run(self, umask: int, work: Callable[[bool], Outcome]) -> Outcome:
        """Return ``work(True)``, done in such a thread with *umask*."""
        future: Future[Outcome] = Future()
        job = umask, work, future
        with self._lock:
            wanted = self._idle == 0
            self._idle -= not wanted
        if wanted:
            # With its first job in hand: if it cannot start, nobody else finds that one later.
            threading.Thread(
                target=self._serve, args=(job,), name="unotify-apart", daemon=True
            ).start()
        else:
            self._jobs.put(job)
        return future.result()

    def _serve(self, job: _Job) -> None:
        try:
            check(
                syscall(number("unshare"), _CLONE_FS),
                "unshare(2)",
                hint="the umask of a target is taken on by a thread that has its own",
            )
        except BaseException as error:
            job[2].set_exception(error)
            return
        while True:
            umask, work, future = job
            del job
            os.umask(umask)
            try:
                future.set_result(work(True))
            except BaseException as error:
                future.set_exception(error)
            del work, future
            with self._lock:
                self._idle += 1
            found = self._next()
            if found is None:
                return
            job = found
            del found

    def _next(self) -> _Job | None:
        while True:
            try:
                return self._jobs.get(timeout=_REST)
            except queue.Empty:
                with self._lock:
                    if self._idle == 0:  # somebody counts on us: a job is on its way
                        continue
                    self._idle -= 1
                    return None
