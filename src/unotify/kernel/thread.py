"""A blocked target thread: reaching into it, and acting for it.

The number that a notification tells is a *thread* id (P1). A pidfd of the process would read
the wrong descriptor table where a thread has its own (P7), so a pidfd of the thread is
taken where the kernel has such (PIDFD_THREAD, Linux 6.9).

Most handlers read a path and nothing else; so each thing is opened when it is asked for.
"""

from __future__ import annotations

import errno
import os
import signal
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from unotify.abi.types import NotificationId, Tid
from unotify.calls.lookups import Spot
from unotify.errors import KernelError, TargetGone
from unotify.kernel._libc import (
    SYS_PIDFD_GETFD,
    SYS_PIDFD_OPEN,
    SYS_PIDFD_SEND_SIGNAL,
    check,
    syscall,
)
from unotify.kernel.entries import process_of, unseen
from unotify.kernel.home import Homes
from unotify.kernel.lives import Life, children_of, life_of
from unotify.kernel.memory import LinuxMemory
from unotify.kernel.pinning import Pin, pin
from unotify.kernel.stall import StallGuard
from unotify.kernel.standing import Standing

if TYPE_CHECKING:
    from unotify.calls.acts import Act
    from unotify.kernel.acts import Outcome
    from unotify.kernel.making import Made
    from unotify.kernel.surroundings import Surroundings

__all__ = ["PIDFD_THREAD", "LinuxThread", "open_pidfd"]

PIDFD_THREAD: Final = os.O_EXCL
"""pidfd_open(2) of any thread, since Linux 6.9 (P6)."""


def open_pidfd(tid: Tid) -> int:
    """Open a pidfd of thread *tid*; of its process where the kernel has no thread pidfds.

    Raises:
        TargetGone: There is no such thread.
        KernelError: EMFILE and the like.
    """
    fd = syscall(SYS_PIDFD_OPEN, tid, PIDFD_THREAD)
    if fd == -errno.EINVAL:
        # Before 6.9: only thread group leaders have one (P6).
        fd = syscall(SYS_PIDFD_OPEN, process_of(tid), 0)
    if fd == -errno.ESRCH:
        raise TargetGone(f"thread {tid} has ended")
    return check(fd, "pidfd_open(2)")


class Acting(Protocol):
    """Who acts for a thread."""

    def act(self, thread: LinuxThread, act: Act, pins: Mapping[str, Pin]) -> Outcome:
        """Do *act* as *thread* would."""

    def pin(self, thread: LinuxThread, spot: Spot) -> Pin:
        """Hold what *spot* names for *thread*."""

    def make(
        self, thread: LinuxThread, listener: int, id: NotificationId, act: Act, **conditions: Any
    ) -> Made | None:
        """Do *act* for *thread* in one go, if that is plain."""

    @property
    def homes(self) -> Homes:
        """Directories in ``/proc`` that are kept."""


