"""Shares of a supervisor, so that one of many cannot slow the others.

Theory of operation. All listeners of one container, say, have one `Quota`. While it has as many
calls in flight as it may, its listeners are not received from: the kernel keeps the others
waiting, in their order, and costs nobody anything. When more than half of all threads are taken
one call is as many as each may have, so that there is a thread for whoever has none.

A leader that runs a slow handler holds the others up until it is found out (`readers`). So whoever
was found out is *suspect*: its calls are received by the leader and handled in other threads,
until enough of them in a row were quick. Whoever is found out again soon after has to be quick for
twice as long each time: the time that it takes from others is a small share of theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from unotify.errors import Conflict

if TYPE_CHECKING:
    from unotify.supervisor.sources import Source

__all__ = ["LONGEST_PROBATION", "PROBATION", "Quota"]

PROBATION: Final = 32
"""Quick calls in a row after which the leader handles a suspect's calls again."""
LONGEST_PROBATION: Final = 1 << 16
"""The same of one that is found out again and again: some seconds, if it does nothing else."""
_FORGOTTEN: Final = 10 * 10**9
"""Nanoseconds after which to have been found out does not count any more."""


class Quota:
    """How many calls may be in flight at a time, of all listeners that are attached with it.

    Args:
        limit: How many, held ones included.

    Attributes:
        limit: It may be changed at any time.
        throttled: How often it was found to be used up.
        stuck: Threads that are in one of its calls without Python, and have lost the lead.
        held: All its calls are received by somebody who looks at this: see `quick`.
    """

    __slots__ = (
        "_found",
        "_term",
        "held",
        "limit",
        "paused",
        "sources",
        "stuck",
        "suspect",
        "throttled",
    )

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise Conflict(f"a quota of {limit} calls: it is at least 1")
        self.limit = limit
        self.throttled = 0
        self.sources: frozenset[Source] = frozenset()
        self.paused: set[Source] = set()
        self.suspect = 0
        self._term = PROBATION
        self._found = -_FORGOTTEN
        self.stuck = 0
        self.held = False

    @property
    def idle(self) -> bool:
        """Whether nothing is known to be in flight, and nothing speaks against it."""
        return not (self.suspect or self.stuck or self.in_flight)

    @property
    def in_flight(self) -> int:
        """How many calls wait for us now."""
        return sum(len(source.protocol.under_way) for source in self.sources)

    def is_full(self, *, crowded: bool) -> bool:
        """Whether there may be no more now; *crowded*: threads are scarce."""
        return self.in_flight >= (1 if crowded else self.limit)

    def found_out(self, now: int, *, surely: bool) -> None:
        """Others had to wait for it: it is a suspect.

        Args:
            now: As perf_counter_ns.
            surely: Nothing else has made them wait, such as a machine that is busy.
        """
        term = PROBATION
        if surely:
            if now - self._found < _FORGOTTEN:
                term = min(2 * self._term, LONGEST_PROBATION)
            self._term, self._found = term, now
        self.suspect = max(self.suspect, term)

    def took(self, *, long: bool) -> None:
        """A call has been handled apart from the leader."""
        self.suspect = max(self.suspect, PROBATION) if long else max(0, self.suspect - 1)

    def __repr__(self) -> str:
        return f"<Quota {self.in_flight} of {self.limit}>"
