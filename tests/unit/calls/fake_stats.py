"""Files that statx(2) might have told of."""

from __future__ import annotations

import stat

from unotify.calls.stats import Stat

__all__ = ["FILE", "directory"]

FILE = Stat(
    *(0xFFF, stat.S_IFREG | 0o644, 1000, 1001, 12345, 65025, 0, 1, 4097, 16, 4096, 0, 0),
    (0,) * 8,
)


def directory(mode: int) -> Stat:
    """A directory."""
    return FILE._replace(mode=stat.S_IFDIR | mode)
