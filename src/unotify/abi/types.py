"""Names for integers that must not be confused with each other."""

from __future__ import annotations

from typing import NewType

__all__ = ["Address", "NotificationId", "Tid"]

Tid = NewType("Tid", int)
"""A thread id as the supervisor's pid namespace sees it; 0 = not visible from here (P1-P3)."""

Address = NewType("Address", int)
"""An address in the *target's* address space: unsigned, up to 64 bits."""

NotificationId = NewType("NotificationId", int)
"""Unsigned 64-bit, unique per listener only; above 2**63 half of the time (N4)."""
