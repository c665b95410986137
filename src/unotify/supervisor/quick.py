"""The leader's shortest way: notifications that are answered without Python.

Whoever leads asks `Quick.serve` before it waits. What comes back is what takes more. As rules
and those who watch change, what the kernel's server knows is old, and it is told so (`retire`): it
then answers nothing more, and another one is made for the next wait. Listeners come and go one by
one, since there may be thousands.

A call that is under way there is known to nobody else. Like any other leader that is busy, one
that is stuck in there can lose the call, or the lead: see :meth:`Quick.take`. So a quota cannot
count it; but it is the only one that its container has in flight, since as long as others are
under way, or the container is a suspect, its listeners are *held*: received from as ever.

Whoever counts is told afterwards (`Quick.settle`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from threading import Lock, RLock
from time import perf_counter_ns
from typing import Final, TypeAlias

from unotify.kernel.interface import (
    MAKE,
    PERFORM,
    Came,
    Kernel,
    Listener,
    Origin,
    Poller,
    Server,
    Shortcut,
    Tally,
)
from unotify.protocol import Exchange
from unotify.supervisor.counting import summed
from unotify.supervisor.instruments import Instruments
from unotify.supervisor.quotas import Quota
from unotify.supervisor.sources import Source
from unotify.supervisor.statistics import Counters

__all__ = ["Quick"]

_log = logging.getLogger("unotify")

_STUCK: Final = 2
"""Servers that may be stuck at a time; further calls take the long way, which is bounded."""

Work: TypeAlias = tuple[Source, Exchange]


class Quick:
    """What the readers of one supervisor answer without Python."""

    def __init__(
        self,
        kernel: Kernel,
        poller: Poller,
        bell: Poller,
        sources: Mapping[Listener, Source],
        lock: Lock,
        instruments: Instruments,
    ) -> None:
        self.shortcuts: Callable[[], tuple[Shortcut, ...]] = tuple
        """Asked when they may have changed."""
        self._kernel = kernel
        self._poller = poller
        self._bell = bell
        self._sources = sources
        self._lock = lock
        self._server: Server | None = None
        self._rules: tuple[Shortcut, ...] = ()
        self._edition = 0
        self._rules_of = -1
        self._home = ""
        self._stale = True
        self._taken: dict[Server, Work] = {}
        self._stuck: dict[Server, Source | None] = {}
        """With whose call, as long as it is in there."""
        self._dozing = False
        self._over = Counters()
        self._instruments = instruments
        self._counting: set[Server] = set()
        """Whoever keeps tallies."""
        self._tallies: list[Tally] = []
        """What instruments have not been told of yet."""
        # Taken before the other one. Whoever settles can count on all of it having been told.
        self._telling = RLock()

    def retire(self) -> None:
        """Forget the rules; from any thread, before the change is to be seen."""
        self._edition += 1
        self._stale = True
        server = self._server  # once: it may be taken meanwhile
        if server is not None:
            server.retire()

    def add(self, source: Source) -> None:
        """*source* is served from now on; under the lock."""
        if self._server is None or self._stale:
            self._stale = True  # it may be worth while now
        else:
            self._enter(self._server, source)

    def drop(self, source: Source) -> None:
        """It is not any more; under the lock, by who serves, or when nobody does."""
        if self._server is not None:
            if self._server in self._counting:
                self._tallies += self._server.tallies()  # as long as it knows whose they are
            self._server.drop(source.listener)
        if not self._sources:
            self._stale = True  # what it keeps of targets goes with the last of them

    def hold(self, quota: Quota, held: bool) -> None:
        """Whether the listeners of *quota* are received from as ever; under the lock."""
        quota.held = held
        if self._server is not None:
            for source in quota.sources:
                self._server.hold(source.listener, held)

    def serve(self) -> tuple[Came, Work | None]:
        """Answer what can be answered; return why not more, and the call that takes more."""
        while True:
            server = self._renewed() if self._stale else self._server
            if self._tallies:
                self.settle()
            if server is None:
                return Came.LOOK, None
            came = Came(server.serve())
            if came is not Came.FULL:
                break
            self.settle()
        match came:
            case Came.LOOK:
                return came, None
            case Came.YOURS:
                work = self._received(server)
                return (came, work) if work else (Came.LOOK, None)
        # Whoever took it has said, under the lock, what has become of it.
        with self._lock:
            source = self._stuck.pop(server, None)
            if source is not None and source.quota is not None:
                source.quota.stuck -= 1
            work = self._taken.pop(server, None)
            if work is not None and self._server is not None:
                self._server.hold(work[0].listener, self._is_apart(work[0]))
            if server is not self._server:
                self._close(server)
        self.settle()
        return came, work

    def take(self, found: Callable[[Source, Exchange | None, int], None]) -> bool:
        """Take the lead from who is stuck in here; under the lock. False if nobody is.

        Args:
            found: Is told whose call it is, and since when it is under way; and the call itself,
                if nobody has answered it: whoever was stuck serves it, once it is known.
        """
        server = self._server
        came = Came.LOOK if server is None else Came(server.take())
        if server is None or came is Came.LOOK:
            return False
        # Of this very call: what was asked before may be that of the one before.
        since = server.since() or perf_counter_ns()
        source = self.whose()
        if source is not None:
            work = self._received(server) if came is Came.TAKEN else None
            if work is not None:
                self._taken[server] = work
            if source.quota is not None:
                source.quota.stuck += 1
                self.hold(source.quota, True)
            found(source, None if work is None else work[1], since)
        self._stuck[server] = source
        self._server = None
        self._stale = True
        return True

    @property
    def stuck(self) -> int:
        """How many threads lost the lead in here, and have not come back."""
        return len(self._stuck)

    @property
    def in_flight(self) -> int:
        """How many calls are under way in here that nobody else knows of."""
        with self._lock:
            servers = {self._server, *self._stuck} - self._taken.keys()
            return sum(server is not None and server.since() != 0 for server in servers)

    def whose(self) -> Source | None:
        """Whose call is or was under way in here; under the lock."""
        listener = None if self._server is None else self._server.whose()
        return None if listener is None else self._sources.get(listener)

    def since(self) -> int:
        """Since when a call is under way in here, as perf_counter_ns; 0: none is."""
        server = self._server
        return 0 if server is None else server.since()

    def doze(self, dozing: bool) -> None:
        """Whether the next notification that comes in here is to ring."""
        self._dozing = dozing
        server = self._server
        if server is not None:
            server.doze(dozing)

    def counters(self) -> Counters:
        """What was answered in here."""
        with self._lock:
            total = self._over.copy()
            for server in (self._server, *self._stuck):
                if server is not None:
                    total.add(*server.counts())
        return total

    def settle(self) -> None:
        """Tell instruments what was answered in here; not under the lock."""
        if not (self._instruments.counted or self._counting or self._tallies):
            return
        with self._telling:
            with self._lock:
                for server in self._counting:
                    self._tallies += server.tallies()
                tallies, self._tallies = self._tallies, []
            if tallies:
                counts = summed(tallies, self._kernel.arch)
                self._instruments.tell(self._instruments.counted, counts)

    def close(self) -> None:
        """Free all; nobody serves any more."""
        with self._lock:
            if self._server is not None:
                self._close(self._server)
            self._server = None
            self._stale = False
        self.settle()

    def _renewed(self) -> Server | None:
        with self._lock:
            self._stale = False
            old, self._server = self._server, None
            if old is not None:
                self._close(old)
            if len(self._stuck) >= _STUCK:
                self._stale = True
                return None
            try:
                self._server = self._made()
            except Exception:
                _log.exception("nothing is answered without Python until something changes")
            # Who changed something, or fell asleep, meanwhile has not seen this one.
            if self._server is not None:
                self._server.doze(self._dozing)
            return None if self._stale else self._server

    def _made(self) -> Server | None:
        edition = self._edition  # as it is before they are asked for
        if self._sources and self._rules_of != edition:
            self._rules, self._rules_of = self.shortcuts(), edition
            makes = any(rule.verdict == MAKE for rule in self._rules)
            self._home = self._kernel.user_namespace(os.getpid()) if makes else ""
        if not self._sources or not self._rules:
            return None
        counting = bool(self._instruments.counted)
        server = self._kernel.server(self._poller, self._bell, self._rules, counting=counting)
        if server is None:
            return None
        entered = [self._enter(server, source) for source in self._sources.values()]
        if not any(entered):
            server.close()
            return None
        if counting:
            self._counting.add(server)
        return server

    def _enter(self, server: Server, source: Source) -> bool:
        try:
            entered = server.add(source.listener, self._origin(source))
        except Exception:
            _log.exception("%r is answered by Python alone", source.listener)
            return False
        if self._is_apart(source):
            server.hold(source.listener, True)
        return entered

    def _is_apart(self, source: Source) -> bool:
        """Whether it is received from as ever: one of its targets may call again meanwhile."""
        quota = source.quota
        return (quota is not None and quota.held) or any(
            source is taken for taken, _ in self._taken.values()
        )

    def _origin(self, source: Source) -> Origin:
        origin = Origin.OURS if source.ours else Origin(0)
        if self._home and source.container in (None, self._home):
            origin |= Origin.HOME
        if source.program and any(rule.verdict == PERFORM for rule in self._rules):
            # Only now: it takes milliseconds to import and to ask, and tells only where to open.
            from unotify.policy.staying import stays

            if stays(source.program, self._kernel.architectures):
                origin |= Origin.STAYS
        return origin

    def _close(self, server: Server) -> None:
        self._over.add(*server.counts())
        if server in self._counting:
            self._tallies += server.tallies()
            self._counting.remove(server)
        server.close()

    def _received(self, server: Server) -> Work | None:
        received = server.received()
        source = None if received is None else self._sources.get(received[0])
        return None if received is None or source is None else (source, Exchange(received[1]))
