"""What an agent has done: by call, by policy and by container.

An instrument of all supervisors. It counts what was answered, in bounded memory: calls are those
that the tables know, policies those of the directory, and containers are forgotten when they end.
So that there are not more series than anybody wants to store, the first so many containers are told
of by name, from their beginning to their end, and all others under one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Final

from unotify.calls import Call
from unotify.errors import HandlerFault
from unotify.kernel.interface import OUTCOMES
from unotify.oci.attending import Attendant
from unotify.protocol import Continue, Fail, InstallFd, Reply
from unotify.supervisor import Counted, Instrument

if TYPE_CHECKING:
    from unotify.oci.containers import Container, Containers

__all__ = ["BUCKETS", "OTHERS", "OUTCOMES", "Accounts", "CallAccount", "outcome"]

BUCKETS: Final = 26
"""Latencies: number n counts answers that took less than 2**n microseconds; the last all others."""

OTHERS: Final = "(others)"
"""The name of all containers that have none of their own."""

UNKNOWN: Final = "unknown"
"""Stands for calls that no table knows."""


def outcome(reply: Reply) -> str:
    """Which of `OUTCOMES` *reply* is."""
    match reply:
        case Fail():
            return "failed"
        case Continue():
            return "continued"
        case InstallFd():
            return "installed"
        case _:
            return "answered"


_LONGEST: Final = 64


@dataclass
class CallAccount:
    """What is known of one call.

    Attributes:
        latencies: Answers by the bit length of their microseconds.
        nanoseconds: All of them together, from receipt to reply.
    """

    latencies: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    nanoseconds: int = 0

    @property
    def count(self) -> int:
        """How many answers."""
        return sum(self.latencies)

    def quantile(self, share: float) -> int:
        """Microseconds within which *share* (0 to 1) of the answers were given; 0 without any."""
        left = share * self.count
        for bits, count in enumerate(self.latencies):
            left -= count
            if count and left <= 0:
                return 1 << bits
        return 0


class Accounts(Instrument, Attendant):
    """Counts; thread-safe.

    Args:
        containers: Who is served now.
        settle: Makes all supervisors tell what they have answered without Python.
        most: Containers that are told of by name.
    """

    def __init__(
        self,
        containers: Containers,
        settle: Callable[[], None],
        *,
        most: int,
    ) -> None:
        self._alive = containers
        self._settle = settle
        self._most = most
        self._lock = Lock()
        self._calls: dict[str, CallAccount] = {}
        self._outcomes: Counter[tuple[str, str, str]] = Counter()
        self._faults: Counter[str] = Counter()
        self._containers: dict[str, Counter[str]] = {}
        self._names: dict[str, str] = {}
        self._ended: Counter[str] = Counter()

    # -- in ------------------------------------------------------------------

    def replied(self, call: Call, reply: Reply, handler: str, nanoseconds: int) -> None:
        """Count it, and how long it took."""
        name = call.call_name or UNKNOWN
        bits = min((nanoseconds // 1000).bit_length(), BUCKETS - 1)
        container = self._alive.of(call.caller.listener)
        with self._lock:
            self._count(container, name, outcome(reply), 1)
            account = self._account(name)
            account.latencies[bits] += 1
            account.nanoseconds += nanoseconds

    def gone(self, call: Call) -> None:
        """Count it."""
        container = self._alive.of(call.caller.listener)
        with self._lock:
            self._count(container, call.call_name or UNKNOWN, "gone", 1)

    def counted(self, counts: Sequence[Counted]) -> None:
        """Count them, as if each had been told of by `replied` or `gone`."""
        with self._lock:
            for each in counts:
                name = each.call_name or UNKNOWN
                self._count(self._alive.of(each.listener), name, each.outcome, each.count)
                if each.outcome == "gone":
                    continue
                account = self._account(name)
                for bits, count in each.latencies.items():
                    account.latencies[min(bits, BUCKETS - 1)] += count
                account.nanoseconds += each.nanoseconds

    def fault(self, fault: HandlerFault) -> None:
        """Count it."""
        with self._lock:
            self._faults[getattr(fault.call, "call_name", "") or UNKNOWN] += 1

    def _account(self, name: str) -> CallAccount:
        account = self._calls.get(name)
        if account is None:
            account = self._calls[name] = CallAccount()
        return account

    def _count(self, container: Container | None, name: str, what: str, times: int) -> None:
        policy = "" if container is None else container.ward.name
        self._outcomes[name, policy, what] += times
        if container is None:
            self._ended[what] += times
            return
        counts = self._containers.get(container.key)
        if counts is None:
            counts = self._containers[container.key] = Counter()
        counts[what] += times

    # -- containers ----------------------------------------------------------

    def beat(self) -> None:
        """Give names to those who have come, and forget those who have ended."""
        self._settle()
        alive = {container.key: container for container in self._alive}
        with self._lock:
            for key in [key for key in self._containers if key not in alive]:
                counts = self._containers.pop(key)
                if key not in self._names:
                    self._ended.update(counts)
            for key in [key for key in self._names if key not in alive]:
                del self._names[key]
            for key, container in alive.items():
                # Once it counts among the others it stays there: a counter must not fall.
                if key not in self._containers:
                    self._containers[key] = Counter()
                    if len(self._names) < self._most:
                        self._names[key] = self._name(container)

    def _name(self, container: Container) -> str:
        name = container.id[:_LONGEST]
        return name if name not in self._names.values() else f"{name}#{container.key}"

    # -- out -----------------------------------------------------------------

    def calls(self) -> dict[str, CallAccount]:
        """A copy of what is known of each call."""
        self._settle()
        with self._lock:
            return {
                name: CallAccount(list(account.latencies), account.nanoseconds)
                for name, account in sorted(self._calls.items())
            }

    def outcomes(self) -> dict[tuple[str, str, str], int]:
        """How often, by call, policy and outcome."""
        self._settle()
        with self._lock:
            return dict(self._outcomes)

    def faults(self) -> dict[str, int]:
        """How often handlers failed, by call."""
        with self._lock:
            return dict(self._faults)

    def container(self, container: Container) -> dict[str, int]:
        """How often, by outcome, in one container; as of the last beat, or question for all."""
        with self._lock:
            return dict(self._containers.get(container.key, ()))

    def named(self) -> dict[str, dict[str, int]]:
        """How often, by outcome, in each container that has a name, and in all others."""
        self._settle()
        with self._lock:
            others = Counter(self._ended)
            found = {}
            for key, counts in self._containers.items():
                if key in self._names:
                    found[self._names[key]] = dict(counts)
                else:
                    others.update(counts)
            return found | {OTHERS: dict(others)}
