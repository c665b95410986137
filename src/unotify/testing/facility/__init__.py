"""The facility as an executable model: pure functions on a `World` of plain records."""

from __future__ import annotations

__all__: list[str] = []
