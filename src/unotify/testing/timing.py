"""Simulated time: deadlines of a supervisor pass when a test says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

__all__ = ["SimulatedTime", "simulated_time"]


_CLOCK: Final = "perf_counter_ns"


class SimulatedTime:
    """A clock that stands still.

    Attributes:
        nanoseconds: What it shows.
    """

    def __init__(self) -> None:
        self.nanoseconds = 1_000_000_000

    def read(self) -> int:
        """What it shows, in place of :func:`time.perf_counter_ns`."""
        return self.nanoseconds

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.nanoseconds += round(seconds * 1e9)


@contextmanager
def simulated_time() -> Iterator[SimulatedTime]:
    """Let the deadlines of all supervisors go by a clock that stands still.

    Made for embedded supervisors: their deadlines run in ``process_pending()``. One with threads
    waits for real time and looks at this clock then.

    Example:
        >>> with simulated_time() as clock:
        ...     clock.advance(2.5)
        ...     clock.nanoseconds
        3500000000
    """
    from unotify.supervisor import deadlines, engine

    clock = SimulatedTime()
    with ExitStack() as stack:
        for module in (engine, deadlines):
            stack.callback(setattr, module, _CLOCK, getattr(module, _CLOCK))
            setattr(module, _CLOCK, clock.read)
        yield clock