class LinuxThread(Standing):
    """One target thread that waits for an answer; a context manager.

    Args:
        tid: From the notification.
        still_valid: Tells whether the notification still waits.
        guard: Bounds what stalled reads of its memory cost (M4).
        actor: Does what is asked of `act`.

    Raises:
        TargetGone: *tid* is 0: the target is in a pid namespace that cannot be seen
            from here (P3). Answering it works, reaching into it does not.
    """

    __slots__ = ("_actor", "_pidfd", "memory")

    def __init__(
        self,
        tid: Tid,
        still_valid: Callable[[], bool],
        *,
        guard: StallGuard | None = None,
        actor: Acting | None = None,
    ) -> None:
        self._pidfd = -1
        if tid <= 0:
            raise TargetGone("the target is not visible from this pid namespace (its id is 0)")
        super().__init__(tid, still_valid, homes=None if actor is None else actor.homes)
        self._actor = actor
        self.memory = LinuxMemory(tid, self._still_valid, guard=guard, tgid=self.process)

    # -- its descriptors, namespaces and signals -----------------------------

    def fileno(self) -> int:
        """A pidfd of it; of its process before Linux 6.9. It is closed by `close`."""
        self._require_open()
        if self._pidfd < 0:
            pidfd = open_pidfd(self.tid)
            if not self._still_valid():
                os.close(pidfd)
                raise self._gone()
            self._pidfd = pidfd
        return self._pidfd

    def steal_fd(self, fd: int) -> int:
        """Duplicate its descriptor *fd*; the result is close-on-exec and the caller's.

        Raises:
            TargetGone: It does not wait any more.
            KernelError: EBADF if it has no such descriptor; EPERM without ptrace
                rights over it (M3); ENOSYS before Linux 5.6.
        """
        result = syscall(SYS_PIDFD_GETFD, self.fileno(), fd, 0)
        if result == -errno.ESRCH:
            raise self._gone()
        stolen = check(result, "pidfd_getfd(2)")
        if not self._still_valid():
            os.close(stolen)
            raise self._gone()
        held = self.place.held(fd)
        if held is not None and not os.path.samestat(os.fstat(held), os.fstat(stolen)):
            os.close(stolen)
            raise KernelError(
                errno.EBADF, "pidfd_getfd(2)", f"descriptor {fd} is another than was looked at"
            )
        return stolen

    def kill(self) -> None:
        """Send SIGKILL to its process, and to no other.

        Raises:
            TargetGone: It does not wait any more.
            KernelError: EPERM: it is another user's.
        """
        result = syscall(SYS_PIDFD_SEND_SIGNAL, self.fileno(), signal.SIGKILL, 0, 0)
        if result == -errno.ESRCH:
            raise self._gone()
        check(result, "pidfd_send_signal(2)")

    def open_namespace(self, kind: str) -> int:
        """A descriptor of its namespace *kind*, which is the caller's."""
        return self._opened(f"ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)

    def open_user_namespace(self) -> int:
        """A descriptor of its user namespace, which is the caller's."""
        return self.open_namespace("user")

    def _opened(self, name: str, flags: int) -> int:
        self._require_open()
        try:
            fd = os.open(f"/proc/{self.tid}/{name}", flags)
        except (FileNotFoundError, ProcessLookupError):
            raise TargetGone(f"thread {self.tid} has ended") from None
        except OSError as error:
            raise unseen(error, self.tid, name) from error
        if not self._still_valid():
            os.close(fd)
            raise self._gone()
        return fd

    # -- what it names, and acting for it ------------------------------------

    def pin(self, spot: Spot) -> Pin:
        """Find out what *spot* names, and hold it; see :func:`unotify.kernel.pinning.pin`.

        The walk is made with the target's rights, if somebody acts for it. The caller closes
        the result.

        Raises:
            TargetGone: It does not wait any more.
            Refused: The kernel would refuse the path too; has its errno.
            KernelError: We have no ptrace rights over it.
        """
        found = pin(self.place, spot) if self._actor is None else self._actor.pin(self, spot)
        if not self._still_valid():
            found.close()
            raise self._gone()
        return found

    def act(self, act: Act, pins: Mapping[str, Pin]) -> Outcome:
        """Do *act* as this thread would; see `unotify.kernel.acting.Actor.act`."""
        self._require_open()
        if self._actor is None:
            raise TargetGone("nobody acts for this thread")
        return self._actor.act(self, act, pins)

    def make(
        self,
        listener: int,
        id: NotificationId,
        act: Act,
        **conditions: Any,
    ) -> Made | None:
        """Do *act*, which makes a name, in one go; see `unotify.kernel.making.Maker.make`."""
        self._require_open()
        if self._actor is None:
            return None
        made = self._actor.make(self, listener, id, act, **conditions)
        if made is not None:
            self._owes = None  # it was asked in there, after all looks
        return made

    def look(self, spot: Spot, *, flags: int = 0, mask: int = 0) -> bytes:
        """``struct statx`` of what *spot* names; see :func:`unotify.kernel.looking.look`.

        Nobody has asked yet whether it still waits: that is for `settle`.
        """
        from unotify.kernel.looking import look  # whoever only reads does not wait for it

        self._require_open()
        actor = self._actor
        if actor is None:
            return look(self, spot, lambda spot: pin(self.place, spot), flags=flags, mask=mask)
        return look(self, spot, lambda spot: actor.pin(self, spot), flags=flags, mask=mask)

    def look_at_fd(self, fd: int) -> bytes:
        """``struct statx`` of a descriptor of our own."""
        from unotify.kernel.looking import look_at_fd

        return look_at_fd(fd)

    def life(self) -> Life:
        """Its process, and whose child that is."""
        found = life_of(self.tgid)
        if found is None:
            raise self._gone()
        return self._checked(found)

    def life_of(self, pid: int) -> Life | None:
        """Another process, such as its parent: whose number *pid* is now."""
        return life_of(pid)

    def children_of(self, pid: int) -> list[int]:
        """The children of process *pid* that live."""
        return children_of(pid)

    def around(self, container: str | None = "") -> Surroundings:
        """Its container, namespaces and control groups; see there for *container*."""
        from unotify.kernel.surroundings import Surroundings

        self._require_open()
        return Surroundings(self, container)

    def close(self) -> None:
        """Free it; later use raises :exc:`TargetGone`."""
        pidfd, self._pidfd = self._pidfd, -1
        super().close()
        if pidfd >= 0:
            os.close(pidfd)
        self.memory.close()

    def __del__(self) -> None:
        if self._pidfd >= 0:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def __repr__(self) -> str:
        return f"<LinuxThread {getattr(self, 'tid', 0)}>"
