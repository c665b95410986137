"""What is refused before any path is looked at, and what no path at all means."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from tests.unit.calls.fake_memory import make_call
from unotify.calls.acts import plan
from unotify.calls.lookups import Spot
from unotify.errors import TargetError

CWD = -100
WILD = 8
MEMORY = {0x1000: b"file\0", 0x2000: b"user.a\0", 0x3000: bytes(300), 0x4000: b"x" * 70_000}
OMIT = (1 << 30) - 2


def refused(name: str, *args: int, memory: dict[int, bytes] = MEMORY) -> int:
    """The errno of a call that is not even begun."""
    with pytest.raises(TargetError) as caught:
        plan(make_call(name, *args, memory=memory))
    return caught.value.errno


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("unlinkat", (CWD, WILD, 0x100)),
        ("linkat", (CWD, WILD, CWD, WILD, 0x100)),
        ("fchmodat2", (CWD, WILD, 0, 1)),
        ("fchownat", (CWD, WILD, 0, 0, 1)),
        ("newfstatat", (CWD, WILD, WILD, 1)),
        ("statx", (CWD, WILD, 0x6000, 0, WILD)),
        ("statx", (CWD, WILD, 0, 1 << 31, WILD)),
        ("renameat2", (CWD, WILD, CWD, WILD, 3)),
        ("renameat2", (CWD, WILD, CWD, WILD, 8)),
        ("access", (WILD, 8)),
        ("truncate", (WILD, -1)),
        ("ftruncate", (77, -1)),
        ("utimensat", (77, 0, 0, 0x100)),
        ("mknod", (WILD, 0o120777, 0)),
        ("readlink", (WILD, WILD, 0)),
        ("readlinkat", (CWD, WILD, WILD, -1)),
        ("getxattrat", (CWD, WILD, 0, 0x2000, 0x3000, 8)),
        ("setxattr", (WILD, 0, 0, 0, 4)),
    ],
)
def test_what_registers_say_comes_first(name: str, args: tuple[int, ...]) -> None:
    """Flags, modes and sizes that are wrong are EINVAL, though the path is wrong as well."""
    assert refused(name, *args) == errno.EINVAL


def test_node_that_is_a_directory() -> None:
    """A directory is not made by mknod(2): EPERM, wherever it was to be."""
    assert refused("mknod", WILD, 0o40755, 0) == errno.EPERM


@pytest.mark.parametrize("name", [0x3000, 0x4000])
def test_name_of_an_attribute(name: int) -> None:
    """An attribute with an empty or an endless name is ERANGE, whatever the descriptor is."""
    assert refused("fgetxattr", 77, name, 0, 0) == errno.ERANGE


def spot(name: str, *args: int, memory: dict[int, bytes] = MEMORY) -> Any:
    """Where the path of a call leads."""
    return plan(make_call(name, *args, memory=memory)).spots["path"]


@pytest.mark.parametrize("name", ["newfstatat", "statx", "listxattrat"])
def test_null_for_an_empty_path(name: str) -> None:
    """NULL is an empty path where one was asked for, and EFAULT elsewhere."""
    flags_at = {"newfstatat": 3, "statx": 2, "listxattrat": 2}[name]
    words = [5, 0, 0, 0, 0]

    assert refused(name, *words) == errno.EFAULT
    words[flags_at] = 0x1000
    assert spot(name, *words) == Spot(b"", 5, empty=True)


def test_null_for_a_descriptor() -> None:
    """utimensat(2) takes NULL for the descriptor, but not for the current directory."""
    assert spot("utimensat", 5, 0, 0, 0) == Spot(b"", 5, empty=True)
    assert refused("utimensat", CWD, 0, 0, 0) == errno.EFAULT


def test_times_that_change_nothing() -> None:
    """With UTIME_OMIT twice no path is looked at."""
    memory = {0x1000: b"missing\0", 0x2000: struct.pack("=4q", 0, OMIT, 0, OMIT)}

    assert spot("utimensat", 77, 0x1000, 0x2000, 0, memory=memory).path == b""


def test_link_behind_a_descriptor() -> None:
    """readlinkat(2) needs no flag to read the link that a descriptor is."""
    assert spot("readlinkat", 5, 0x3000, 0x3000, 9).empty
