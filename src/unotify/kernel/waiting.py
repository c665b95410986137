"""A blocked thread that is known by a number, and whether it still waits.

Theory of operation. All we are told is a number, and numbers are reused. So
whatever is opened by that number, a pidfd, /proc/TID, memory, is opened first;
then the notification is asked whether it still waits (P8). If it does, its thread
was blocked when we opened, so what we opened is its own, and stays so: a pidfd never
changes its task, and a new task of that number needs the old one to be dead.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from unotify.abi.types import Tid
from unotify.errors import TargetGone

__all__ = ["Waiting"]

T = TypeVar("T")


class Waiting:
    """A thread that waits for an answer; a context manager.

    Attributes:
        tid: Its id, as seen from here.
        closed: Whether `close` was called.
    """

    __slots__ = ("_owes", "_waits", "closed", "tid")

    def __init__(self, tid: Tid, still_valid: Callable[[], bool]) -> None:
        self.tid = tid
        self.closed = False
        self._waits = still_valid
        self._owes: bool | None = None

    def is_waiting(self) -> bool:
        """Whether its notification still waits."""
        return self._waits()

    def defer(self) -> None:
        """Ask only once, at `settle`, whether it still waits, and not after each look (P8, M6).

        For who looks at several things, and uses none of them before.
        """
        if self._owes is None:
            self._owes = False

    def settle(self) -> None:
        """Ask now for all that was looked at since `defer`.

        Raises:
            TargetGone: It does not wait any more.
        """
        if not self._paid():
            raise self._gone()

    def forget(self) -> None:
        """Ask at once again from now on; what was looked at since `defer` was not used."""
        self._paid()

    def close(self) -> None:
        """Free what is open; later use raises :exc:`TargetGone`."""
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- for what is built on it ---------------------------------------------

    def _still_valid(self) -> bool:
        if self._owes is None:
            return self._waits()
        self._owes = True
        return True

    def _checked(self, value: T) -> T:
        if not self._still_valid():
            raise self._gone()
        return value

    def _require_open(self) -> None:
        if self.closed:
            raise self._gone()

    def _gone(self) -> TargetGone:
        return TargetGone(f"thread {self.tid} does not wait for this call any more")

    def _paid(self) -> bool:
        owes, self._owes = self._owes, None
        if not owes or self._waits():
            return True
        self.close()  # what was looked at may be somebody else's
        return False
