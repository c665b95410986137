from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.unit.supervisor.rig import Rig
from unotify.calls import Getpid
from unotify.protocol import Return
from unotify.supervisor import Statistics
from unotify.supervisor.statistics import BUCKETS, Counters

NOW = {"in_flight": 0, "held": 0, "listeners": 0, "readers": 0}


def made(*latency: tuple[int, int]) -> Statistics:
    """Statistics with this latency."""
    counters = Counters()
    for bound, count in latency:
        counters.buckets[bound.bit_length() - 1] = count
    return counters.freeze(Counters(), **NOW)


def test_counters_of_two_are_added() -> None:
    """The leader counts without the lock; users see one sum."""
    one = Counters(gone=1, faults=2, expired=3, racy=4)
    two = Counters(gone=10, faults=20, expired=30, racy=40)
    one.buckets[3] = 5
    two.buckets[3] = 50
    two.buckets[0] = 1
    got = one.freeze(two, in_flight=2, held=1, listeners=1, readers=2)
    assert (got.gone, got.faults, got.expired, got.racy) == (11, 22, 33, 44)
    assert (got.answered, got.received) == (56, 56 + 11 + 2)
    assert got.latency == ((1, 1), (8, 55))
    assert (got.in_flight, got.held, got.listeners, got.readers) == (2, 1, 1, 2)


@pytest.mark.parametrize(
    ("share", "bound"),
    [(0.0, 8), (0.1, 8), (0.5, 8), (0.51, 64), (0.9, 64), (0.99, 1024), (1, 1024)],
)
def test_quantiles(share: float, bound: int) -> None:
    """The bound of the bucket in which that share of the answers lies."""
    assert made((8, 50), (64, 45), (1024, 5)).quantile(share) == bound


def test_no_answers_have_no_latency() -> None:
    """Zero, and an empty histogram."""
    assert made().latency == ()
    assert made().quantile(0.5) == 0


def test_buckets_hold_any_time() -> None:
    """A call may wait for ever: 2**63 microseconds are more than enough."""
    assert BUCKETS >= 64
    assert ((1 << 62) // 1000).bit_length() < BUCKETS


def test_statistics_are_frozen() -> None:
    """A record of a moment."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().gone = 1  # type: ignore[misc]


def test_latency_is_counted(rig: Rig) -> None:
    """Each answer lies in one bucket."""
    supervisor: Any = rig.supervise()
    supervisor.on(Getpid)(lambda call: Return(1))
    for _ in range(10):
        rig.ask("getpid")
    rig.settled(lambda: supervisor.statistics().answered == 10)
    got = supervisor.statistics()
    assert sum(count for _, count in got.latency) == 10
    assert got.quantile(1) == got.latency[-1][0]
    assert (got.received, got.in_flight, got.listeners) == (10, 0, 1)
