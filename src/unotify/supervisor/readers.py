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
import time
from collections.abc import Callable
from threading import Thread, current_thread
from time import perf_counter_ns
from typing import Any, Final, TypeAlias

from unotify.calls import Call
from unotify.errors import Error
from unotify.kernel.interface import Came, Kernel, Listener, Poller, Ready
from unotify.protocol import Continue, Exchange, ExchangeState, Fail, InstallFd, Return
from unotify.supervisor.admission import Admission
from unotify.supervisor.crew import Crew
from unotify.supervisor.engine import Engine
from unotify.supervisor.quick import Quick
from unotify.supervisor.quotas import PROBATION, Quota
from unotify.supervisor.router import Step
from unotify.supervisor.sources import Source

__all__ = ["Readers"]

_log = logging.getLogger("unotify")

TAKEOVER: Final = 0.004
"""Seconds that a handler may take before somebody else leads."""

_DROWSY: Final = 25
"""Looks without any call after which the understudy dozes."""

_PLAIN: Final = frozenset({Return, Fail, Continue})
_PENDING: Final = Ready.PENDING

_TURNS: Final = 128
"""Notifications that one :meth:`Readers.process_pending` serves, about."""


_Turn: TypeAlias = list[tuple[Source, Exchange] | None]


class Readers(Crew):
    """The reading threads of one supervisor; they start when the first listener comes."""

    def __init__(self, kernel: Kernel, engine: Engine, *, most: int) -> None:
        super().__init__(kernel, most=most)
        self.sources: dict[Listener, Source] = {}
        self._engine = engine
        self._poller: Poller = kernel.poller()
        self._lookout: Poller = kernel.poller()
        self.quick = Quick(kernel, self._poller, self._lookout, self.sources, self._lock)
        self._busy_since = 0
        self._serving: Source | None = None
        self._current: _Turn = []
        self._dozing = False
        self.on_drained: Callable[[], None] = lambda: None
        self.admission = Admission(self._poller, self.sources, self._crowd)
        engine.on_room = self.admission.resume
        engine.on_leaving = self.admission.look_again

    @property
    def in_flight(self) -> int:
        """How many calls wait for us."""
        known = sum(len(source.protocol.under_way) for source in list(self.sources.values()))
        unknown = any(unknown is not None for unknown in self._current)
        return known + unknown + self.quick.in_flight

    def add(self, source: Source, backlog: list[Exchange], *, threads: bool) -> None:
        """Read *source* from now on; serve *backlog* first."""
        with self._lock:
            self.sources[source.listener] = source
            self.quick.retire()
        self.admission.enter(source)
        for exchange in backlog:
            if threads:
                self.spare(source, exchange)
            else:
                self._engine.serve(source, exchange)
        self._poller.add(source.listener)
        if threads:
            self._ensure()

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

    def remove(self, source: Source) -> None:
        """Read it no more and close its listener; whoever waits gets ENOSYS (R4)."""
        with self._lock:
            known = self.sources.pop(source.listener, None)
            self.quick.retire()
        # Before it is closed: who finds room must not wait for a listener that is not there.
        self.admission.leave(source)
        self._poller.remove(source.listener)
        if known is not None:
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
                self.quick.retire()
            _tell(then, source.listener)
            if not self.sources:
                self._kernel.rest()
                self.on_drained()

    def spare(self, source: Source, exchange: Exchange) -> None:
        """Serve one exchange in a thread of its own."""
        self._start(lambda: self._engine.serve(source, exchange))

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

    # -- receiving -----------------------------------------------------------

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
                continue
            if came is not Came.LOOK:
                if work is not None:
                    self._engine.serve(*work)
                return
            for listener, ready in wait():
                source = sources.get(listener)
                if source is None:
                    continue
                self._serving = source
                if (quota := source.quota) is not None:
                    if self.admission.pause_full(source):
                        continue
                    if Ready.PENDING in ready and self.admission.is_suspect(source):
                        self._apart(source, quota)
                        continue
                if ready is not _PENDING or instruments.present or engine.watched:
                    leading = self._attempt(me, self._turn, source, ready)
                else:
                    leading = self._attempt(me, self._short_turn, source)
                if not leading:
                    return

    def _attempt(self, me: Thread, turn: Callable[..., bool], *args: Any) -> bool:
        """Make a turn, whatever it raises; False if we lead no more."""
        try:
            return turn(*args)
        except BaseException:
            _log.exception("serving a call failed")
            return self._finish_turn(self._current) if self._leader is me else False

    def _apart(self, source: Source, quota: Quota) -> None:
        """Receive from a suspect, and serve it in a thread of its own."""
        exchange = self._received(source)
        if exchange is None or not self._begin(source, exchange):
            return

        def serve() -> None:
            started = perf_counter_ns()
            self._engine.serve(source, exchange)
            quota.took(long=perf_counter_ns() - started >= TAKEOVER * 1e9)

        self._start(serve)

    def _crowd(self) -> float:
        return self.count / self._limit()

    def _limit(self) -> int:
        return super()._limit() + self.quick.stuck

    # A turn is a list of one: the leader takes the item out when it has finished, and
    # who takes the lead takes it out before. Taking is atomic, and much cheaper than
    # a lock. An exchange that no table knows yet is that item itself, for others to
    # make known; for one that is known it is None. Each turn has a list of its own: a
    # former leader must not take what is its successor's.

    def _begin_turn(self, unknown: tuple[Source, Exchange] | None) -> _Turn:
        turn = [unknown]
        self._current = turn
        self._busy_since = perf_counter_ns()
        if self._dozing:
            self._dozing = False
            self._lookout.wake()
        return turn

    def _finish_turn(self, turn: _Turn) -> bool:
        """Whether we still lead."""
        try:
            turn.pop()
        except IndexError:
            # Wait until whoever took it has made it known: we are about to answer it.
            with self._lock:
                return False
        self._busy_since = 0
        return True

    def _take_over(self, me: Thread) -> bool:
        """Take the lead from a leader that is busy; False if it has just finished."""
        with self._lock:
            source = self._serving
            try:
                unknown = self._current.pop()
            except IndexError:
                if not self.quick.take(self._reveal):
                    return False
            else:
                if source is not None and source.quota is not None:
                    source.quota.suspect = PROBATION
                self._reveal(unknown)
            self._leader = None if me is not self._understudy else me
            self._understudy = None
            self._busy_since = 0
            return True

    def _reveal(self, unknown: tuple[Source, Exchange] | None) -> None:
        if unknown is not None:
            source, exchange = unknown
            source.protocol.begin(exchange)
            self._engine.register(source, exchange)

    def _short_turn(self, source: Source) -> bool:
        """Receive one notification and serve it the shortest way; False if we lead no more."""
        exchange = self._received(source)
        return exchange is None or self._short(source, exchange)

    def _short(self, source: Source, exchange: Exchange) -> bool:
        """Serve the plainest exchange the shortest way; False if we lead no more.

        One handler, no condition, no deadline, nobody who watches: then no table
        needs to know of the exchange, unless somebody takes the lead meanwhile.
        """
        engine, listener = self._engine, source.listener
        route = engine.router.routes.get((exchange.audit, exchange.nr))
        step = None if route is None else route.only
        if route is None or step is None or step.deadline or engine.deadline or engine.busy:
            return self._full_turn(source, exchange)
        call = route.call(exchange, route.arch, source.open_target)
        turn = self._begin_turn((source, exchange))
        started = self._busy_since
        reply: Any = None
        error: BaseException | None = None
        try:
            reply = step.handler(call)
        except BaseException as raised:
            error = raised
        leading = self._finish_turn(turn)
        if leading and type(reply) is InstallFd and type(reply.fd) is int:
            # Waits until the target has run, so it is a turn of its own, in which others may take
            # the lead; but none may answer in our place, so it stays unknown to them.
            turn = self._begin_turn(None)
            try:
                engine.install(source, call, reply, started)
            except Exception as refused:
                error = refused
            leading = self._finish_turn(turn)
            if error is None:
                return leading
            reply = None
            if not leading:
                source.protocol.begin(exchange)
        elif leading and type(reply) in _PLAIN:
            # Counted before the target can go on, and look.
            counters = engine.leader_counters
            bucket = ((perf_counter_ns() - started) // 1000).bit_length()
            counters.buckets[bucket] += 1
            try:
                if call.opened is not None:
                    call.opened.step_back()
                exchange.answer_into(source.response, reply)
                taken = listener.send(source.response)
            except Exception as refused:
                error = refused
                counters.buckets[bucket] -= 1
                if exchange.state is ExchangeState.ANSWERED:
                    exchange.refused()
            else:
                if not taken:
                    exchange.vanish()
                    counters.buckets[bucket] -= 1
                    counters.gone += 1
                elif type(reply) is Continue and reply.because is not None:
                    counters.racy += 1
                if call.opened is not None:
                    call.opened.succeeded = taken and type(reply) is not Fail
                    call.opened.close()
                return True
        if leading:
            self._reveal((source, exchange))
            turn = self._begin_turn(None)
        self._long_way(source, call, reply, error, step, started)
        return leading and self._finish_turn(turn)

    def _long_way(
        self,
        source: Source,
        call: Call,
        reply: Any,
        error: BaseException | None,
        step: Step,
        started: int,
    ) -> None:
        """Finish what began as a short turn with all that the engine has."""
        engine = self._engine
        if error is not None:
            work = engine.failed(source, call, error, step.name, started)
        else:
            work = engine.settle(source, call, reply, step, started)
        if work is not None:
            engine.serve(*work)

    def _turn(self, source: Source, ready: Ready) -> bool:
        """Receive one notification of *source* and serve it; False if we lead no more."""
        if Ready.PENDING not in ready:
            self._hang_up(source)
            return True
        exchange = self._received(source)
        return exchange is None or self._full_turn(source, exchange)

    def _received(self, source: Source) -> Exchange | None:
        """The next notification of *source*, if there still is one."""
        try:
            if source.listener.receive_into(source.buffer):
                return Exchange(source.buffer)
        except EOFError as end:
            _log.info("a listener has ended: %s", end)
            self._hang_up(source)
        except Error:
            _log.exception("a listener is broken and is closed: its targets get ENOSYS")
            self._hang_up(source)
        return None

    def _begin(self, source: Source, exchange: Exchange) -> bool:
        """Make *exchange* known; False if it has to wait for its turn."""
        source.protocol.begin(exchange)
        return self._engine.register(source, exchange) is not None

    def _full_turn(self, source: Source, exchange: Exchange) -> bool:
        if not self._begin(source, exchange):
            return True
        turn = self._begin_turn(None)
        self._engine.serve(source, exchange)
        return self._finish_turn(turn)

    def _stand_by(self, me: Thread) -> None:
        seen, quiet = self._current, 0
        while self._understudy is me and not self._stopping:
            since = self._since()
            if since and perf_counter_ns() - since >= TAKEOVER * 1e9:
                if self._somebody_pends() and self._since() == since and self._take_over(me):
                    self._ensure()
                    return
            elif since or self._current is not seen:
                seen, quiet = self._current, 0
            else:
                quiet += 1
            if quiet < _DROWSY:
                time.sleep(TAKEOVER)
            else:
                self._doze()
                quiet = 0

    def _since(self) -> int:
        """Since when the leader is busy with one call; 0: it is not."""
        return self._busy_since or self.quick.since()

    def _somebody_pends(self) -> bool:
        """Wait until a listener is ready, in place of a leader that is stuck; or return False."""
        # At the leader's poller, for all listeners at once: there may be thousands.
        if self._poller.peek(self._lookout):
            return True
        self._lookout.wait(0)  # somebody rang, who wants nothing of us, or our end
        return False

    def _doze(self) -> None:
        self._dozing = True
        self.quick.doze(True)
        # A turn that began before would not ring.
        if not self._since():
            self._lookout.wait()
        self._dozing = False
        self.quick.doze(False)

    def _hang_up(self, source: Source) -> None:
        with self._engine.lock:
            vanished = source.protocol.hangup()
        self._engine.vanished(vanished)
        self.remove(source)


def _tell(user: Callable[[Listener], None], listener: Listener) -> None:
    try:
        user(listener)
    except Exception:
        _log.exception("%r failed for a listener that is served no more", user)
