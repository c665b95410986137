"""A target's directory in ``/proc``, kept from one of its calls to the next.

Theory of operation. Everything about a target is found below ``/proc/TID``. A descriptor of that
directory belongs to the task and not to the number: when the task has ended it leads nowhere,
and never to another task of the same number. And while the task lives nobody else has the
number. So one that was opened for an earlier call of thread TID, and still works, is the one of
the thread that calls now, and need not be opened again. What is *read* there is read anew for
each call: ids, root and directory may change in between.

Whoever uses one takes it out, and puts it back when the call is over; a thread makes one call
at a time.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from unotify.abi.types import Tid
from unotify.errors import KernelError, TargetGone
from unotify.kernel.rights import read_status

__all__ = ["Home", "Homes"]

_MOST: Final = 64
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_GONE: Final = (errno.ESRCH, errno.ENOENT)


class Home:
    """``/proc/TID`` of one task.

    Attributes:
        directory: Its descriptor.
    """

    __slots__ = ("_status", "directory", "tid", "user_namespace")

    def __init__(self, tid: Tid) -> None:
        self.tid = tid
        self.user_namespace = ""
        """What ``ns/user`` linked to when the home was taken."""
        self._status = -1
        try:
            self.directory = os.open(f"/proc/{tid}", _DIRECTORY)
        except FileNotFoundError:
            if not os.path.exists("/proc/self"):
                raise KernelError(errno.ENOENT, "open(2)", "/proc is not mounted") from None
            raise TargetGone(f"thread {tid} has ended") from None
        except OSError as error:
            raise KernelError(error.errno or errno.EACCES, "open(2)", f"/proc/{tid}") from error

    @classmethod
    def of(cls, tid: Tid) -> Home:
        """A new one; raises as `Homes.take`."""
        return _entered(cls(tid))

    def status(self) -> bytes:
        """Read ``status``; raises `OSError` if the task has ended."""
        return read_status(self.status_fd())

    def status_fd(self) -> int:
        """A descriptor of ``status``, to be read from its beginning; raises as `status`."""
        if self._status < 0:
            self._status = os.open("status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.directory)
        return self._status

    def close(self) -> None:
        """Close its descriptors."""
        os.close(self.directory)
        if self._status >= 0:
            os.close(self._status)


class Homes:
    """Those of threads that made a call lately; a bounded number."""

    def __init__(self) -> None:
        # Each step is one operation of the dictionary, so there is no lock.
        self._free: dict[Tid, Home] = {}
        self._resting = False

    def take(self, tid: Tid) -> Home:
        """The home of *tid*; whoever asks gives it back.

        Raises:
            TargetGone: There is no such thread.
            KernelError: We may not look into it, or no descriptors are left.
        """
        self._resting = False
        kept = self._free.pop(tid, None)
        if kept is not None:
            try:
                return _entered(kept)
            except TargetGone:
                pass  # it was an earlier thread's of that number
        return Home.of(tid)

    def give(self, home: Home) -> None:
        """Put *home* back; the oldest ones are closed."""
        if self._resting:
            home.close()
            return
        other = self._free.pop(home.tid, None)
        if other is not None:
            other.close()
        self._free[home.tid] = home
        while len(self._free) > _MOST:
            try:
                oldest = self._free.pop(next(iter(self._free)))
            except (KeyError, RuntimeError, StopIteration):
                return  # somebody else was quicker
            oldest.close()

    def rest(self) -> None:
        """Close all, and what is given back later, until one is taken again."""
        self._resting = True
        while self._free:
            try:
                self._free.popitem()[1].close()
            except KeyError:
                return


def _entered(home: Home) -> Home:
    try:
        # Its namespace is needed for all that follows, and tells whether it lives.
        home.user_namespace = os.readlink("ns/user", dir_fd=home.directory)
    except OSError as error:
        home.close()
        if error.errno in _GONE:
            raise TargetGone(f"thread {home.tid} has ended") from None
        raise KernelError(
            error.errno or errno.EACCES,
            "readlink(2)",
            f"no look at /proc/{home.tid}/ns/user: {error.strerror}",
            hint="it takes ptrace rights over the target",
        ) from error
    return home
