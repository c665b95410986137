"""Tests on registers by position, as other formats have them, whatever the call's types.

A number is unsigned and as wide as a register. On a 32-bit ABI one with more bits is
equal to no register, and above or below all of them; but what is a negative number in
64 bits is that number in 32 too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from unotify.abi.arch import Arch
from unotify.bpf import Always, Compare, CompareOp, Never, RegisterPredicate, evaluate
from unotify.policy.conditions import RegisterTest

__all__ = ["RawTest", "raw_test"]

_FULL: Final = (1 << 64) - 1
_LOW: Final = (1 << 32) - 1
_NEGATIVE: Final = _FULL - (1 << 31) + 1
_EQUAL: Final = (CompareOp.EQ, CompareOp.NE)


@dataclass(frozen=True, slots=True, eq=False)
class RawTest(RegisterTest):
    """A test of a whole register.

    Attributes:
        index: Which argument.
        op: How it is compared.
        value: What with, unsigned.
        mask: The bits that count, or ``None``: all.
    """

    index: int
    op: CompareOp
    value: int
    mask: int | None

    def spelled(self, name: str) -> str:
        """The test of an argument called *name*."""
        left = name if self.mask is None else f"{name} & {_number(self.mask)}"
        return f"{left} {self.op.value} {_number(self.value)}"

    def narrowed(self, name: str, *, whole: bool = False) -> str:
        """The same of the lower 32 bits alone; *whole* if the mask has all that there are."""
        mask = None if self.mask is None or whole else self.mask & _LOW
        return raw_test(self.index, self.op, self.value & _LOW, mask).spelled(name)


@cache
def raw_test(index: int, op: CompareOp, value: int, mask: int | None = None) -> RawTest:
    """The test ``(argument & mask) op value``; one object for each.

    Args:
        index: Which argument, 0 to 5.
        op: How to compare.
        value: What with; below 0 its two's complement.
        mask: The bits to look at, or ``None`` for all; below 0 likewise.
    """
    value &= _FULL
    mask = None if mask is None else mask & _FULL

    def lower(arch: Arch) -> RegisterPredicate:
        return _lower(index, op, value, mask, arch)

    left = f"arg{index}" if mask is None else f"arg{index} & {_number(mask)}"
    return RawTest(f"{left} {op.value} {_number(value)}", lower, index, op, value, mask)


def _lower(
    index: int, op: CompareOp, value: int, mask: int | None, arch: Arch
) -> RegisterPredicate:
    bits = 64 if arch.bits == 64 else 0
    if arch.bits == 32 and op in _EQUAL and value >= _NEGATIVE:
        value &= _LOW
    if mask is None:
        return Compare(index, op, value, bits=bits)
    if arch.bits == 32:
        mask &= _LOW
    if mask:
        return Compare(index, op, value, bits=bits, mask=mask)
    nothing = Compare(0, op, value, bits=64)
    return Always() if evaluate(nothing, (0,) * 6) else Never()


def _number(value: int) -> str:
    return str(value) if value < 1024 else f"{value:#x}"
