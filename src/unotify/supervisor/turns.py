"""Who leads, for how long, and how somebody else takes the lead.

Theory of operation. A turn is a list of one: the leader takes the item out when it has finished,
and who takes the lead takes it out before. Taking is atomic, and much cheaper than a lock. An
exchange that no table knows yet is that item itself, for others to make known; for one that is
known it is None. Each turn has a list of its own: a former leader must not take what is its
successor's.

Why one leads and another looks at it, `readers` says.
"""

from __future__ import annotations

import time
from collections import deque
from threading import Thread, current_thread
from time import perf_counter_ns
from typing import Final, TypeAlias

from unotify.kernel.interface import Kernel, Listener, Poller
from unotify.protocol import Exchange
from unotify.supervisor.crew import Crew
from unotify.supervisor.engine import Engine
from unotify.supervisor.holding import after
from unotify.supervisor.quick import Quick
from unotify.supervisor.quotas import Quota
from unotify.supervisor.sources import Source

__all__ = ["Turn", "Turns"]

TAKEOVER: Final = 0.004
"""Seconds that a handler may take before somebody else leads."""

_LINGER: Final = 500_000
"""Nanoseconds that a call may take without Python: a quick one takes a twentieth of it."""

_LOOKS: Final = 32
"""Looks of which a container makes a suspect of itself if it lingered at so many:"""
_LINGERS: Final = 4

_DROWSY: Final = 25
"""Looks without any call after which the understudy dozes."""

Turn: TypeAlias = list[tuple[Source, Exchange] | None]


class Turns(Crew):
    """Threads of which one has the turn, and one looks at it."""

    def __init__(self, kernel: Kernel, engine: Engine, *, most: int) -> None:
        super().__init__(kernel, most=most)
        self.sources: dict[Listener, Source] = {}
        self._engine = engine
        self._poller: Poller = kernel.poller()
        self._lookout: Poller = kernel.poller()
        self.quick = Quick(
            kernel, self._poller, self._lookout, self.sources, self._lock, engine.instruments
        )
        self._busy_since = 0
        self._serving: Source | None = None
        self._current: Turn = []
        self._dozing = False
        self._looks: deque[Quota | None] = deque(maxlen=_LOOKS)

    def _limit(self) -> int:
        since = self.quick.since()
        # Who is stuck in there may be the only one that could take the lead from itself.
        return super()._limit() + self.quick.stuck + bool(since and self._is_late(since))

    # -- the leader ----------------------------------------------------------

    def _begin_turn(self, unknown: tuple[Source, Exchange] | None) -> Turn:
        turn = [unknown]
        self._current = turn
        self._busy_since = perf_counter_ns()
        if self._dozing:
            self._dozing = False
            self._lookout.wake()
        return turn

    def _answering(self) -> None:
        """The handler is done: what this turn takes from now on is counted anew.

        The target goes on with the answer, and its next call may pend before the turn is over.
        """
        if self._busy_since and current_thread() is self._leader:
            self._busy_since = perf_counter_ns()

    def _finish_turn(self, turn: Turn) -> bool:
        """Whether we still lead."""
        try:
            turn.pop()
        except IndexError:
            # Wait until whoever took it has made it known: we are about to answer it.
            with self._lock:
                return False
        self._busy_since = 0
        return True

    # -- the understudy ------------------------------------------------------

    def _stand_by(self, me: Thread) -> None:
        seen, quiet = self._current, 0
        while self._understudy is me and not self._stopping:
            since = self._since()
            if since and self._is_late(since):
                if self._is_wanted(since) and self._since() == since and self._take_over(me):
                    self._ensure()
                    return
            else:
                self._note(since)
                idle = not since and self._current is seen
                seen, quiet = self._current, quiet + 1 if idle else 0
            if quiet < _DROWSY:
                time.sleep(TAKEOVER)
            else:
                self._doze()
                quiet = 0

    def _note(self, since: int) -> None:
        """Note whose call others wait for, if it is one that takes no Python.

        Each may be over in time, and there may be one after the other.
        """
        quota: Quota | None = None
        # A thread that has no processor says nothing of the call that it is in.
        lingers = since and perf_counter_ns() - since >= _LINGER and self._sleeps()
        if lingers and self._poller.peek(self._lookout, 0):
            with self._lock:
                source = self.quick.whose()
                if source is not None and self.quick.since() == since:
                    quota = source.quota
                    if quota is not None and self._looks.count(quota) >= _LINGERS - 1:
                        self._suspect(source, surely=True)
                        self._looks.clear()
        self._looks.append(quota)

    def _sleeps(self) -> bool:
        """Whether the leader waits for something, and not for a processor."""
        tid = getattr(self._leader, "native_id", None)
        return tid is not None and self._kernel.sleeps(tid)

    def _is_late(self, since: int) -> bool:
        """Whether a call that has been with its handler *since* then takes too long to wait for."""
        return perf_counter_ns() - since >= TAKEOVER * 1e9

    def _since(self) -> int:
        """Since when the leader is busy with one call; 0: it is not."""
        return self._busy_since or self.quick.since()

    def _is_wanted(self, since: int) -> bool:
        """Wait until somebody has to take the lead from a leader that is stuck; or return False."""
        # Of what takes no Python nobody else knows that it has a deadline; that may be the next
        # one of this leader, of which we hear nothing.
        left = deadline = self._engine.deadline
        due = -1
        if deadline is not None and self.quick.since() == since:
            due = after(since, deadline)
            left = max(0, due - perf_counter_ns()) / 1e9
        # At the leader's poller, for all listeners at once: there may be thousands.
        if self._poller.peek(self._lookout, left):
            return True
        self._lookout.wait(0)  # somebody rang, who wants nothing of us, or our end
        return 0 <= due <= perf_counter_ns()

    def _doze(self) -> None:
        self._dozing = True
        self.quick.doze(True)
        # A turn that began before would not ring.
        if not self._since():
            self._lookout.wait()
        self._dozing = False
        self.quick.doze(False)

    def _take_over(self, me: Thread) -> bool:
        """Take the lead from a leader that is busy; False if it has just finished."""
        with self._lock:
            source = self._serving
            try:
                unknown = self._current.pop()
            except IndexError:
                if not self.quick.take(self._found):
                    return False
            else:
                if source is not None:
                    self._suspect(source, surely=False)
                self._reveal(unknown)
            self._leader = None if me is not self._understudy else me
            self._understudy = None
            self._busy_since = 0
            return True

    def _suspect(self, source: Source, *, surely: bool) -> None:
        if source.quota is not None:
            source.quota.found_out(perf_counter_ns(), surely=surely)
            self.quick.hold(source.quota, True)

    def _found(self, source: Source, exchange: Exchange | None, since: int) -> None:
        """Make known what began *since* then without Python, and has a deadline from then on."""
        if self._is_late(since):
            self._suspect(source, surely=self._sleeps())
        if exchange is None:
            return
        self._reveal((source, exchange))
        if self._engine.deadline:
            self._engine.watch(source, exchange, since, after(since, self._engine.deadline))

    def _reveal(self, unknown: tuple[Source, Exchange] | None) -> None:
        if unknown is not None:
            source, exchange = unknown
            source.protocol.begin(exchange)
            self._engine.register(source, exchange)
