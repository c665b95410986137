"""struct sysinfo, made of a machine and of limits."""

from __future__ import annotations

import struct

import pytest

from unotify.abi.arch import Arch
from unotify.handlers.cgroups import Usage
from unotify.handlers.sysinfo import SysInfo, machine

GIB = 1 << 30
MACHINE = SysInfo(100, (0.5, 1.0, 2.25), 16 * GIB, 8 * GIB, 3, 4, 2 * GIB, GIB, 500)


def test_the_layout_of_64_bits() -> None:
    """112 bytes, sizes in bytes, loads in 1/65536."""
    packed = MACHINE.pack(Arch.X86_64)
    assert len(packed) == len(MACHINE.pack(Arch.X32)) == len(MACHINE.pack(Arch.AARCH64)) == 112
    words = struct.unpack("<q3Q6QHH4x2QI4x", packed)
    assert words[:4] == (100, 1 << 15, 1 << 16, 9 << 14)
    assert words[4:10] == (16 * GIB, 8 * GIB, 3, 4, 2 * GIB, GIB)
    assert words[10:] == (500, 0, 0, 0, 1)


def test_the_layout_of_32_bits_has_larger_units_where_it_must() -> None:
    """64 bytes; sizes that do not fit are in pages, and mem_unit says so."""
    words = struct.unpack("<i3I6IHH2II8x", MACHINE.pack(Arch.I386))
    unit = words[-1]
    assert unit > 1
    assert [word * unit for word in words[4:6]] == [16 * GIB, 8 * GIB]
    small = MACHINE.limited(Usage(limit=GIB, used=1, swap_limit=0))
    words = struct.unpack(">i3I6IHH2II8x", small.pack(Arch.S390))
    assert words[4] == GIB
    assert words[-1] == 1


@pytest.mark.parametrize("arch", [Arch.I386, Arch.X86_64])
def test_no_number_overflows(arch: Arch) -> None:
    """What does not fit is the most that does."""
    huge = SysInfo(1 << 70, (1e30, 0, 0), 1 << 80, 0, 0, 0, 0, 0, 1 << 20)
    assert len(huge.pack(arch)) in (64, 112)


def test_limits() -> None:
    """What is free is the limit without what is used; never more than the machine has."""
    found = MACHINE.limited(Usage(GIB, GIB // 4, 50, 7, 100, 40, 3))
    assert (found.totalram, found.freeram) == (GIB, GIB * 3 // 4)
    assert (found.bufferram, found.sharedram) == (50, 7)
    assert (found.totalswap, found.freeswap, found.procs) == (100, 60, 3)
    assert MACHINE.limited(Usage()) == MACHINE
    assert MACHINE.limited(Usage(limit=1 << 50, used=5)) == MACHINE
    assert MACHINE.limited(Usage(limit=GIB, used=2 * GIB)).freeram == 0


def test_the_machine_itself() -> None:
    """This machine has memory, tasks, and has been up for a while."""
    found = machine()
    assert found.totalram > found.freeram > 0
    assert found.procs > 0
    assert found.uptime > 0
