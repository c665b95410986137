"""What is remembered of a file, and what is told of it."""

from __future__ import annotations

import os
import stat

import pytest

from tests.unit.calls.fake_stats import FILE, directory
from unotify.handlers.ownership.remembered import (
    NOTHING,
    Remembered,
    chmodded,
    chowned,
    shown,
    usable,
)

OWN = (1000, 1001)


def test_own_files_are_roots() -> None:
    """What belongs to the user, or to its group, is shown as root's; all else as what it is."""
    mine = shown(FILE._replace(uid=1000, gid=1001), None, OWN)
    assert (mine.uid, mine.gid) == (0, 0)
    other = shown(FILE._replace(uid=33, gid=1001), None, OWN)
    assert (other.uid, other.gid) == (33, 0)


def test_what_is_remembered_counts() -> None:
    """Owner, group and permissions are what they were set to; a device has no content."""
    found = Remembered(5, None, 0o4711, (stat.S_IFCHR, os.makedev(1, 3)))
    told = shown(FILE._replace(uid=1000, gid=44), found, OWN)
    assert (told.uid, told.gid, told.mode) == (5, 44, stat.S_IFCHR | 0o4711)
    assert (told.rdev, told.size, told.blocks) == (os.makedev(1, 3), 0, 0)


@pytest.mark.parametrize(
    ("mode", "left"),
    [(0o4755, 0o755), (0o6755, 0o755), (0o2745, 0o2745), (0o1644, 0o1644), (0o2755, 0o755)],
)
def test_giving_away(mode: int, left: int) -> None:
    """A new owner loses set-user-ID, set-group-ID where the group executes, and capabilities."""
    was = Remembered(mode=mode, attributes={"security.capability": b"x", "trusted.a": b"y"})
    told = FILE._replace(mode=stat.S_IFREG | mode)
    now = chowned(was, told, 5, None)
    assert (now.uid, now.gid, now.mode) == (5, None, left)
    assert now.attributes == {"trusted.a": b"y"}


def test_giving_directories_away() -> None:
    """A directory keeps all of its bits."""
    was = Remembered(mode=0o6755)
    assert chowned(was, directory(0o6755), None, 7) == Remembered(None, 7, 0o6755)


def test_modes() -> None:
    """All permissions are remembered; the file stays usable for the one who plays root."""
    assert chmodded(NOTHING, 0o104755).mode == 0o4755
    assert usable(0, directory=False) == 0o600
    assert usable(0o4511, directory=False) == 0o711
    assert usable(0o010, directory=False) == 0o710
    assert usable(0o7007, directory=True) == 0o3707
