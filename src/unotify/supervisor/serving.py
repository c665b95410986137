"""One turn of the leader: receive a notification, and serve it as short as can be.

Theory of operation. The plainest exchange has one handler, no condition, no deadline and nobody
who watches. No table needs to know of it, unless somebody takes the lead meanwhile: then it is
made known, and the engine finishes what began here.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable
from threading import Thread
from time import perf_counter_ns
from typing import Any, Final

from unotify.calls import Call
from unotify.errors import Error
from unotify.kernel.interface import Ready
from unotify.protocol import Continue, Exchange, ExchangeState, Fail, InstallFd, Return
from unotify.supervisor.router import Step
from unotify.supervisor.sources import Source
from unotify.supervisor.turns import Turns

__all__ = ["Serving"]

_log = logging.getLogger("unotify")

_PLAIN: Final = frozenset({Return, Fail, Continue})


class Serving(Turns):
    """What a thread does with what it receives; each turn tells whether it still leads."""

    @abstractmethod
    def remove(self, source: Source) -> None:
        """Read it no more and close its listener; whoever waits gets ENOSYS (R4)."""

    def _attempt(self, me: Thread, turn: Callable[..., bool], *args: Any) -> bool:
        """Make a turn, whatever it raises; False if we lead no more."""
        try:
            return turn(*args)
        except BaseException:
            _log.exception("serving a call failed")
            return self._finish_turn(self._current) if self._leader is me else False

    def _turn(self, source: Source, ready: Ready) -> bool:
        """Receive one notification of *source* and serve it; False if we lead no more."""
        if Ready.PENDING not in ready:
            self._hang_up(source)
            return True
        exchange = self._received(source)
        return exchange is None or self._full_turn(source, exchange)

    def _full_turn(self, source: Source, exchange: Exchange) -> bool:
        if not self._begin(source, exchange):
            return True
        turn = self._begin_turn(None)
        self._engine.serve(source, exchange)
        return self._finish_turn(turn)

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

    def _hang_up(self, source: Source) -> None:
        with self._engine.lock:
            vanished = source.protocol.hangup()
        self._engine.vanished(vanished)
        self.remove(source)
