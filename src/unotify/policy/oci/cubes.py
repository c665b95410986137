"""Conditions as a profile can say them: alternatives, each of one test per argument.

A profile has seven operators on whole registers, *and* between arguments, *or* between
entries, and no *not*. Everything else is said in cubes: some bits of a register are
these. "Not equal" is one cube for each bit that may differ, "less" is one for each
prefix, and two tests of one argument are the cubes of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, TypeAlias

from unotify.bpf import Always, And, Compare, CompareOp, In, Never, Not, Or, RegisterPredicate
from unotify.policy.oci.words import MASKED, OPERATORS

__all__ = ["Said", "Unsayable", "Width", "alternatives"]

_FULL: Final = (1 << 64) - 1
_LOW: Final = (1 << 32) - 1
_NEGATIVE: Final = _FULL - (1 << 31) + 1

_MOST: Final = 256
"""Alternatives of one condition: beyond that nobody reads it any more."""

_OPPOSITE: Final = {
    CompareOp.EQ: CompareOp.NE,
    CompareOp.NE: CompareOp.EQ,
    CompareOp.LT: CompareOp.GE,
    CompareOp.GE: CompareOp.LT,
    CompareOp.GT: CompareOp.LE,
    CompareOp.LE: CompareOp.GT,
}

_WORDS: Final = {op: word for word, op in OPERATORS.items() if word != MASKED}


class Unsayable(Exception):
    """The format has no words for a condition; the message says why."""


@dataclass(frozen=True, slots=True)
class Width:
    """How wide the registers are of all architectures that have the call."""

    wide: bool
    narrow: bool

    @property
    def bits(self) -> int:
        """Of the widest."""
        return 64 if self.wide else 32


Said: TypeAlias = tuple[int, str, int, int]
"""One test: argument, operator, ``value``, ``valueTwo``."""

_Conjunction: TypeAlias = tuple[Compare, ...]
_Cube: TypeAlias = tuple[int, int]  # bits that count, and what they are


def alternatives(predicate: RegisterPredicate, width: Width) -> list[tuple[Said, ...]]:
    """Say *predicate*; an empty alternative is always true, no alternative never.

    Raises:
        Unsayable: It cannot be said, or takes too much.
    """
    found: dict[tuple[Said, ...], None] = {}
    for conjunction in _disjunction(predicate):
        for said in _said(conjunction, width):
            found[said] = None
            if len(found) > _MOST:
                raise Unsayable(f"it would take more than {_MOST} entries")
    return [()] if () in found else list(found)


# ------------------------------------------------------------- and, or, not


def _disjunction(predicate: RegisterPredicate, *, negated: bool = False) -> list[_Conjunction]:
    match predicate:
        case Always() | Never():
            return [()] if isinstance(predicate, Always) is not negated else []
        case Not(term):
            return _disjunction(term, negated=not negated)
        case Compare():
            op = _OPPOSITE[predicate.op] if negated else predicate.op
            return [(replace(predicate, op=op),)]
        case In(arg, values, bits, mask):
            op = CompareOp.NE if negated else CompareOp.EQ
            tests = [Compare(arg, op, value, bits, mask=mask) for value in sorted(values)]
            return [tuple(tests)] if negated else [(test,) for test in tests]
        case And(terms) | Or(terms):
            parts = [_disjunction(term, negated=negated) for term in terms]
            if isinstance(predicate, Or) is not negated:
                return [conjunction for part in parts for conjunction in part]
            found: list[_Conjunction] = [()]
            for part in parts:
                found = [tuple(dict.fromkeys((*one, *other))) for one in found for other in part]
                if len(found) > _MOST:
                    raise Unsayable(f"it would take more than {_MOST} entries")
            return found


# ------------------------------------------------------------- one alternative


def _said(conjunction: _Conjunction, width: Width) -> Iterator[tuple[Said, ...]]:
    by_argument: dict[int, list[Compare]] = {}
    for test in conjunction:
        by_argument.setdefault(test.arg, []).append(test)
    choices = [_argument(arg, by_argument[arg], width) for arg in sorted(by_argument)]
    for chosen in product(*choices):
        yield tuple(said for said in chosen if said is not None)


def _argument(arg: int, tests: Sequence[Compare], width: Width) -> list[Said | None]:
    """All ways for one argument to pass; ``None`` is any value."""
    if len(tests) == 1:
        plain = _plain(tests[0], width)
        if plain is not None:
            return [plain]
    found: list[_Cube] = [(0, 0)]
    for test in tests:
        _check(test, width)
        found = list(
            dict.fromkeys(
                (mask | other, value | another)
                for mask, value in found
                for other, another in _cubes(test, width)
                if (value ^ another) & mask & other == 0
            )
        )
        if len(found) > _MOST:
            raise Unsayable(f"it would take more than {_MOST} entries")
    return [_cube_said(arg, mask, value, width) for mask, value in found]


def _plain(test: Compare, width: Width) -> Said | None:
    """One operator that says it, or ``None``."""
    register = test.bits == 0 or test.bits == width.bits
    if test.op is CompareOp.EQ and (test.mask is not None or not register):
        ((mask, value),) = _cubes(test, width) or [(0, 1)]
        if mask and (not width.narrow or not value >> 32):
            return (test.arg, MASKED, mask, value)
        return None
    if not register or test.mask is not None:
        return None
    equal = test.op in (CompareOp.EQ, CompareOp.NE)
    value = test.value % (1 << width.bits) if test.value < 0 else test.value
    if (test.signed or test.value < 0) and not equal:
        return None
    if width.narrow and value > _LOW and not (equal and value >= _NEGATIVE):
        return None
    return (test.arg, _WORDS[test.op], value, 0)


def _cube_said(arg: int, mask: int, value: int, width: Width) -> Said | None:
    if not mask:
        return None
    if width.narrow and value >> 32:
        raise Unsayable("a 32-bit register would be compared with more than 32 bits")
    if mask == (_FULL if width.wide else _LOW):
        return (arg, "SCMP_CMP_EQ", value, 0)
    return (arg, MASKED, mask, value)


def _check(test: Compare, width: Width) -> None:
    mixed = test.bits != 32 and width.wide and width.narrow
    if mixed and test.op not in _EQUAL and (test.signed or test.value < 0):
        raise Unsayable("its sign is another bit on each of the architectures")
    if test.signed and test.mask is not None and test.op not in _EQUAL:
        raise Unsayable("it orders a masked number by its sign")


_EQUAL: Final = (CompareOp.EQ, CompareOp.NE)


def _cubes(test: Compare, width: Width) -> list[_Cube]:
    bits = 32 if test.bits == 32 else width.bits
    ones = (1 << bits) - 1
    mask = ones if test.mask is None else test.mask & ones
    value = test.value
    if value > ones:
        # Above all registers.
        return [(0, 0)] if test.op in (CompareOp.NE, CompareOp.LT, CompareOp.LE) else []
    value &= ones
    sign = 1 << (bits - 1) if test.signed and test.op not in _EQUAL else 0
    value ^= sign
    same = [(mask, value)] if not value & ~mask else []
    found: list[_Cube] = []
    if test.op in (CompareOp.EQ, CompareOp.LE, CompareOp.GE):
        found += same
    if test.op is CompareOp.NE:
        found += _different(mask, value, bits)
    elif test.op in (CompareOp.LT, CompareOp.LE):
        found += _less(mask, value, bits)
    elif test.op in (CompareOp.GT, CompareOp.GE):
        found += _greater(mask, value, bits)
    return [(at, number ^ (sign & at)) for at, number in found]


def _different(mask: int, value: int, bits: int) -> Iterator[_Cube]:
    if value & ~mask:
        yield 0, 0
        return
    # As less or greater they do not overlap, so that several of them stay few.
    yield from _less(mask, value, bits)
    yield from _greater(mask, value, bits)


def _less(mask: int, value: int, bits: int) -> Iterator[_Cube]:
    """The numbers below *value*, by the highest bit that they lack."""
    above = 0
    for bit in (1 << at for at in reversed(range(bits))):
        above |= bit
        if value & bit:
            yield mask & above, value & above & ~bit & mask
            if not mask & bit:
                return


def _greater(mask: int, value: int, bits: int) -> Iterator[_Cube]:
    """The numbers above *value*, by the highest bit that they have more."""
    above = 0
    for bit in (1 << at for at in reversed(range(bits))):
        above |= bit
        if value & bit:
            if not mask & bit:
                return
        elif mask & bit:
            yield mask & above, (value & above | bit) & mask
