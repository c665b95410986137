"""What is remembered of one inode, and how it changes; pure.

The rules are those of the kernel for somebody who is root: chown(2) and chmod(2), and
capabilities(7) for what a change of the owner takes from a file.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from unotify.calls.stats import Stat

__all__ = ["NOTHING", "Remembered", "chmodded", "chowned", "shown", "usable"]

_NONE: Final[Mapping[str, bytes]] = MappingProxyType({})
_PERMISSIONS: Final = 0o7777
CAPABILITY: Final = "security.capability"


@dataclass(frozen=True, slots=True)
class Remembered:
    """What an inode pretends to be; ``None`` is what it really is.

    Attributes:
        uid: Its owner.
        gid: Its group.
        mode: Its permissions, with set-user-ID and the like.
        device: The type and number of the device that it stands for.
        attributes: Extended attributes, by name.
    """

    uid: int | None = None
    gid: int | None = None
    mode: int | None = None
    device: tuple[int, int] | None = None
    attributes: Mapping[str, bytes] = field(default_factory=lambda: _NONE)

    def without(self, attribute: str) -> Remembered:
        """The same, but for one attribute."""
        if attribute not in self.attributes:
            return self
        left = {name: value for name, value in self.attributes.items() if name != attribute}
        return replace(self, attributes=left)

    def having(self, attribute: str, value: bytes) -> Remembered:
        """The same, and one attribute."""
        return replace(self, attributes={**self.attributes, attribute: value})


NOTHING: Final = Remembered()
"""Nothing is remembered."""


def shown(real: Stat, found: Remembered | None, own: tuple[int, int]) -> Stat:
    """What is to be told of an inode.

    Args:
        real: What it is.
        found: What is remembered of it.
        own: The user and the group that are shown as root: those that the target really has.
    """
    uid = 0 if real.uid == own[0] else real.uid
    gid = 0 if real.gid == own[1] else real.gid
    if found is None:
        return real._replace(uid=uid, gid=gid)
    kind, rdev = stat.S_IFMT(real.mode), real.rdev
    size, blocks = real.size, real.blocks
    if found.device is not None:
        kind, rdev = found.device
        size = blocks = 0
    mode = real.mode & _PERMISSIONS if found.mode is None else found.mode
    return real._replace(
        mode=kind | mode,
        uid=uid if found.uid is None else found.uid,
        gid=gid if found.gid is None else found.gid,
        rdev=rdev,
        size=size,
        blocks=blocks,
    )


def chowned(found: Remembered, told: Stat, uid: int | None, gid: int | None) -> Remembered:
    """What is remembered after chown(2); whoever calls it has checked that it is allowed.

    Args:
        found: What was.
        told: What the inode looked like.
        uid: The new owner, or ``None``.
        gid: The new group, or ``None``.
    """
    mode = found.mode
    if not told.is_directory:
        # Root, too, takes these from a program by giving it away.
        was = told.mode & _PERMISSIONS
        now = was & ~stat.S_ISUID
        if was & stat.S_IXGRP:
            now &= ~stat.S_ISGID
        if now != was:
            mode = now
    return replace(
        found.without(CAPABILITY) if not told.is_directory else found,
        uid=found.uid if uid is None else uid,
        gid=found.gid if gid is None else gid,
        mode=mode,
    )


def chmodded(found: Remembered, mode: int) -> Remembered:
    """What is remembered after chmod(2)."""
    return replace(found, mode=mode & _PERMISSIONS)


def usable(mode: int, *, directory: bool) -> int:
    """The permissions that a file really gets, so that whoever plays root can still use it.

    Root may read and write what says 000, and run what anybody may run. Set-user-ID and the like
    are remembered only: really they would lend out the user's own rights. A directory has them,
    where they lend nothing, and new directories in it inherit one.
    """
    if directory:
        return mode & 0o3777 | 0o700
    more = 0o700 if mode & 0o111 else 0o600
    return mode & 0o777 | more
