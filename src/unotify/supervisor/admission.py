"""Who is received from: listeners whose quota is used up wait, and suspects have threads apart.

A listener that is released is received from no more at once, but leaves only when none of its
calls is in flight, and by the leader's hand: whoever takes it over would receive beside a
leader that was told of a notification before, and one of the two would block (E9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from threading import Lock

from unotify.kernel.interface import Listener, Poller
from unotify.supervisor.quotas import Quota
from unotify.supervisor.sources import Source

__all__ = ["Admission"]


class Admission:
    """Takes listeners out of a poller while their quota is used up, and puts them back.

    Args:
        poller: What the leader waits with.
        sources: All that is served.
        crowd: Which share of the threads that there may be is there.
    """

    def __init__(
        self, poller: Poller, sources: Mapping[Listener, Source], crowd: Callable[[], float]
    ) -> None:
        self._poller = poller
        self._sources = sources
        self._crowd = crowd
        # Of its own: it is taken where others are held, and nothing is taken under it.
        self._lock = Lock()
        self.leaving: dict[Source, Callable[[Listener], None]] = {}
        """What is released, and what to call when it has left."""

    def release(self, source: Source, then: Callable[[Listener], None]) -> None:
        """Receive no more from *source*, and let it leave."""
        source.leaving = True
        self.leave(source)
        self.leaving[source] = then
        self._poller.remove(source.listener)
        self._poller.wake()

    def look_again(self) -> None:
        """A call of one that is leaving is over."""
        self._poller.wake()

    def departures(self) -> Iterator[tuple[Source, Callable[[Listener], None]]]:
        """Those that can leave now; for the leader, between two waits."""
        for source in list(self.leaving):
            if not source.protocol.under_way and (then := self.leaving.pop(source, None)):
                yield source, then

    def enter(self, source: Source) -> None:
        """*source* is served from now on."""
        if source.quota is not None:
            with self._lock:
                source.quota.sources |= {source}

    def leave(self, source: Source) -> None:
        """It is not any more."""
        if source.quota is not None:
            with self._lock:
                source.quota.sources -= {source}
                source.quota.paused.discard(source)
            self.resume(source.quota)

    def pause_full(self, source: Source) -> bool:
        """Receive from *source* no more for now, if its quota is used up; whether that is so."""
        quota = source.quota
        if quota is None or not self._is_full(quota):
            return False
        with self._lock:
            if source in quota.sources:
                quota.paused.add(source)
                quota.throttled += 1
                self._poller.remove(source.listener)
        # Whoever made room before that was noted did not see that somebody waits for it.
        if not self._is_full(quota):
            self.resume(quota)
        return True

    def resume(self, quota: Quota) -> None:
        """There is room: receive again from the listeners of *quota*."""
        with self._lock:
            paused, quota.paused = quota.paused, set()
            for source in paused:
                if source.listener in self._sources:
                    self._poller.add(source.listener)

    def is_suspect(self, source: Source) -> bool:
        """Whether a call of *source* is to be handled in another thread than the leader's."""
        quota = source.quota
        # Without a thread to spare the leader has to, and stand-ins take over from it.
        return quota is not None and quota.suspect > 0 and self._crowd() < 1

    def _is_full(self, quota: Quota) -> bool:
        return quota.is_full(crowded=self._crowd() >= 0.5)
