"""Architectures: the audit values are made of ELF machine numbers and two bits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unotify.abi.arch import Arch

BIT64, LITTLE, N32 = 0x80000000, 0x40000000, 0x20000000

# ELF machine numbers, from the ELF registry.
MACHINES = {
    "x86_64": 62,
    "x32": 62,
    "i386": 3,
    "aarch64": 183,
    "arm": 40,
    "riscv64": 243,
    "riscv32": 243,
    "loongarch64": 258,
    "ppc": 20,
    "ppc64": 21,
    "ppc64le": 21,
    "s390": 22,
    "s390x": 22,
    "mips": 8,
    "mipsel": 8,
    "mips64": 8,
    "mipsel64": 8,
    "mips64n32": 8,
    "mipsel64n32": 8,
    "parisc": 15,
    "sh4": 42,
    "m68k": 4,
}


@pytest.mark.parametrize("arch", Arch, ids=lambda arch: arch.label)
def test_the_audit_value_says_machine_width_and_order(arch: Arch) -> None:
    """It is the ELF machine, the 64-bit bit, the little-endian bit, and n32's own bit."""
    expected = MACHINES[arch.label]
    expected |= BIT64 if arch.bits == 64 else 0
    expected |= LITTLE if arch.little else 0
    expected |= N32 if "n32" in arch.label else 0
    assert arch.audit == expected


def test_only_x32_shares_an_audit_value() -> None:
    """B4: all others can be told apart by it."""
    audits = [arch.audit for arch in Arch]
    shared = {arch for arch in Arch if audits.count(arch.audit) > 1}
    assert shared == {Arch.X32, Arch.X86_64}


def test_pointers_are_shorter_than_registers_on_two_kinds_only() -> None:
    """x32 and n32 pass 64-bit registers and use 32-bit pointers."""
    assert {arch for arch in Arch if arch.pointer * 8 != arch.bits} == {
        Arch.X32,
        Arch.MIPS64N32,
        Arch.MIPSEL64N32,
    }


def test_this_machines_header_has_the_same_machines() -> None:
    """linux/elf-em.h agrees, where it is installed."""
    file = Path("/usr/include/linux/elf-em.h")
    if not file.exists():
        pytest.skip("no linux/elf-em.h on this machine")
    found = {name: int(value) for name, value in re.findall(r"EM_(\w+)\s+(\d+)", file.read_text())}
    names = {
        "aarch64": "AARCH64",
        "ppc64le": "PPC64",
        "s390x": "S390",
        "m68k": "68K",
        "i386": "386",
    }
    for label, name in names.items():
        assert found[name] == MACHINES[label]
