"""Threads that take turns at receiving.

Theory of operation. Three wishes pull apart. Receiving must be eager, since any
signal ends a notification that was not received (I1, I2). A slow handler must
hold nobody else up. And a fast handler must not pay for either: waking another
thread costs more than serving a call.

So one thread *leads*: it waits, receives, and runs the handler itself, with no
other thread involved. A second one *stands by*: as long as there are calls, it
looks now and then whether the leader is busy with one for longer than `TAKEOVER`.
If so it waits until something else pends, and takes the lead; somebody else stands
by. Only then does it wait for the listeners: a second thread that waits costs
each call more than all the looking. Without calls it dozes, and the leader rings.
The former leader, when its handler is done, finds that it leads no more and stands
by, rests, or ends.

There are at most so many threads; those that are stuck in reading a target's
memory (M4), or in a call that takes no Python, do not count.

Only the leader receives, so RECV after POLLIN never blocks (N7), and only one
thread wakes for a notification (E9).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Thread, current_thread
from time import perf_counter_ns
from typing import Final

from unotify.kernel.interface import Came, Kernel, Listener, Ready
from unotify.protocol import Exchange
from unotify.supervisor.admission import Admission
from unotify.supervisor.engine import Engine
from unotify.supervisor.quotas import Quota
from unotify.supervisor.serving import Serving
from unotify.supervisor.sources import Source

__all__ = ["Readers"]

_log = logging.getLogger("unotify")

_PENDING: Final = Ready.PENDING

_TURNS: Final = 128
"""Notifications that one :meth:`Readers.process_pending` serves, about."""


class Readers(Serving):
    """The reading threads of one supervisor; they start when the first listener comes."""

    def __init__(self, kernel: Kernel, engine: Engine, *, most: int) -> None:
        super().__init__(kernel, engine, most=most)
        self.on_drained: Callable[[], None] = lambda: None
        self.admission = Admission(self._poller, self.sources, self._crowd)
        engine.on_answer = self._answering
        engine.on_room = self.admission.resume
        engine.on_leaving = self.admission.look_again

    @property
    def in_flight(self) -> int:
        """How many calls wait for us."""
        known = sum(len(source.protocol.under_way) for source in list(self.sources.values()))
        unknown = any(unknown is not None for unknown in self._current)
        return known + unknown + self.quick.in_flight

    # -- sources -------------------------------------------------------------

    def add(self, source: Source, backlog: list[Exchange], *, threads: bool) -> None:
        """Read *source* from now on; serve *backlog* first."""
        self.admission.enter(source)
        with self._lock:
            self.sources[source.listener] = source
            if backlog and source.quota is not None:
                self.quick.hold(source.quota, True)
            # After its quota has it: whoever changes that would not find it there.
            self.quick.add(source)
        for exchange in backlog:
            if threads:
                self.spare(source, exchange)
            else:
                self._engine.serve(source, exchange)
        self._poller.add(source.listener)
        if threads:
            self._ensure()

    def remove(self, source: Source) -> None:
        """Read it no more and close its listener; whoever waits gets ENOSYS (R4)."""
        with self._lock:
            known = self.sources.pop(source.listener, None)
            self.quick.drop(source)
        # Before it is closed: who finds room must not wait for a listener that is not there.
        self.admission.leave(source)
        self._poller.remove(source.listener)
        if known is not None:
            self.quick.settle()
            source.listener.close()
            if source.on_close is not None:
                _tell(source.on_close, source.listener)
            if not self.sources:
                self._kernel.rest()
                self.on_drained()

    def _let_leave(self) -> None:
        for source, then in self.admission.departures():
            with self._lock:
                self.sources.pop(source.listener, None)
                self.quick.drop(source)
            self.quick.settle()
            _tell(then, source.listener)
            if not self.sources:
                self._kernel.rest()
                self.on_drained()

    # -- receiving -----------------------------------------------------------

    def fileno(self) -> int:
        """Readable while somebody should receive."""
        return self._poller.fileno()

    def process_pending(self) -> int:
        """Receive and serve what pends, here; for those who have no threads.

        Comes back after some turns, with more to do: the caller has other things to do too.
        """
        turns = 0
        self._let_leave()
        while turns < _TURNS and not self._stopping and (ready := self._poller.wait(0)):
            for listener, state in ready:
                source = self.sources.get(listener)
                if source is not None and not self.admission.pause_full(source):
                    turns += Ready.PENDING in state
                    self._turn(source, state)
        return turns

    def _lead(self, me: Thread) -> None:
        engine, wait, sources = self._engine, self._poller.wait, self.sources
        instruments, quick = engine.instruments, self.quick.serve
        while self._leader is me and not self._stopping:
            if self.admission.leaving:
                self._let_leave()
            came, work = quick()
            if came is Came.YOURS and work is not None:
                self._serving = work[0]
                watched = instruments.present or engine.watched
                if not self._attempt(me, self._full_turn if watched else self._short, *work):
                    return
                if work[0].quota is not None:
                    self._look_after(work[0].quota)
                continue
            if came is not Came.LOOK:
                if work is not None:
                    (self._engine.over if came is Came.LOST else self._engine.resume)(*work)
                return
            for listener, ready in wait():
                source = sources.get(listener)
                if source is None:
                    continue
                self._serving = source
                if (quota := source.quota) is not None:
                    if quota.held and quota.idle:
                        self._hold(quota, held=False)
                    if self.admission.pause_full(source):
                        continue
                    if Ready.PENDING in ready and self.admission.is_suspect(source):
                        self._apart(source, quota)
                        continue
                began = perf_counter_ns() if quota is not None and quota.suspect else 0
                if ready is not _PENDING or instruments.present or engine.watched:
                    leading = self._attempt(me, self._turn, source, ready)
                else:
                    leading = self._attempt(me, self._short_turn, source)
                if not leading:
                    return
                if quota is not None:
                    if began:  # with no thread to spare it was our own turn
                        quota.took(long=self._is_late(began))
                    self._look_after(quota)

    def _look_after(self, quota: Quota) -> None:
        """Have all of *quota* received here as long as there is something to count."""
        if not (quota.held or quota.idle):
            self._hold(quota, held=True)

    def _hold(self, quota: Quota, *, held: bool) -> None:
        with self._lock:
            self.quick.hold(quota, held)

    def _apart(self, source: Source, quota: Quota) -> None:
        """Receive from a suspect, and serve it in a thread of its own."""
        exchange = self._received(source)
        if exchange is None or not self._begin(source, exchange):
            return

        def serve() -> None:
            started = perf_counter_ns()
            self._engine.serve(source, exchange)
            quota.took(long=self._is_late(started))

        self._start(serve)

    def spare(self, source: Source, exchange: Exchange) -> None:
        """Serve one exchange in a thread of its own."""
        self._start(lambda: self._engine.serve(source, exchange))

    def _crowd(self) -> float:
        return self.count / self._limit()

    # -- the end -------------------------------------------------------------

    def stop(self) -> None:
        """Receive no more. Threads that are in a handler end after it."""
        threads = self._begin_stop()
        # What it is busy with may be answered by others from now on.
        self._take_over(current_thread())
        self._poller.wake()
        self._lookout.wake()
        self._dismiss(threads)

    def _end(self) -> None:
        self.quick.close()
        self._poller.close()
        self._lookout.close()


def _tell(user: Callable[[Listener], None], listener: Listener) -> None:
    try:
        user(listener)
    except Exception:
        _log.exception("%r failed for a listener that is served no more", user)
