"""Why a statement has no scenario that the running kernel plays: the model alone proves it."""

from __future__ import annotations

__all__ = ["OUTSIDE"]

OUTSIDE: dict[str, str] = {
    "A12": "the target has to be between its wake-up and the listener's lock: no test gets there",
    "E10": "poll has to wait for the listener's lock, which is held for nanoseconds",
    "W2a": "a measurement, no behaviour: `make bench`",
}
