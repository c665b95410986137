"""Tests on registers, right for each architecture: position, width, sign and flag bits.

A 32-bit ABI passes a 64-bit argument in two registers (B6); a test of it becomes
tests of both halves.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from unotify.abi import model
from unotify.abi.arch import Arch
from unotify.abi.model import ArgSpec
from unotify.bpf import Always, And, Compare, CompareOp, Never, Not, Or, RegisterPredicate
from unotify.calls.arguments import Argument
from unotify.errors import NotExpressible, UnknownName
from unotify.policy.conditions import RegisterTest
from unotify.policy.where.kinds import Takes, of_argument
from unotify.policy.where.numbers import Number, check_order

__all__ = ["Register", "compare", "fits"]

_WORD = (1 << 32) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Register:
    """An argument, perhaps masked: what an expression compares.

    Attributes:
        argument: Which.
        mask: The bits that count, or ``None``: all.
        places: The bits of a number that is spread over the register, from the lowest on,
            as positions; ``None`` where number and register are the same (`major`, `minor`).
    """

    argument: Argument[object]
    mask: Number | None = None
    places: tuple[int, ...] | None = None

    @property
    def bits(self) -> int:
        """How wide it is on a 64-bit ABI."""
        return len(self.places) if self.places is not None else self.argument.spec.bits or 64

    @property
    def takes(self) -> Takes:
        """Which constants belong to it."""
        return of_argument(self.argument.spec)

    @property
    def kept(self) -> int | None:
        """The generic bits of the mask."""
        return None if self.mask is None else self.mask.value & (1 << self.bits) - 1

    def masked(self, mask: Number) -> Register:
        """The same, with only the bits of *mask*."""
        both = mask if self.mask is None else self.mask.binary(ast.BitAnd(), mask)
        return replace(self, mask=both)

    def __str__(self) -> str:
        return self.argument.name


def fits(register: Register, value: int) -> bool:
    """Whether a register of that width can hold *value*, as a signed or unsigned number."""
    return -1 << (register.bits - 1) <= value < 1 << register.bits


def compare(register: Register, op: CompareOp, values: Iterable[Number], text: str) -> RegisterTest:
    """The test ``register op value``; with several values: that it is equal to one of them."""
    numbers = tuple(values)

    def lower(arch: Arch) -> RegisterPredicate:
        tests = [_lower(register, op, number, arch) for number in numbers]
        return tests[0] if len(tests) == 1 else Or(tuple(tests))

    return RegisterTest(text, lower)


def _lower(register: Register, op: CompareOp, number: Number, arch: Arch) -> RegisterPredicate:
    argument = register.argument
    if op not in (CompareOp.EQ, CompareOp.NE):
        check_order(argument.name, number.kind, arch, register.kept)
    value = _spread(register, number.on(arch))
    mask = None if register.mask is None else register.mask.on(arch, mask=True)
    if register.places is not None:
        mask = _mask_of(register.places, mask)
    try:
        spec = model.spec(argument.call, arch).arg(argument.name)
    except UnknownName:
        return _halves(argument, op, value, mask, arch)
    return _word(spec, op, value, mask)


def _spread(register: Register, number: int) -> int:
    if register.places is None:
        return number
    return sum(1 << place for bit, place in enumerate(register.places) if number >> bit & 1)


def _mask_of(places: tuple[int, ...], mask: int | None) -> int:
    found = 0
    for bit, place in enumerate(places):
        if mask is None or mask >> bit & 1:
            found |= 1 << place
    return found


def _word(spec: ArgSpec, op: CompareOp, value: int, mask: int | None) -> RegisterPredicate:
    # Equality has no sign, so that the same question has one form.
    signed = spec.signed and mask is None and op not in (CompareOp.EQ, CompareOp.NE)
    if spec.bits in (8, 16):
        # The kernel cuts these: dirt above them must not hide anything (B3).
        ones = (1 << spec.bits) - 1
        mask = ones if mask is None else mask & ones
        value &= ones
        signed = False
    width = 0 if spec.bits == 0 else 64 if spec.bits == 64 else 32
    if mask is not None:
        mask &= (1 << (width or 64)) - 1
        value &= (1 << (width or 64)) - 1
        if not mask:
            return _constant(op, 0, value)
    return Compare(spec.index, op, value, bits=width, signed=signed, mask=mask)


def _constant(op: CompareOp, left: int, right: int) -> RegisterPredicate:
    test: dict[CompareOp, Callable[[int, int], bool]] = {
        CompareOp.EQ: int.__eq__,
        CompareOp.NE: int.__ne__,
        CompareOp.LT: int.__lt__,
        CompareOp.LE: int.__le__,
        CompareOp.GT: int.__gt__,
        CompareOp.GE: int.__ge__,
    }
    return Always() if test[op](left, right) else Never()


def _halves(
    argument: Argument[object], op: CompareOp, value: int, mask: int | None, arch: Arch
) -> RegisterPredicate:
    spec = model.spec(argument.call, arch)
    try:
        low, high = spec.arg(f"{argument.name}_low"), spec.arg(f"{argument.name}_high")
    except UnknownName:
        raise NotExpressible(
            f"{argument} does not exist on {arch.label}",
            hint=f'say for which architectures the rule is: "{argument.call}@x86_64"',
        ) from None
    if argument.spec.signed and mask is None:
        high = replace(high, signed=True)
    low_mask, high_mask = (None, None) if mask is None else (mask & _WORD, mask >> 32 & _WORD)
    low_value, high_value = value & _WORD, value >> 32 & _WORD

    def upper(op: CompareOp) -> RegisterPredicate:
        return _word(high, op, high_value, high_mask)

    def lower(op: CompareOp) -> RegisterPredicate:
        return _word(low, op, low_value, low_mask)

    same = upper(CompareOp.EQ)
    match op:
        case CompareOp.EQ:
            return And((same, lower(op)))
        case CompareOp.NE:
            return Not(And((same, lower(CompareOp.EQ))))
        case CompareOp.LT | CompareOp.LE:
            return Or((upper(CompareOp.LT), And((same, lower(op)))))
        case CompareOp.GT | CompareOp.GE:
            return Or((upper(CompareOp.GT), And((same, lower(op)))))
