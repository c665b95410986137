"""The language of ``where``: Python's expression grammar, checked against the call model."""

from __future__ import annotations

from unotify.policy.where import bind

__all__ = ["bind"]
