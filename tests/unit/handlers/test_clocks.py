"""struct timex in the layouts of those who call."""

from __future__ import annotations

import struct

import pytest

from unotify.abi.arch import Arch
from unotify.handlers.clocks import _layout


@pytest.mark.parametrize(
    ("arch", "wide", "size"),
    [
        (Arch.X86_64, True, 208),
        (Arch.S390X, True, 208),
        (Arch.I386, True, 208),
        (Arch.I386, False, 128),
        (Arch.ARM, False, 128),
    ],
)
def test_sizes(arch: Arch, wide: bool, size: int) -> None:
    """__kernel_timex has 208 bytes everywhere, old_timex32 has 128."""
    assert struct.calcsize(_layout(arch, wide)) == size


def test_fields_are_where_the_kernel_has_them() -> None:
    """The status, the seconds and the offset from TAI, in both layouts."""
    values = [0] * 21
    values[5], values[9], values[20] = 0x2001, 1_700_000_000, 37
    wide = struct.pack(_layout(Arch.X86_64, True), *values)
    assert struct.unpack_from("<i", wide, 40) == (0x2001,)
    assert struct.unpack_from("<q", wide, 72) == (1_700_000_000,)
    assert struct.unpack_from("<i", wide, 160) == (37,)
    narrow = struct.pack(_layout(Arch.I386, False), *values)
    assert struct.unpack_from("<i", narrow, 20) == (0x2001,)
    assert struct.unpack_from("<i", narrow, 36) == (1_700_000_000,)
    assert struct.unpack_from("<i", narrow, 80) == (37,)
