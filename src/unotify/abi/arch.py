"""Architectures, as a filter and a notification see them."""

from __future__ import annotations

from enum import Enum
from typing import Final

from unotify.abi.structs import COMMON_IOCTLS, PPC_MIPS_IOCTLS, Ioctls

__all__ = ["X32_BIT", "Arch"]

X32_BIT: Final = 0x40000000
"""Set in the number of each x32 call, whose audit architecture is that of x86-64 (B4)."""


class Arch(Enum):
    """One system-call ABI.

    A call belongs to an ABI, not a process to one: a 64-bit program may issue
    ``int $0x80`` (B2), so dispatch on (`audit`, number) each time.

    Attributes:
        label: The name used in policies, tables and the command line.
        audit: The ``AUDIT_ARCH_*`` value, in ``seccomp_data.arch``.
        bits: Width of a register and a pointer: 32 or 64. x32 and n32 pass
            64-bit registers but have 32-bit pointers; see `pointer`.
        pointer: Size of a pointer in bytes.
        little: Whether it is little-endian.
        seccomp_nr: The number of seccomp(2).
    """

    label: str
    audit: int
    bits: int
    pointer: int
    little: bool
    seccomp_nr: int

    X86_64 = ("x86_64", 0xC000003E, 64, 8, True, 317)
    X32 = ("x32", 0xC000003E, 64, 4, True, X32_BIT | 317)
    I386 = ("i386", 0x40000003, 32, 4, True, 354)
    AARCH64 = ("aarch64", 0xC00000B7, 64, 8, True, 277)
    ARM = ("arm", 0x40000028, 32, 4, True, 383)
    RISCV64 = ("riscv64", 0xC00000F3, 64, 8, True, 277)
    RISCV32 = ("riscv32", 0x400000F3, 32, 4, True, 277)
    LOONGARCH64 = ("loongarch64", 0xC0000102, 64, 8, True, 277)
    PPC = ("ppc", 0x00000014, 32, 4, False, 358)
    PPC64 = ("ppc64", 0x80000015, 64, 8, False, 358)
    PPC64LE = ("ppc64le", 0xC0000015, 64, 8, True, 358)
    S390 = ("s390", 0x00000016, 32, 4, False, 348)
    S390X = ("s390x", 0x80000016, 64, 8, False, 348)
    MIPS = ("mips", 0x00000008, 32, 4, False, 4352)
    MIPSEL = ("mipsel", 0x40000008, 32, 4, True, 4352)
    MIPS64 = ("mips64", 0x80000008, 64, 8, False, 5312)
    MIPSEL64 = ("mipsel64", 0xC0000008, 64, 8, True, 5312)
    MIPS64N32 = ("mips64n32", 0xA0000008, 64, 4, False, 6316)
    MIPSEL64N32 = ("mipsel64n32", 0xE0000008, 64, 4, True, 6316)
    PARISC = ("parisc", 0x0000000F, 32, 4, False, 338)
    SH4 = ("sh4", 0x4000002A, 32, 4, True, 372)
    M68K = ("m68k", 0x00000004, 32, 4, False, 380)

    def __init__(
        self, label: str, audit: int, bits: int, pointer: int, little: bool, seccomp_nr: int
    ) -> None:
        self.label = label
        self.audit = audit
        self.bits = bits
        self.pointer = pointer
        self.little = little
        self.seccomp_nr = seccomp_nr

    @property
    def ioctls(self) -> Ioctls:
        """The listener ioctl numbers of a supervisor that runs on this architecture."""
        return PPC_MIPS_IOCTLS if self.label.startswith(("ppc", "mips")) else COMMON_IOCTLS

    def __repr__(self) -> str:
        return f"Arch.{self.name}"
