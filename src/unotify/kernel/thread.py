"""A blocked target thread: who it is, and how to reach into it.

Theory of operation. All we are told is a number, and numbers are reused. So
whatever is opened by that number, a pidfd, /proc/TID, memory, is opened first;
then the notification is asked whether it still waits (P8). If it does, its thread
was blocked when we opened, so what we opened is its own, and stays so: a pidfd never
changes its task, and a new task of that number needs the old one to be dead.

The number is a *thread* id (P1). A pidfd of the process would read the wrong
descriptor table where a thread has its own (P7), so a pidfd of the thread is
taken where the kernel has such (PIDFD_THREAD, Linux 6.9).

Most handlers read a path and nothing else; so each thing is opened when it is asked for.
"""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from unotify.abi.types import Tid
from unotify.errors import KernelError, TargetGone
from unotify.kernel._libc import SYS_PIDFD_GETFD, SYS_PIDFD_OPEN, check, syscall
from unotify.kernel.memory import LinuxMemory
from unotify.kernel.stall import StallGuard

__all__ = ["PIDFD_THREAD", "LinuxThread", "open_pidfd"]

T = TypeVar("T")

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
        fd = syscall(SYS_PIDFD_OPEN, _tgid(tid), 0)
    if fd == -errno.ESRCH:
        raise TargetGone(f"thread {tid} has ended")
    return check(fd, "pidfd_open(2)")


class LinuxThread:
    """One target thread that waits for an answer; a context manager.

    Args:
        tid: From the notification.
        still_valid: Tells whether the notification still waits.
        guard: Bounds what stalled reads of its memory cost (M4).

    Raises:
        TargetGone: *tid* is 0: the target is in a pid namespace that cannot be seen
            from here (P3). Answering it works, reaching into it does not.
    """

    __slots__ = ("_pidfd", "_still_valid", "_tgid", "memory", "tid")

    def __init__(
        self, tid: Tid, still_valid: Callable[[], bool], *, guard: StallGuard | None = None
    ) -> None:
        self._pidfd = -1
        if tid <= 0:
            raise TargetGone("the target is not visible from this pid namespace (its id is 0)")
        self.tid = tid
        self._tgid = 0
        self._still_valid = still_valid
        self.memory = LinuxMemory(tid, still_valid, guard=guard, tgid=self._process)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._pidfd == -2

    @property
    def tgid(self) -> int:
        """The process it belongs to, as seen from here."""
        if not self._tgid:
            self._require_open()
            self._tgid = self._checked(_tgid(self.tid))
        return self._tgid

    def comm(self) -> str:
        """Its name, up to 15 characters that it may choose freely."""
        self._require_open()
        return self._checked(_proc(self.tid, "comm").decode("utf-8", "backslashreplace")[:-1])

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
        return stolen

    def close(self) -> None:
        """Free it; later use raises :exc:`TargetGone`."""
        pidfd, self._pidfd = self._pidfd, -2
        if pidfd >= 0:
            os.close(pidfd)
        self.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._pidfd >= 0:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def __repr__(self) -> str:
        return f"<LinuxThread {getattr(self, 'tid', 0)}>"

    def _process(self) -> int:
        # For the guard: of a read that is stalled the notification may be over.
        if not self._tgid:
            try:
                self._tgid = _tgid(self.tid)
            except TargetGone:
                return 0
        return self._tgid

    def _require_open(self) -> None:
        if self.closed:
            raise self._gone()

    def _checked(self, value: T) -> T:
        if not self._still_valid():
            raise self._gone()
        return value

    def _gone(self) -> TargetGone:
        return TargetGone(f"thread {self.tid} does not wait for this call any more")


def _proc(tid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{tid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        if not Path("/proc/self").exists():
            raise KernelError(errno.ENOENT, "open(2)", "/proc is not mounted") from None
        raise TargetGone(f"thread {tid} has ended") from None


def _tgid(tid: int) -> int:
    for line in _proc(tid, "status").splitlines():
        if line.startswith(b"Tgid:"):
            return int(line.split()[1])
    raise TargetGone(f"thread {tid} has ended")
