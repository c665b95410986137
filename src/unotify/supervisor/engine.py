"""From a received notification to a sent reply, in the thread that received it.

Theory of operation. Here handlers are asked, one after the other; what they decide becomes an
answer below: `claiming` says who may give it, `answering` gives it, and `holding` is for calls that
somebody else than their handler answers.

Everything here may run in several threads. The lock is held for look-ups only,
never while user code or the kernel runs. `readers` has a shorter way for the
plainest exchanges, which nobody but the leader knows of; it comes here with
:meth:`Engine.register` and :meth:`Engine.decided` when one turns out not to be.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any, Final

from unotify.calls import Call
from unotify.errors import LocalProtocolError
from unotify.protocol import Exchange, Reply, Return
from unotify.supervisor.answering import FixedReply
from unotify.supervisor.delivering import deliver, free
from unotify.supervisor.faults import require_reply
from unotify.supervisor.holding import Holding, after
from unotify.supervisor.holds import Held
from unotify.supervisor.router import Onward, Router, Step
from unotify.supervisor.sources import Source, Watch, Work
from unotify.supervisor.statistics import Counters, Statistics

__all__ = ["Engine"]

_NOBODY: Final = "(unhandled)"


class Engine(Holding):
    """Serves exchanges; whoever receives them calls :meth:`serve`."""

    def __init__(
        self,
        router: Router,
        *,
        unhandled: FixedReply,
        fault_reply: FixedReply,
        deadline: float | None,
    ) -> None:
        super().__init__(fault_reply=fault_reply)
        self.router = router
        self.unhandled = unhandled
        self.deadline = deadline

    def serve(self, source: Source, exchange: Exchange) -> None:
        """Ask the handlers and answer; then the same for calls that waited for this one."""
        work: Work | None = (source, exchange)
        while work is not None:
            work = self._serve(*work)

    def resume(self, source: Source, exchange: Exchange) -> None:
        """Serve what was made known while its thread was stuck, unless it is over by now."""
        if exchange.waiting:
            self.serve(source, exchange)
        else:  # by its deadline, or with its target; what its thread asked after it waits for us
            self.over(source, exchange)

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
                    due = after(perf_counter_ns(), deadline)
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

    def pass_on(self, held: Held) -> bool:
        """Ask the handlers that come after the one that held; see :meth:`Held.pass_on`."""
        watch = self._unhold(held)
        if watch is None:
            return False
        work = self._ask(watch.source, watch.call, watch.rest, watch.started)
        if work is not None:
            self.serve(*work)
        return True

    def watch(self, source: Source, exchange: Exchange, started: int, due: int) -> None:
        """Answer what no handler was asked about yet when it is *due*, in perf_counter_ns."""
        self._watch(Watch(source, self._call(source, exchange), _NOBODY, started, due))

    def over(self, source: Source, exchange: Exchange) -> None:
        """Forget what was made known and then answered, and counted, by somebody else.

        What its thread has asked after it is served.
        """
        claimed, follower = self._claim(source, exchange)
        if claimed:
            deliver(source, exchange, Return(0))  # to nobody; but a journal forgets it then
        if follower is not None:
            self.serve(*follower)

    def abandon(self, source: Source) -> None:
        """Answer whatever is still under way on *source*: the supervisor ends."""
        with self.lock:
            left = list(source.protocol.under_way.values())
        for exchange in left:
            call = self._call(source, exchange)
            watch = Watch(source, call, "(stopped)", perf_counter_ns())
            self.give_up(watch, InterruptedError("the supervisor stops"))
            free(call)

    def _call(self, source: Source, exchange: Exchange) -> Call:
        route = self.router.route(exchange.audit, exchange.nr)
        return route.call(exchange, route.arch, source.open_target)

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
