"""Reads that the target stalls: how many threads they may cost.

Theory of operation. A page may be guarded by userfaultfd(2), or belong to a file
on FUSE. Who reads it waits for as long as the target likes, and no signal but a
fatal one ends that wait (M4). A thread of its own for each read would cost ten
times what the read costs, and would have to wait all the same.

So reads happen in the thread that needs them, and the guard keeps the books: which
reads are under way, since when, of which process. One that has taken longer than
the deadline is *stalled*. Its thread is lost for as long as the target likes, and a
supervisor takes another one for its work (`StallGuard.stalled` tells how many). What
that may cost is bounded: while one read of a process is stalled, further reads of
it fail at once, and `MAX_STALLED` is the bound for all processes together. The
target hurts itself: it waits for its own page.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from unotify.errors import BadAddress

__all__ = ["MAX_STALLED", "StallGuard"]

MAX_STALLED: Final = 64
"""How many stalled reads one guard endures before it refuses to read at all."""

T = TypeVar("T")


class StallGuard:
    """Keeps the books of reads; shared by all threads of a process.

    Args:
        deadline: Seconds that a read may take before it counts as stalled.
    """

    def __init__(self, deadline: float = 0.5) -> None:
        if not deadline > 0:
            raise ValueError(f"a deadline is more than 0 seconds, not {deadline}")
        self.deadline = deadline
        # Only ever changed in one step each, which is atomic; so no lock.
        self._reads: dict[object, tuple[float, Callable[[], int]]] = {}

    @property
    def stalled(self) -> int:
        """How many reads are stalled right now, each with a thread."""
        return len(self._stalled()) if self._reads else 0

    def call(self, read: Callable[[], T], tgid: Callable[[], int]) -> T:
        """Return ``read()``, in this thread.

        Args:
            read: Reads memory, and may take for ever.
            tgid: Tells the process it reads from. Asked for only when
                something is stalled: it costs more than a read.

        Raises:
            BadAddress: An earlier read of the same process is stalled, or too
                many of others are.
        """
        if self._reads:
            self._refuse(tgid)
        ticket = object()
        self._reads[ticket] = time.monotonic(), tgid
        try:
            return read()
        finally:
            del self._reads[ticket]

    def _stalled(self) -> list[Callable[[], int]]:
        late = time.monotonic() - self.deadline
        return [tgid for since, tgid in list(self._reads.values()) if since <= late]

    def _refuse(self, tgid: Callable[[], int]) -> None:
        stalled = self._stalled()
        if len(stalled) >= MAX_STALLED:
            raise BadAddress(f"{len(stalled)} reads of other processes are stalled")
        if stalled and tgid() in [other() for other in stalled]:
            raise BadAddress(f"an earlier read of the memory of process {tgid()} is stalled")
