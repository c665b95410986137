"""Calls that were answered without Python, for instruments that count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.kernel.interface import Listener, Tally

__all__ = ["Counted", "summed"]


@dataclass(frozen=True, slots=True)
class Counted:
    """What came of one call of one listener's targets, and how often.

    Attributes:
        listener: Whose targets made it; may be closed by now.
        call_name: The kernel's name of it, as `Call.call_name`; of the kernel's own architecture.
        outcome: ``answered`` (with a value), ``failed``, ``continued``, ``installed`` (a
            descriptor) or ``gone``: the target did not wait for the reply.
        latencies: How often, by the bit length of the microseconds from receipt to reply.
        nanoseconds: All of them together.
    """

    listener: Listener
    call_name: str
    outcome: str
    latencies: Mapping[int, int]
    nanoseconds: int

    @property
    def count(self) -> int:
        """How often."""
        return sum(self.latencies.values())


def summed(tallies: Iterable[Tally], arch: Arch) -> list[Counted]:
    """One for each listener, call of *arch* and outcome."""
    found: dict[tuple[Listener, int, str], tuple[dict[int, int], list[int]]] = {}
    for tally in tallies:
        key = tally.listener, tally.nr, tally.outcome
        latencies, nanoseconds = found.setdefault(key, ({}, []))
        latencies[tally.bits] = latencies.get(tally.bits, 0) + tally.times
        nanoseconds.append(tally.nanoseconds)
    return [
        Counted(listener, tables.name(nr, arch) or "", outcome, latencies, sum(nanoseconds))
        for (listener, nr, outcome), (latencies, nanoseconds) in found.items()
    ]
