"""From a received notification to a sent reply, in the thread that received it.

Theory of operation. Four parties may want to answer one exchange: its handler,
the deadline that ran out meanwhile, somebody who releases a hold, and the end of
the supervisor. Exactly one may. So whoever wants to answer first *claims* the
exchange by taking it out of its listener's ``under_way``, under the lock; who
finds nothing there came too late and drops what it has.

Calls of one thread are served in order. A thread makes one call at a time, so
this matters only when it was interrupted and calls again while a handler is
still busy with the call that died: the new one then waits for that handler.

Everything here may run in several threads. The lock is held for look-ups only,
never while user code or the kernel runs. `readers` has a shorter way for the
plainest exchanges, which nobody but the leader knows of; it comes here with
:meth:`Engine.register` and :meth:`Engine.decided` when one turns out not to be.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Lock
from time import perf_counter_ns
from typing import Any, TypeAlias

from unotify.abi.types import Tid
from unotify.calls import Call
from unotify.errors import LocalProtocolError, TargetGone
from unotify.protocol import (
    Continue,
    Exchange,
    Fail,
    InstallFd,
    Reply,
    Return,
)
from unotify.supervisor.delivering import deliver, dispose, free, note
from unotify.supervisor.faults import fault_of, refusal_of, require_reply
from unotify.supervisor.holds import Held
from unotify.supervisor.instruments import Instruments
from unotify.supervisor.quotas import Quota
from unotify.supervisor.router import Onward, Router, Step, require_seconds
from unotify.supervisor.sources import Source, Watch, Work
from unotify.supervisor.statistics import Counters, Statistics

__all__ = ["Engine", "FixedReply"]

_log = logging.getLogger("unotify")

_NOBODY = "(unhandled)"

FixedReply: TypeAlias = Return | Fail
"""What may be configured as an answer beforehand: never Continue."""


class Engine:
    """Serves exchanges; whoever receives them calls :meth:`serve`."""

    def __init__(
        self,
        router: Router,
        *,
        unhandled: FixedReply,
        fault_reply: FixedReply,
        deadline: float | None,
    ) -> None:
        self.router = router
        self.unhandled = unhandled
        self.fault_reply = fault_reply
        self.deadline = deadline
        self.lock = Lock()
        self.counters = Counters()
        self.leader_counters = Counters()
        """Changed without the lock by the one reader that leads."""
        self.instruments = Instruments()
        self.held: dict[Exchange, Held] = {}
        self.watched: dict[Exchange, Watch] = {}
        self.on_watch: Callable[[int], None] = lambda due: None
        self.on_leaving: Callable[[], None] = lambda: None
        self.on_room: Callable[[Quota], None] = lambda quota: None
        self.on_spare: Callable[[Source, Exchange], None] = self.serve
        self.busy: dict[Tid, Exchange] = {}
        """Threads whose call is with a handler."""
        self._followers: dict[Tid, deque[Work]] = {}

    # -- in ------------------------------------------------------------------

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

    # -- decide --------------------------------------------------------------

    def serve(self, source: Source, exchange: Exchange) -> None:
        """Ask the handlers and answer; then the same for calls that waited for this one."""
        work: Work | None = (source, exchange)
        while work is not None:
            work = self._serve(*work)

    def _serve(self, source: Source, exchange: Exchange) -> Work | None:
        started = perf_counter_ns()
        route = self.router.route(exchange.audit, exchange.nr)
        call = route.call(exchange, route.arch, source.open_target)
        if self.instruments.received:
            self.instruments.tell(self.instruments.received, call)
        only = route.only
        steps = (only,) if only else route.asked(exchange.args)
        return self._ask(source, call, steps, started)

    def _ask(
        self, source: Source, call: Call, steps: tuple[Step, ...], started: int
    ) -> Work | None:
        """Ask the handlers of *steps* in order, and answer; return what is next for this thread."""
        name = _NOBODY
        try:
            for position, step in enumerate(steps):  # noqa: B007 - used after the loop
                name = step.name
                deadline = step.deadline or self.deadline
                if deadline:
                    due = _after(perf_counter_ns(), deadline)
                    self._watch(Watch(source, call, name, started, due))
                elif self.watched:
                    with self.lock:  # the deadline of the handler before is not this one's
                        self.watched.pop(call.exchange, None)
                decision = step.handler(call)
                if type(decision) is Onward:
                    break
                if decision is not None:
                    require_reply(decision, name)
                    break
            else:
                name, decision, position = _NOBODY, self.unhandled, 0
        except BaseException as error:
            follower = self.failed(source, call, error, name, started)
            if not isinstance(error, Exception):
                if follower is not None:
                    self.on_spare(*follower)
                raise
            return follower
        if type(decision) is Onward:
            return self._ask(source, call, decision.steps, started)
        return self.decided(source, call, decision, name, started, steps[position + 1 :])

    def decided(
        self,
        source: Source,
        call: Call,
        decision: Reply | Held,
        handler: str,
        started: int,
        rest: tuple[Step, ...] = (),
    ) -> Work | None:
        """Act on a handler's decision; return what is next for this thread."""
        if isinstance(decision, Held):
            return self._hold(Watch(source, call, handler, started, rest=rest), decision)
        return self._conclude(source, call, decision, handler, started)

    def settle(
        self, source: Source, call: Call, answer: Any, step: Step, started: int
    ) -> Work | None:
        """Act on what the only handler returned, whatever it is."""
        if answer is None:
            return self.decided(source, call, self.unhandled, _NOBODY, started)
        if type(answer) is Onward:
            return self._ask(source, call, answer.steps, started)
        try:
            require_reply(answer, step.name)
        except LocalProtocolError as error:
            return self.failed(source, call, error, step.name, started)
        return self.decided(source, call, answer, step.name, started)

    def install(self, source: Source, call: Call, reply: InstallFd, started: int) -> None:
        """Answer with a descriptor, for a reader that led when it began; no table has the call."""
        counters = self.counters
        bucket = ((perf_counter_ns() - started) // 1000).bit_length()
        with self.lock:
            counters.buckets[bucket] += 1
        taken = refused = False
        try:
            if call.opened is not None:
                call.opened.step_back()
            taken = deliver(source, call.exchange, reply)
            if taken:
                note(call, reply)
        except Exception:
            refused = True
            raise
        finally:
            if not taken:
                with self.lock:
                    counters.buckets[bucket] -= 1
                    counters.gone += not refused
            dispose(reply, call)

    def failed(
        self, source: Source, call: Call, error: BaseException, handler: str, started: int
    ) -> Work | None:
        """Act on what a handler raised; return what is next for this thread."""
        reply = self._funnel(error, call, handler)
        return self._conclude(source, call, reply, handler, started)

    def _funnel(self, error: BaseException, call: Call, name: str) -> FixedReply:
        refusal = refusal_of(error)
        if refusal is not None:
            return refusal
        fault = fault_of(error, call, name, self.fault_reply)
        with self.lock:
            self.counters.faults += 1
        self.instruments.tell(self.instruments.fault, fault)
        return self.fault_reply

    # -- answer --------------------------------------------------------------

    def _conclude(
        self, source: Source, call: Call, reply: Reply, handler: str, started: int
    ) -> Work | None:
        claimed, follower = self._claim(source, call.exchange)
        try:
            if claimed:
                if call.opened is not None:
                    call.opened.step_back()
                self._answer(source, call, reply, handler, started)
        finally:
            dispose(reply, call)
        return follower

    def _answer(self, source: Source, call: Call, reply: Reply, handler: str, started: int) -> bool:
        """Send *reply* for an exchange that we have claimed; a reply that is refused is a fault.

        Raises nothing: whoever claimed it has others to serve.
        """
        if self.instruments.deciding:
            self.instruments.tell(self.instruments.deciding, call, reply, handler)
        # Counted before the target can go on, and look.
        nanoseconds = perf_counter_ns() - started
        bucket = (nanoseconds // 1000).bit_length()
        with self.lock:
            self.counters.buckets[bucket] += 1
        try:
            taken = deliver(source, call.exchange, reply)
        except Exception as error:
            # A Continue after a read, a closed descriptor, an object whose fileno() fails, a
            # reply this kernel does not know.
            reply = self._funnel(error, call, handler)
            try:
                taken = deliver(source, call.exchange, reply)
            except Exception:
                _log.exception("%r cannot be answered", call)
                taken = False
        if taken:
            note(call, reply)
        with self.lock:
            if not taken:
                self.counters.buckets[bucket] -= 1
                self.counters.gone += 1
            elif type(reply) is Continue and reply.because is not None:
                self.counters.racy += 1
        instruments = self.instruments
        if taken:
            if instruments.replied:
                instruments.tell(instruments.replied, call, reply, handler, nanoseconds)
        elif instruments.gone:
            instruments.tell(instruments.gone, call)
        return taken

    def _claim(self, source: Source, exchange: Exchange) -> tuple[bool, Work | None]:
        """Take the right to answer, and the call of the same thread that is next, if any."""
        follower = None
        with self.lock:
            claimed = source.protocol.under_way.pop(exchange.id, None) is exchange
            if self.watched:
                self.watched.pop(exchange, None)
            tid = exchange.tid
            if self.busy.get(tid) is exchange:
                del self.busy[tid]
                if self._followers:
                    follower = self._next_follower(tid)
        if source.quota is not None and source.quota.paused:
            self.on_room(source.quota)
        if source.leaving:
            self.on_leaving()
        return claimed, follower

    def _next_follower(self, tid: Tid) -> Work | None:
        queue = self._followers.get(tid)
        if queue is None:
            return None
        source, exchange = queue.popleft()
        self.busy[tid] = exchange
        if not queue:
            del self._followers[tid]
        return source, exchange

    # -- holds and deadlines -------------------------------------------------

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
        follower = None
        with self.lock:
            # Otherwise its deadline has answered it meanwhile.
            waiting = watch.source.protocol.under_way.get(exchange.id) is exchange
            if waiting:
                exchange.hold()
                earlier = self.watched.get(exchange)
                if held.deadline is not None:
                    watch.due = _after(perf_counter_ns(), held.deadline)
                elif earlier is not None:
                    watch.due = earlier.due  # what its handler was given
                self.held[exchange] = held
                self.watched[exchange] = watch
            if self.busy.get(exchange.tid) is exchange:
                del self.busy[exchange.tid]
                follower = self._next_follower(exchange.tid)
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

    def pass_on(self, held: Held) -> bool:
        """Ask the handlers that come after the one that held; see :meth:`Held.pass_on`."""
        watch = self._unhold(held)
        if watch is None:
            return False
        work = self._ask(watch.source, watch.call, watch.rest, watch.started)
        if work is not None:
            self.serve(*work)
        return True

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

    def abandon(self, source: Source) -> None:
        """Answer whatever is still under way on *source*: the supervisor ends."""
        with self.lock:
            left = list(source.protocol.under_way.values())
        for exchange in left:
            route = self.router.route(exchange.audit, exchange.nr)
            call = route.call(exchange, route.arch, source.open_target)
            watch = Watch(source, call, "(stopped)", perf_counter_ns())
            self.give_up(watch, InterruptedError("the supervisor stops"))
            free(call)

    def statistics(
        self, quick: Counters, *, listeners: int, readers: int, in_flight: int
    ) -> Statistics:
        """A frozen copy of the counters, and of those of *quick*."""
        with self.lock:
            return self.counters.freeze(
                self.leader_counters,
                quick,
                native=sum(quick.buckets),
                in_flight=in_flight,
                held=len(self.held),
                listeners=listeners,
                readers=readers,
            )

    def vanished(self, exchanges: list[Exchange]) -> None:
        """Forget exchanges whose listener hung up or was closed."""
        with self.lock:
            helds = [held for e in exchanges if (held := self.held.pop(e, None)) is not None]
            for exchange in exchanges:
                self.watched.pop(exchange, None)
            self.counters.gone += len(exchanges)
        for held in helds:
            free(held.call)


def _after(start: int, seconds: float) -> int:
    return start + int(seconds * 1e9)
