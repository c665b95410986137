"""Telling the ABI that an interpreter speaks."""

from __future__ import annotations

import pytest

from unotify.abi.arch import Arch
from unotify.errors import KernelError
from unotify.kernel._libc import NATIVE, native_arch


@pytest.mark.parametrize(
    ("machine", "multiarch", "pointer", "little", "expected"),
    [
        ("x86_64", "x86_64-linux-gnu", 8, True, Arch.X86_64),
        ("x86_64", "i386-linux-gnu", 4, True, Arch.I386),
        ("x86_64", "x86_64-linux-gnux32", 4, True, Arch.X32),
        ("i686", "", 4, True, Arch.I386),
        ("aarch64", "", 8, True, Arch.AARCH64),
        ("aarch64", "arm-linux-gnueabihf", 4, True, Arch.ARM),
        ("armv7l", "", 4, True, Arch.ARM),
        ("riscv64", "", 8, True, Arch.RISCV64),
        ("ppc64le", "", 8, True, Arch.PPC64LE),
        ("ppc64", "", 8, False, Arch.PPC64),
        ("ppc64", "", 4, False, Arch.PPC),
        ("s390x", "", 8, False, Arch.S390X),
        ("s390x", "", 4, False, Arch.S390),
        ("loongarch64", "", 8, True, Arch.LOONGARCH64),
        ("mips64", "mips64el-linux-gnuabi64", 8, True, Arch.MIPSEL64),
        ("mips64", "mips64-linux-gnuabin32", 4, False, Arch.MIPS64N32),
        ("mips64", "mips64el-linux-gnuabin32", 4, True, Arch.MIPSEL64N32),
        ("mips64", "mipsel-linux-gnu", 4, True, Arch.MIPSEL),
        ("mips", "", 4, False, Arch.MIPS),
        ("parisc64", "", 4, False, Arch.PARISC),
        ("m68k", "", 4, False, Arch.M68K),
    ],
)
def test_known(machine: str, multiarch: str, pointer: int, little: bool, expected: Arch) -> None:
    """The kernel's name, the width of a pointer and the triplet decide together."""
    found = native_arch(machine, multiarch=multiarch, pointer=pointer, little=little)

    assert found is expected


def test_unknown() -> None:
    """An architecture without seccomp here is an error that names it."""
    with pytest.raises(KernelError, match="alpha"):
        native_arch("alpha", multiarch="", pointer=8, little=True)


def test_native() -> None:
    """This interpreter's own ABI has pointers of its width."""
    import struct

    assert NATIVE.pointer == struct.calcsize("P")
