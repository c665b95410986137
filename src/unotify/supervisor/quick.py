"""The leader's shortest way: notifications that are answered without Python.

Whoever leads asks `Quick.serve` before it waits. What comes back is what takes more. As
listeners, rules and those who watch change, what the kernel's server knows is old, and it is
told so (`retire`): it then answers nothing more, and another one is made for the next wait.

A call that is under way there is known to nobody else. Like any other leader that is busy, one
that is stuck in there can lose the call, or the lead: see :meth:`Quick.take`.

Whoever counts is told afterwards (`Quick.settle`), by listener and not by descriptor: a server
knows the same listeners as long as it lives.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from threading import Lock, RLock
from typing import Any, Final, TypeAlias

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
        self._stale = True
        self._taken: dict[Server, Work] = {}
        self._stuck: set[Server] = set()
        self._dozing = False
        self._over = Counters()
        self.reveal: Callable[[Work], None] = lambda work: None
        """Makes a call known that nobody knows of."""
        self._instruments = instruments
        self._counting: dict[Server, dict[int, Listener]] = {}
        """Whoever keeps tallies, with the listeners that it knows by descriptor."""
        self._tallies: list[tuple[Listener, Tally]] = []
        """What instruments have not been told of yet."""
        # Taken before the other one. Whoever settles can count on all of it having been told.
        self._telling = RLock()

    def retire(self) -> None:
        """Forget listeners and rules; from any thread, before the change is to be seen."""
        self._stale = True
        if self._server is not None:
            self._server.retire()

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
                fd, notification = server.received()
                source = self._source(fd)
                return (came, (source, Exchange(notification))) if source else (Came.LOOK, None)
        # Whoever took it has said, under the lock, what has become of it.
        with self._lock:
            self._stuck.discard(server)
            work = self._taken.pop(server, None)
            if work is None and came is Came.TAKEN:
                work = self._given_up(server)
            if server is not self._server:
                self._close(server)
        self.settle()
        return came, work

    def take(self, reveal: Callable[[Work], None]) -> bool:
        """Take the lead from who is stuck in here; under the lock. False if nobody is.

        Args:
            reveal: Makes a call known that nobody has answered; whoever was stuck serves it.
        """
        server = self._server
        came = Came.LOOK if server is None else Came(server.take())
        if server is None or came is Came.LOOK:
            return False
        if came is Came.TAKEN:
            fd, notification = server.received()
            source = self._source(fd)
            if source is not None:
                work = source, Exchange(notification)
                self._taken[server] = work
                reveal(work)
        self._stuck.add(server)
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
                    self._collect(server)
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

    def _given_up(self, server: Server) -> Work | None:
        """What it was about to answer when it lost the lead, and could not after all."""
        fd, notification = server.received()
        source = self._source(fd)
        if source is None:
            return None
        work = source, Exchange(notification)
        self.reveal(work)
        return work

    def _renewed(self) -> Server | None:
        with self._lock:
            self._stale = False
            old, self._server = self._server, None
            if old is not None:
                self._close(old)
            if len(self._stuck) >= _STUCK:
                self._stale = True
                return None
            # Only death ends a call there, so nothing has to be undone, or kept in order; nobody
            # counts how many are under way, and none is written down for a successor.
            sources = [
                source
                for source in self._sources.values()
                if source.quiet
                and source.quota is None
                and getattr(source.listener, "journal", None) is None
            ]
            try:
                rules = self.shortcuts() if sources else ()
                if rules:
                    acts = any(rule.verdict == PERFORM for rule in rules)
                    makes = any(rule.verdict == MAKE for rule in rules)
                    home = self._kernel.user_namespace(os.getpid()) if makes else ""
                    known = {s.listener: self._origin(s, home, look=acts) for s in sources}
                    self._server = self._made(known, rules)
            except Exception:
                _log.exception("nothing is answered without Python until something changes")
            if self._server is not None:
                self._server.doze(self._dozing)
            # Who changed something meanwhile has not seen this one.
            return None if self._stale else self._server

    def _origin(self, source: Source, home: str, *, look: bool) -> Origin:
        origin = Origin.OURS if source.ours else Origin(0)
        if home and source.container in (None, home):
            origin |= Origin.HOME
        if look and source.program:
            # Only now: it takes milliseconds to import and to ask, and tells only where to open.
            from unotify.policy.staying import stays

            if stays(source.program, self._kernel.architectures):
                origin |= Origin.STAYS
        return origin

    def _made(self, known: Mapping[Listener, Origin], rules: tuple[Shortcut, ...]) -> Server | None:
        counting = bool(self._instruments.counted)
        by_fd = {listener.fileno(): listener for listener in known}
        made = self._kernel.server(self._poller, self._bell, known, rules, counting=counting)
        if made is not None and counting:
            self._counting[made] = by_fd
        return made

    def _collect(self, server: Server) -> None:
        listeners = self._counting[server]
        self._tallies += [(listeners[tally.fd], tally) for tally in server.tallies()]

    def _close(self, server: Server) -> None:
        self._over.add(*server.counts())
        if server in self._counting:
            self._collect(server)
            del self._counting[server]
        server.close()

    def _source(self, fd: int) -> Any:
        return next((s for s in self._sources.values() if s.listener.fileno() == fd), None)
