"""Times of files in all their spellings."""

from __future__ import annotations

import errno
import struct

import pytest

from tests.unit.calls.fake_memory import make_call
from unotify.abi.arch import Arch
from unotify.calls.times import times_of
from unotify.errors import BadAddress, Refused

PATH, DATA = 0x1000, 0x3000
CWD = -100
NOW = 0x3FFFFFFF


@pytest.mark.parametrize(
    ("name", "arch", "args", "data", "expected"),
    [
        ("utime", Arch.X86_64, (PATH, DATA), struct.pack("<qq", 5, -6), (5, 0, -6, 0)),
        ("utime", Arch.I386, (PATH, DATA), struct.pack("<ii", 5, -6), (5, 0, -6, 0)),
        ("utimes", Arch.X86_64, (PATH, DATA), struct.pack("<4q", 1, 2, 3, 4), (1, 2000, 3, 4000)),
        ("utimes", Arch.I386, (PATH, DATA), struct.pack("<4i", 1, 2, 3, 4), (1, 2000, 3, 4000)),
        (
            "futimesat",
            Arch.X86_64,
            (CWD, PATH, DATA),
            struct.pack("<4q", 1, 2, 3, 4),
            (1, 2000, 3, 4000),
        ),
        (
            "utimensat",
            Arch.X86_64,
            (CWD, PATH, DATA, 0),
            struct.pack("<4q", 1, 2, 3, NOW),
            (1, 2, 3, NOW),
        ),
        (
            "utimensat",
            Arch.I386,
            (CWD, PATH, DATA, 0),
            struct.pack("<4i", 1, 2, -3, NOW),
            (1, 2, -3, NOW),
        ),
        (
            "utimensat_time64",
            Arch.I386,
            (CWD, PATH, DATA, 0),
            struct.pack("<4q", 1 << 40, 1 << 32 | 2, 3, 4),
            (1 << 40, 2, 3, 4),
        ),
    ],
)
def test_times(
    name: str, arch: Arch, args: tuple[int, ...], data: bytes, expected: tuple[int, ...]
) -> None:
    """Whatever their spelling, they become two timespecs of ours."""
    times = times_of(make_call(name, *args, arch=arch, memory={DATA: data}))
    assert times is not None
    assert struct.unpack("<4q", times) == expected


@pytest.mark.parametrize("part", [1_000_000, -1])
def test_microseconds_have_a_range(part: int) -> None:
    """A second of them, or less than none, is EINVAL."""
    data = struct.pack("<4q", 1, 0, 1, part)
    with pytest.raises(Refused) as caught:
        times_of(make_call("utimes", PATH, DATA, memory={DATA: data}))
    assert caught.value.errno == errno.EINVAL


def test_no_times() -> None:
    """NULL is now; what cannot be read is EFAULT."""
    assert times_of(make_call("utimes", PATH, 0)) is None
    with pytest.raises(BadAddress):
        times_of(make_call("utimes", PATH, DATA, memory={DATA: b"short"}))
