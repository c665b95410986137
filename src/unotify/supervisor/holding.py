"""Calls that somebody else than their handler answers: holds, deadlines, and the end of it all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from time import perf_counter_ns

from unotify.calls import Call
from unotify.errors import LocalProtocolError, TargetGone
from unotify.protocol import Continue, Exchange, Reply
from unotify.supervisor.answering import Answering, FixedReply
from unotify.supervisor.delivering import dispose, free
from unotify.supervisor.faults import require_reply
from unotify.supervisor.holds import Held
from unotify.supervisor.router import require_seconds
from unotify.supervisor.sources import Source, Watch, Work

__all__ = ["Holding", "after"]


class Holding(Answering, ABC):
    """Keeps what is held, and what has a deadline."""

    def __init__(self, *, fault_reply: FixedReply) -> None:
        super().__init__(fault_reply=fault_reply)
        self.held: dict[Exchange, Held] = {}
        self.on_watch: Callable[[int], None] = lambda due: None
        self.on_spare: Callable[[Source, Exchange], None] = self.serve

    @abstractmethod
    def serve(self, source: Source, exchange: Exchange) -> None:
        """Ask the handlers and answer."""

    @abstractmethod
    def pass_on(self, held: Held) -> bool:
        """Ask the handlers that come after the one that held; see :meth:`Held.pass_on`."""

    # -- holds ---------------------------------------------------------------

    def hold(self, call: Call, deadline: float | None) -> Held:
        """Make the `Held` that a handler returns."""
        require_seconds(deadline)
        if not call.exchange.waiting:
            raise TargetGone("the call is answered already and cannot be held")
        return Held(call, deadline, self)

    def _hold(self, watch: Watch, held: Held) -> Work | None:
        call, exchange = watch.call, watch.call.exchange
        if held.call is not call:
            error = LocalProtocolError(f"{watch.handler} returned the hold of another call")
            return self.failed(watch.source, call, error, watch.handler, watch.started)
        with self.lock:
            # Otherwise its deadline has answered it meanwhile.
            waiting = watch.source.protocol.under_way.get(exchange.id) is exchange
            if waiting:
                exchange.hold()
                earlier = self.watched.get(exchange)
                if held.deadline is not None:
                    watch.due = after(perf_counter_ns(), held.deadline)
                elif earlier is not None:
                    watch.due = earlier.due  # what its handler was given
                self.held[exchange] = held
                self.watched[exchange] = watch
            follower = self._pass_turn(exchange)
        if waiting:
            self.on_watch(watch.due)
            self.instruments.tell(self.instruments.held, call)
            try:
                # It may have been released before it was held.
                held.settle()
            except Exception as error:
                # With a reply that is not allowed, and nobody is there to try another.
                self.give_up(watch, error)
        else:
            free(call)
        return follower

    def release(self, held: Held, reply: Reply) -> bool:
        """Answer a hold; see :meth:`Held.release`."""
        exchange = held.call.exchange
        require_reply(reply, "release()")
        if isinstance(reply, Held):
            raise LocalProtocolError("a hold is released with a reply, not with a hold")
        if isinstance(reply, Continue) and exchange.memory_read and reply.because is None:
            # Refused before anything is given up: the call stays held.
            raise LocalProtocolError(
                "Continue after reading the target's memory (C2)",
                hint="act on the copy that was read, or say Continue.racy(because=...)",
            )
        watch = self._unhold(held)
        try:
            # Its deadline may have answered it between the two.
            if watch is None or not self._claim(watch.source, exchange)[0]:
                return False
            return self._answer(watch.source, held.call, reply, watch.handler, watch.started)
        finally:
            dispose(reply, held.call)

    def fail(self, held: Held, error: BaseException) -> bool:
        """Answer a hold with what *error* stands for; see :meth:`Held.fail`."""
        with self.lock:
            watch = self.watched.get(held.call.exchange) if self._is_held(held) else None
        return watch is not None and self.give_up(watch, error)

    def _is_held(self, held: Held) -> bool:
        return self.held.get(held.call.exchange) is held

    def _unhold(self, held: Held) -> Watch | None:
        """Take the right to decide about *held*; ``None`` if it is not held any more."""
        with self.lock:
            if not self._is_held(held):
                return None
            exchange = held.call.exchange
            del self.held[exchange]
            exchange.release()
            return self.watched.pop(exchange)

    # -- deadlines -----------------------------------------------------------

    def _watch(self, watch: Watch) -> None:
        with self.lock:
            self.watched[watch.call.exchange] = watch
        self.on_watch(watch.due)

    def expire(self, now: int) -> None:
        """Answer everything that is due."""
        with self.lock:
            due = [watch for watch in self.watched.values() if 0 <= watch.due <= now]
        for watch in due:
            if self.give_up(watch, TimeoutError()):
                with self.lock:
                    self.counters.expired += 1

    def next_due(self) -> float | None:
        """Seconds until something is due, not below 0; ``None`` if nothing ever is."""
        with self.lock:
            due = min((w.due for w in self.watched.values() if w.due >= 0), default=None)
        return None if due is None else max(0.0, (due - perf_counter_ns()) / 1e9)

    # -- in place of a handler -----------------------------------------------

    def give_up(self, watch: Watch, error: BaseException) -> bool:
        """Answer a call in place of its handler or its hold; False if somebody has."""
        exchange = watch.call.exchange
        claimed, follower = self._claim(watch.source, exchange)
        if claimed:
            with self.lock:
                held = self.held.pop(exchange, None)
                if held is not None:
                    exchange.release()
            reply = self._funnel(error, watch.call, watch.handler)
            self._answer(watch.source, watch.call, reply, watch.handler, watch.started)
            if held is not None:  # otherwise its handler still uses it, and frees it
                free(watch.call)
        if follower is not None:
            self.on_spare(*follower)
        return claimed

    def abandon_held(self) -> None:
        """Answer all holds: nobody will release them any more."""
        with self.lock:
            watches = [watch for e, watch in self.watched.items() if e in self.held]
        for watch in watches:
            self.give_up(watch, InterruptedError("the supervisor stops"))

    def vanished(self, exchanges: list[Exchange]) -> None:
        """Forget exchanges whose listener hung up or was closed."""
        with self.lock:
            helds = [held for e in exchanges if (held := self.held.pop(e, None)) is not None]
            for exchange in exchanges:
                self.watched.pop(exchange, None)
            self.counters.gone += len(exchanges)
        for held in helds:
            free(held.call)


def after(start: int, seconds: float) -> int:
    """*seconds* later than *start*, in perf_counter_ns."""
    return start + int(seconds * 1e9)
