"""The fixtures that are public, and a supervisor with threads or without."""

from __future__ import annotations

from unotify.testing.plugin import simulated_kernel, supervised

__all__ = ["simulated_kernel", "supervised"]
