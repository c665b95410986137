"""Counters of a supervisor, and how long answers took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

__all__ = ["BUCKETS", "Counters", "Statistics"]

BUCKETS: Final = 64
"""Latency buckets: bucket n counts answers that took less than 2**n microseconds."""


@dataclass(frozen=True)
class Statistics:
    """What a supervisor has done so far.

    Attributes:
        received: Notifications received.
        answered: Replies that reached their target.
        native: Of these, replies that took no Python (`unotify.kernel.native`).
        gone: Targets that did not wait for their reply any more.
        faults: Handlers that raised or returned nonsense.
        expired: Calls whose deadline passed.
        racy: Replies ``Continue.racy``.
        in_flight: Calls that wait for us now, held ones included.
        held: Of these, calls that are held.
        listeners: Open listeners.
        readers: Threads that receive or handle.
        latency: ``(microseconds, count)`` pairs: answers that took less than
            that many microseconds and no less than the pair before, from
            receipt until the decision.
    """

    received: int
    answered: int
    native: int
    gone: int
    faults: int
    expired: int
    racy: int
    in_flight: int
    held: int
    listeners: int
    readers: int
    latency: tuple[tuple[int, int], ...]

    def quantile(self, share: float) -> int:
        """Microseconds within which *share* (0 to 1) of the answers were sent; 0 without any."""
        left = share * sum(count for _, count in self.latency)
        for bound, count in self.latency:
            left -= count
            if count and left <= 0:
                return bound
        return 0


@dataclass
class Counters:
    """The mutable side, of exchanges that are over; it takes care of no locks.

    Attributes:
        buckets: Answers by the bit length of their microseconds.
    """

    gone: int = 0
    faults: int = 0
    expired: int = 0
    racy: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * BUCKETS)

    def copy(self) -> Counters:
        """The same counts, for somebody else to change."""
        return replace(self, buckets=[*self.buckets])

    def add(self, gone: int, racy: int, buckets: Sequence[int]) -> None:
        """Count more targets that were gone, more racy continues, and more answers."""
        self.gone += gone
        self.racy += racy
        self.buckets = [ours + its for ours, its in zip(self.buckets, buckets, strict=True)]

    def freeze(
        self,
        *others: Counters,
        native: int = 0,
        in_flight: int,
        held: int,
        listeners: int,
        readers: int,
    ) -> Statistics:
        """The record that users get: these counts and those of *others*."""
        total = self.copy()
        for other in others:
            total.add(other.gone, other.racy, other.buckets)
            total.faults += other.faults
            total.expired += other.expired
        answered, buckets = sum(total.buckets), total.buckets
        return Statistics(
            received=answered + total.gone + in_flight,
            answered=answered,
            native=native,
            gone=total.gone,
            faults=total.faults,
            expired=total.expired,
            racy=total.racy,
            in_flight=in_flight,
            held=held,
            listeners=listeners,
            readers=readers,
            latency=tuple((1 << n, count) for n, count in enumerate(buckets) if count),
        )
