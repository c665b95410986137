"""What a program can compute of its input, exactly: constants, and what is made of one word.

A word with a mask is kept as such, for nothing else is common. Any other result is 32
bits, each a diagram over the bits of the word (see `unotify.bpf.wordsets`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from unotify.bpf.instructions import Op
from unotify.bpf.wordsets import (
    EMPTY,
    FULL,
    Bit,
    WordSet,
    bit,
    both,
    differ,
    masked,
    set_of,
    where,
)
from unotify.errors import NotExpressible

__all__ = ["OPERAND_X", "Part", "Value", "compute", "is_arithmetic", "is_test", "sides"]

OPERAND_X: Final = 0x08
"""The bit of an opcode that says: the operand is X."""


class Part(NamedTuple):
    """A word and some of its bits: ``word & mask``."""

    word: int
    mask: int


class Made(NamedTuple):
    """32 bits, the lowest first, each made of the bits of one word."""

    word: int
    bits: tuple[Bit, ...]


Value: TypeAlias = int | Part | Made
"""What a register can hold: a constant, or something made of one word."""


_TESTS: Final = frozenset(map(int, (Op.JEQ_K, Op.JGT_K, Op.JGE_K, Op.JSET_K)))


def is_test(op: int) -> bool:
    """Whether it is a conditional jump, by a constant or by X."""
    return op & ~OPERAND_X in _TESTS


def is_arithmetic(op: int) -> bool:
    """Whether it makes A of A and an operand."""
    return op & ~OPERAND_X in _CONSTANTS or op == Op.NEG


def sides(a: Value, op: int, operand: Value) -> tuple[int, WordSet, WordSet]:
    """Which word a conditional jump asks for, where it is taken, and where it is not.

    Raises:
        NotExpressible: It asks for two words.
    """
    plain = op & ~OPERAND_X
    if isinstance(a, Part) and isinstance(operand, int):
        return a.word, *_simple_sides(a.mask, plain, operand)
    index = _source(a, operand)
    holds = _compared(_bits(a), plain, _bits(operand))
    return index, set_of(holds), set_of(where(holds, False, True))


@lru_cache(maxsize=8192)
def _simple_sides(mask: int, op: int, k: int) -> tuple[WordSet, WordSet]:
    if op == Op.JEQ_K:
        yes = masked(mask, k, k)
    elif op == Op.JGT_K:
        yes = masked(mask, k + 1, FULL)
    elif op == Op.JGE_K:
        yes = masked(mask, k, FULL)
    else:
        yes = masked(mask & k, 1, FULL) if mask & k else EMPTY
    return yes, ~yes


def _source(*values: Value) -> int:
    """The one word that *values* are made of."""
    found = {value.word for value in values if not isinstance(value, int)}
    if len(found) > 1:
        raise NotExpressible("the program compares or combines two words of its input")
    return found.pop() if found else 0


def _bits(value: Value) -> tuple[Bit, ...]:
    match value:
        case Made(_, bits):
            return bits
        case Part(_, mask):
            return tuple(bit(at) if mask >> at & 1 else False for at in range(32))
        case _:
            return tuple(bool(value >> at & 1) for at in range(32))


def _compared(a: Sequence[Bit], op: int, b: Sequence[Bit]) -> Bit:
    """The words for which a comparison of two computed values holds."""
    found: Bit = op in (Op.JEQ_K, Op.JGE_K)
    for one, other in zip(a, b, strict=True):  # from the lowest bit on
        if op == Op.JSET_K:
            found = where(found, True, both(one, other))
        elif op == Op.JEQ_K:
            found = where(differ(one, other), False, found)
        else:
            found = where(differ(one, other), one, found)
    return found


_Bitwise: TypeAlias = Callable[[Bit, Bit], Bit]
_BITWISE: Final[dict[int, _Bitwise]] = {
    Op.AND_K: both,
    Op.OR_K: lambda one, other: where(one, True, other),
    Op.XOR_K: differ,
}
_CONSTANTS: Final[dict[int, Callable[[int, int], int]]] = {
    Op.ADD_K: lambda a, b: a + b,
    Op.SUB_K: lambda a, b: a - b,
    Op.MUL_K: lambda a, b: a * b,
    Op.DIV_K: lambda a, b: a // b if b else 0,
    Op.OR_K: lambda a, b: a | b,
    Op.AND_K: lambda a, b: a & b,
    Op.XOR_K: lambda a, b: a ^ b,
    Op.LSH_K: lambda a, b: a << (b & 31),
    Op.RSH_K: lambda a, b: a >> (b & 31),
}


def compute(a: Value, op: int, operand: Value) -> Value:
    """What A holds after an arithmetic instruction.

    Raises:
        NotExpressible: It cannot be followed.
    """
    plain = op & ~OPERAND_X
    if op == Op.NEG:
        a, operand, plain = 0, a, int(Op.SUB_K)
    if isinstance(a, int) and isinstance(operand, int):
        return _CONSTANTS[plain](a, operand) & FULL
    if plain == Op.AND_K and isinstance(a, Part) and isinstance(operand, int):
        return Part(a.word, a.mask & operand) if a.mask & operand else 0
    index = _source(a, operand)
    one, other = _bits(a), _bits(operand)
    if plain in _BITWISE:
        bits = [_BITWISE[plain](*pair) for pair in zip(one, other, strict=True)]
    elif plain in (Op.ADD_K, Op.SUB_K):
        bits = _sum(one, other, minus=plain == Op.SUB_K)
    elif plain in (Op.LSH_K, Op.RSH_K) and isinstance(operand, int):
        by = operand & 31
        fill = [False] * by
        bits = [*fill, *one[: 32 - by]] if plain == Op.LSH_K else [*one[by:], *fill]
    elif plain in (Op.LSH_K, Op.RSH_K) and isinstance(a, int):
        bits = _shifted(a, other[:5], plain)
    else:
        raise NotExpressible("the program multiplies, divides or shifts what it has loaded")
    return Made(index, tuple(bits))


def _sum(one: Sequence[Bit], other: Sequence[Bit], *, minus: bool) -> list[Bit]:
    carry: Bit = minus
    bits = []
    for left, right in zip(one, other, strict=True):
        if minus:
            right = where(right, False, True)
        unequal = differ(left, right)
        bits.append(differ(unequal, carry))
        carry = where(unequal, carry, left)
    return bits


def _shifted(number: int, count: Sequence[Bit], op: int) -> list[Bit]:
    """A constant, shifted by a count of five bits."""
    bits: list[Bit] = [False] * 32
    for by in range(32):
        chosen: Bit = True
        for at, part in enumerate(count):
            chosen = both(chosen, part if by >> at & 1 else where(part, False, True))
        moved = _CONSTANTS[op](number, by) & FULL
        bits = [where(chosen, bool(moved >> at & 1), old) for at, old in enumerate(bits)]
    return bits
