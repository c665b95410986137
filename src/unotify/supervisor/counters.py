"""What happened before: counters and token buckets, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Final

__all__ = ["MOST", "Counters"]

MOST: Final = 16384
"""Counters of one kind that are kept; the one that was used longest ago goes first."""


class Counters:
    """Counters and buckets by key and by whom they count for; thread-safe.

    Args:
        most: How many are kept of each scope. Those of whole rules are few, and
            are crowded out by nobody: a scope has its own room.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = Lock()
        self._counts: dict[str, OrderedDict[Hashable, int]] = {}
        self._buckets: dict[str, OrderedDict[Hashable, tuple[float, float]]] = {}

    def count(self, scope: str, key: Hashable) -> int:
        """Count one more; returns the new count."""
        with self._lock:
            counts = self._counts.setdefault(scope, OrderedDict())
            new = counts.pop(key, 0) + 1
            counts[key] = new
            if len(counts) > self._most:
                counts.popitem(last=False)
            return new

    def take(self, scope: str, key: Hashable, rate: float, burst: float, now: float) -> bool:
        """Take a token from a bucket that fills *rate* times a second, up to *burst*."""
        with self._lock:
            buckets = self._buckets.setdefault(scope, OrderedDict())
            left, then = buckets.pop(key, (burst, now))
            left = min(burst, left + max(0.0, now - then) * rate)
            taken = left >= 1
            buckets[key] = (left - taken, now)
            if len(buckets) > self._most:
                buckets.popitem(last=False)
            return taken
