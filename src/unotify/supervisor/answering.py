"""A decision becomes an answer: counted, told, sent; and whatever goes wrong becomes one, too."""

from __future__ import annotations

import logging
from time import perf_counter_ns
from typing import TypeAlias

from unotify.calls import Call
from unotify.protocol import Continue, Fail, InstallFd, Reply, Return
from unotify.supervisor.claiming import Claiming
from unotify.supervisor.delivering import deliver, dispose, note
from unotify.supervisor.faults import fault_of, refusal_of
from unotify.supervisor.instruments import Instruments
from unotify.supervisor.sources import Source, Work
from unotify.supervisor.statistics import Counters

__all__ = ["Answering", "FixedReply"]

_log = logging.getLogger("unotify")

FixedReply: TypeAlias = Return | Fail
"""What may be configured as an answer beforehand: never Continue."""


class Answering(Claiming):
    """Answers, by whoever has the right to."""

    def __init__(self, *, fault_reply: FixedReply) -> None:
        super().__init__()
        self.fault_reply = fault_reply
        self.counters = Counters()
        self.leader_counters = Counters()
        """Changed without the lock by the one reader that leads."""
        self.instruments = Instruments()

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
        self.on_answer()
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
