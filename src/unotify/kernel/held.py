"""A thread that is held, so that what its number is used for concerns no other.

The kernel takes numbers in many calls, and numbers are reused. So a thread is first held by a
pidfd, and whatever has to be known of it is asked after that; `HeldThread.require` tells whether it
still lives. A number can only go to another when its thread has ended and was waited for. So what
was asked or opened between two of these questions is the same thread's, and what is changed after
one is, unless all that happens in the moment between the question and the call.
"""

from __future__ import annotations

import errno
import os
from types import TracebackType
from typing import Self

from unotify.abi.types import Tid
from unotify.errors import Refused, TargetGone
from unotify.kernel._libc import SYS_PIDFD_SEND_SIGNAL, syscall
from unotify.kernel.entries import process_of
from unotify.kernel.thread import open_pidfd

__all__ = ["HeldThread"]


class HeldThread:
    """A thread that is held by a pidfd; a context manager.

    Before Linux 6.9 the pidfd is one of its process (P6): of a thread that leads none, the number
    is then compared with the process instead, which still excludes other processes' threads.

    Args:
        tid: Its number here.

    Raises:
        Refused: ESRCH: there is none.
    """

    def __init__(self, tid: int) -> None:
        self.tid = tid
        try:
            self._pidfd = open_pidfd(Tid(tid))
            try:
                self._process = process_of(tid)
            except BaseException:
                os.close(self._pidfd)
                raise
        except TargetGone:
            raise self.gone() from None

    @property
    def process(self) -> int:
        """The number of its process here.

        Raises:
            Refused: ESRCH: it has ended.
        """
        self.require()
        return self._process

    def require(self) -> None:
        """Raise `Refused`, ESRCH, if it has ended."""
        done = syscall(SYS_PIDFD_SEND_SIGNAL, self._pidfd, 0, 0, 0)
        try:
            if done == -errno.ESRCH or process_of(self.tid) != self._process:
                raise self.gone()
        except TargetGone:
            raise self.gone() from None

    def gone(self) -> Refused:
        """What is raised if there is no such thread."""
        return Refused(f"no thread {self.tid}", errno=errno.ESRCH)

    def close(self) -> None:
        """Let it go."""
        os.close(self._pidfd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
