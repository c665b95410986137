"""How a thread that is held is scheduled, set from outside."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final, TypeVar

from unotify.errors import Refused, TargetGone
from unotify.kernel._libc import syscall
from unotify.kernel.acts import number
from unotify.kernel.entries import entry
from unotify.kernel.held import HeldThread
from unotify.kernel.rights import Rights

__all__ = ["Scheduled"]

T = TypeVar("T")

_WHO_PROCESS: Final = 1  # IOPRIO_WHO_PROCESS
_RESET_ON_FORK: Final = 0x40000000


class Scheduled(HeldThread):
    """A thread whose scheduling is asked for, or set; a context manager.

    Args:
        tid: Its number here.

    Raises:
        Refused: ESRCH: there is none.
    """

    def user_namespace(self) -> str:
        """The user namespace that it is in."""
        return self._asked(lambda: os.readlink(f"/proc/{self.tid}/ns/user"))

    def rights(self) -> Rights:
        """Its ids and capabilities."""
        return self._asked(lambda: Rights.parse(entry(self.tid, "status")))

    def policy(self) -> tuple[int, int, bool]:
        """Its policy, the priority of that, and whether children are reset."""
        policy = self._asked(lambda: os.sched_getscheduler(self.tid))
        priority = self._asked(lambda: os.sched_getparam(self.tid).sched_priority)
        return policy & ~_RESET_ON_FORK, priority, bool(policy & _RESET_ON_FORK)

    def nice(self) -> int:
        """Its nice value."""
        return self._asked(lambda: os.getpriority(os.PRIO_PROCESS, self.tid))

    def set_policy(self, policy: int, priority: int, *, reset_on_fork: bool) -> None:
        """As sched_setscheduler(2); *reset_on_fork*: its children do not inherit it.

        Raises:
            Refused: With the kernel's errno.
        """
        flag = _RESET_ON_FORK if reset_on_fork else 0
        self._asked(
            lambda: os.sched_setscheduler(self.tid, policy | flag, os.sched_param(priority))
        )

    def set_nice(self, nice: int) -> None:
        """As setpriority(2) of one thread; raises `Refused`."""
        self._asked(lambda: os.setpriority(os.PRIO_PROCESS, self.tid, nice))

    def set_io_priority(self, priority: int) -> None:
        """As ioprio_set(2) of one thread; raises `Refused`."""
        self.require()
        done = syscall(number("ioprio_set"), _WHO_PROCESS, self.tid, priority)
        if done < 0:
            raise Refused("ioprio_set(2)", errno=-done)

    def _asked(self, what: Callable[[], T]) -> T:
        try:
            found = what()
        except (FileNotFoundError, ProcessLookupError, TargetGone):
            raise self.gone() from None
        except OSError as error:
            raise Refused(str(error), errno=error.errno or errno.EPERM) from None
        self.require()
        return found
