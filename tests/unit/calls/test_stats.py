"""What statx(2) tells, taken apart and written in other layouts."""

from __future__ import annotations

import os
import stat
import struct

import pytest

from unotify.abi.arch import Arch
from unotify.calls.stats import Stat
from unotify.errors import NotExpressible, Refused

FILE = Stat(
    *(0xFFF, stat.S_IFREG | 0o4755, 1000, 1001, 12345, os.makedev(254, 3), os.makedev(1, 3)),
    *(2, 4097, 16, 4096, 0x10, 0x30, (1, 2, 3, 4, 5, 6, 7, 8)),
    bytes(range(1, 113)),
)


def test_round_trip() -> None:
    """Nothing of the kernel's struct is lost, not even what has no name here."""
    raw = FILE.encode("statx", Arch.X86_64)
    assert len(raw) == 256
    assert Stat.of_statx(raw) == FILE
    assert Stat.of_statx(raw).encode("statx", Arch.X86_64) == raw
    assert FILE.born == 3_000_000_004
    assert not FILE.is_directory


def test_layout_of_x86_64() -> None:
    """Each number is where stat(2) of x86-64 has it."""
    raw = FILE.encode("stat", Arch.X86_64)
    assert len(raw) == 144
    assert struct.unpack("<QQQIII4xQqqqQQQQQQ24x", raw) == (
        *(os.makedev(254, 3), 12345, 2, stat.S_IFREG | 0o4755, 1000, 1001, os.makedev(1, 3)),
        *(4097, 4096, 16, 1, 2, 7, 8, 5, 6),
    )


@pytest.mark.parametrize(
    ("arch", "layout", "order"),
    [
        (Arch.AARCH64, "<QQIIIIQ8xqi4xqqQqQqQ8x", "mode nlink"),
        (Arch.RISCV64, "<QQIIIIQ8xqi4xqqQqQqQ8x", "mode nlink"),
        (Arch.PPC64, ">QQQIII4xQqqqqQqQqQ24x", "nlink mode"),
        (Arch.PPC64LE, "<QQQIII4xQqqqqQqQqQ24x", "nlink mode"),
    ],
)
def test_other_layouts(arch: Arch, layout: str, order: str) -> None:
    """The others differ in where they have the number of links, and in their byte order."""
    found = struct.unpack(layout, FILE.encode("stat", arch))
    pair = (FILE.mode, 2) if order == "mode nlink" else (2, FILE.mode)
    assert found == (
        *(FILE.dev, 12345, *pair, 1000, 1001, FILE.rdev, 4097, 4096, 16, 1, 2, 7, 8, 5, 6),
    )


def test_layout_of_s390x() -> None:
    """There the times come before the size of a block."""
    found = struct.unpack(">QQQIII4xQqqQqQqQqq24x", FILE.encode("stat", Arch.S390X))
    assert found[-8:] == (1, 2, 7, 8, 5, 6, 4096, 16)


def test_i386() -> None:
    """A 32-bit struct has what fits: the old one 16-bit ids, the newer one all of them."""
    new = FILE._replace(uid=70000).encode("stat64", Arch.I386)
    mode, nlink, uid, gid = struct.unpack_from("<IIII", new, 16)
    assert (mode, nlink, uid, gid) == (FILE.mode, 2, 70000, 1001)
    old = FILE._replace(uid=70000).encode("stat", Arch.I386)
    assert struct.unpack_from("<HHHH", old, 8) == (FILE.mode, 2, 65534, 1001)
    with pytest.raises(Refused, match="does not fit"):
        FILE._replace(size=1 << 31).encode("stat", Arch.I386)


def test_times_before_1970() -> None:
    """x86-64 has them without a sign: the same bits."""
    early = FILE._replace(times=(-1, 0, 0, 0, 0, 0, 0, 0)).encode("stat", Arch.X86_64)
    assert struct.unpack_from("<q", early, 72) == (-1,)


def test_unknown_layout() -> None:
    """An architecture whose struct is not known is no guess."""
    with pytest.raises(NotExpressible, match="not known here"):
        FILE.encode("stat", Arch.SH4)
