"""Who may answer an exchange, and when a thread's next call has its turn.

Theory of operation. Four parties may want to answer one exchange: its handler,
the deadline that ran out meanwhile, somebody who releases a hold, and the end of
the supervisor. Exactly one may. So whoever wants to answer first *claims* the
exchange by taking it out of its listener's ``under_way``, under the lock; who
finds nothing there came too late and drops what it has.

Calls of one thread are served in order. A thread makes one call at a time, so
this matters only when it was interrupted and calls again while a handler is
still busy with the call that died: the new one then waits for that handler.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock

from unotify.abi.types import Tid
from unotify.protocol import Exchange
from unotify.supervisor.quotas import Quota
from unotify.supervisor.sources import Source, Watch, Work

__all__ = ["Claiming"]


class Claiming:
    """Which exchanges are with whom; `lock` guards it, and is held for look-ups only."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.watched: dict[Exchange, Watch] = {}
        """What somebody else than its handler may answer."""
        self.busy: dict[Tid, Exchange] = {}
        """Threads whose call is with a handler."""
        self._followers: dict[Tid, deque[Work]] = {}
        self.on_leaving: Callable[[], None] = lambda: None
        self.on_room: Callable[[Quota], None] = lambda quota: None
        self.on_answer: Callable[[], None] = lambda: None

    def admit(self, source: Source, notification: bytes | bytearray) -> Exchange | None:
        """Start the exchange of a notification; ``None`` if it has to wait for its turn."""
        return self.register(source, source.protocol.received(notification))

    def register(self, source: Source, exchange: Exchange) -> Exchange | None:
        """Make an exchange known; ``None`` if it has to wait for its turn."""
        tid = exchange.tid
        if not tid or self.busy.setdefault(tid, exchange) is exchange:
            return exchange
        with self.lock:
            # Whoever served the thread's earlier call may have finished since.
            if self.busy.setdefault(tid, exchange) is exchange:
                return exchange
            self._followers.setdefault(tid, deque()).append((source, exchange))
        return None

    def _claim(self, source: Source, exchange: Exchange) -> tuple[bool, Work | None]:
        """Take the right to answer, and the call of the same thread that is next, if any."""
        with self.lock:
            claimed = source.protocol.under_way.pop(exchange.id, None) is exchange
            if self.watched:
                self.watched.pop(exchange, None)
            follower = self._pass_turn(exchange)
        if source.quota is not None and source.quota.paused:
            self.on_room(source.quota)
        if source.leaving:
            self.on_leaving()
        return claimed, follower

    def _pass_turn(self, exchange: Exchange) -> Work | None:
        """Its handler is done with it; return the next call of the same thread. Under the lock."""
        tid = exchange.tid
        if self.busy.get(tid) is not exchange:
            return None
        del self.busy[tid]
        queue = self._followers.get(tid)
        if queue is None:
            return None
        source, follower = queue.popleft()
        self.busy[tid] = follower
        if not queue:
            del self._followers[tid]
        return source, follower
