"""Questions about argument registers, and what they mean.

A register predicate looks at the six registers of a call and at nothing else,
so a filter can decide it and no target can race it. This module says what each
predicate means (:func:`evaluate`, in plain integers); the compiler says the same
in instructions, and the tests compare the two.

Width. The kernel hands a filter six 64-bit words, whatever the ABI. A parameter
of type ``int`` is the low half only, and the upper half may hold anything, also
in calls of a 32-bit ABI (B3). So each test names its width: 32 looks at the low
half, 64 at both, and 0 at what the ABI calls a register (``long``, ``size_t``,
pointers): 64 bits, or the low 32 on a 32-bit ABI. There a number that does not
fit a register is equal to none, and lies above or below all of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from unotify.errors import NotExpressible

__all__ = [
    "Always",
    "And",
    "Compare",
    "CompareOp",
    "In",
    "Never",
    "Not",
    "Or",
    "RegisterPredicate",
    "evaluate",
]


class CompareOp(Enum):
    """How to compare; the value is Python's operator."""

    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="

    def __repr__(self) -> str:
        return f"CompareOp.{self.name}"


class _Combinable:
    """``&``, ``|`` and ``~`` for all predicates."""

    __slots__ = ()

    def __and__(self: RegisterPredicate, other: RegisterPredicate) -> And:  # type: ignore[misc]
        return And((*_terms(And, self), *_terms(And, other)))

    def __or__(self: RegisterPredicate, other: RegisterPredicate) -> Or:  # type: ignore[misc]
        return Or((*_terms(Or, self), *_terms(Or, other)))

    def __invert__(self: RegisterPredicate) -> RegisterPredicate:  # type: ignore[misc]
        return self.term if isinstance(self, Not) else Not(self)

    def __bool__(self) -> bool:
        # `and`, `or`, `not` and chained comparisons would silently drop half of a condition.
        raise TypeError("combine predicates with &, | and ~, not with words")


@dataclass(frozen=True, slots=True)
class Always(_Combinable):
    """True for all arguments."""


@dataclass(frozen=True, slots=True)
class Never(_Combinable):
    """True for none."""


@dataclass(frozen=True, slots=True)
class Compare(_Combinable):
    """``(argument & mask) op value``.

    Args:
        arg: Which argument, 0 to 5.
        op: How to compare.
        value: What with. A negative number stands for its two's complement,
            also in an unsigned test.
        bits: 32, 64, or 0 for the register width of the ABI.
        signed: Whether the argument and *value* are ordered as signed numbers.
        mask: The bits to look at, or ``None`` for all. May be negative: ``~7``.

    Raises:
        NotExpressible: There is no such argument or width, *value* or *mask*
            does not fit the width, or *mask* has no bit.
    """

    arg: int
    op: CompareOp
    value: int
    bits: int = 0
    signed: bool = False
    mask: int | None = None

    def __post_init__(self) -> None:
        _check_place(self.arg, self.bits)
        if not isinstance(self.op, CompareOp):
            raise NotExpressible(f"{self.op!r} is not a way to compare; use a CompareOp")
        _check_fits("value", self.value, self.bits)
        _check_mask(self.mask, self.bits)


@dataclass(frozen=True, slots=True, init=False)
class In(_Combinable):
    """``(argument & mask) in values``.

    Args:
        arg: Which argument, 0 to 5.
        values: At least one number; negative ones wrap.
        bits: 32, 64, or 0 for the register width of the ABI.
        mask: The bits to look at, or ``None`` for all.

    Raises:
        NotExpressible: As for :class:`Compare`, or *values* is empty.
    """

    arg: int
    values: frozenset[int]
    bits: int = 0
    mask: int | None = None

    def __init__(
        self, arg: int, values: Iterable[int], bits: int = 0, mask: int | None = None
    ) -> None:
        # By hand, so that any collection will do.
        object.__setattr__(self, "arg", arg)
        object.__setattr__(self, "values", frozenset(values))
        object.__setattr__(self, "bits", bits)
        object.__setattr__(self, "mask", mask)
        _check_place(arg, bits)
        if not self.values:
            raise NotExpressible(f"argument {arg} is tested for an empty set of values")
        for value in self.values:
            _check_fits("value", value, bits)
        _check_mask(mask, bits)


@dataclass(frozen=True, slots=True)
class And(_Combinable):
    """All of *terms*, of which there is at least one."""

    terms: tuple[RegisterPredicate, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", _checked_terms("And", self.terms))


@dataclass(frozen=True, slots=True)
class Or(_Combinable):
    """Any of *terms*, of which there is at least one."""

    terms: tuple[RegisterPredicate, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", _checked_terms("Or", self.terms))


@dataclass(frozen=True, slots=True)
class Not(_Combinable):
    """The opposite of *term*."""

    term: RegisterPredicate

    def __post_init__(self) -> None:
        _checked_terms("Not", (self.term,))


RegisterPredicate: TypeAlias = Compare | In | And | Or | Not | Always | Never
"""Closed: a ``match`` over these seven is complete."""


def _terms(kind: type[And | Or], predicate: RegisterPredicate) -> tuple[RegisterPredicate, ...]:
    return predicate.terms if isinstance(predicate, kind) else (predicate,)


def _checked_terms(name: str, terms: Iterable[object]) -> tuple[object, ...]:
    checked = tuple(terms)
    if not checked:
        raise NotExpressible(f"{name} of nothing; use Always() or Never()")
    for term in checked:
        if not isinstance(term, RegisterPredicate):
            raise NotExpressible(f"{name} takes register predicates, not {term!r}")
    return checked


def _check_place(arg: int, bits: int) -> None:
    if not isinstance(arg, int) or arg not in range(6):
        raise NotExpressible(f"argument {arg!r} does not exist: a call has arguments 0 to 5")
    if bits not in (0, 32, 64):
        raise NotExpressible(
            f"a filter cannot test {bits!r} bits: 32, 64, or 0 for a whole register"
        )


def _check_fits(what: str, number: int, bits: int) -> None:
    if not isinstance(number, int):
        raise NotExpressible(f"{what} {number!r} is not an integer")
    width = bits or 64
    if not -1 << (width - 1) <= number < 1 << width:
        raise NotExpressible(f"{what} {number:#x} does not fit into {width} bits")


def _check_mask(mask: int | None, bits: int) -> None:
    if mask is not None:
        _check_fits("mask", mask, bits)
        if mask == 0:
            raise NotExpressible("mask 0 looks at no bit")


OPERATORS: Final[dict[CompareOp, Callable[[int, int], bool]]] = {
    CompareOp.EQ: operator.eq,
    CompareOp.NE: operator.ne,
    CompareOp.LT: operator.lt,
    CompareOp.LE: operator.le,
    CompareOp.GT: operator.gt,
    CompareOp.GE: operator.ge,
}
"""What each way to compare does with two numbers."""


def evaluate(predicate: RegisterPredicate, args: Sequence[int], *, bits: int = 64) -> bool:
    """Decide *predicate*: the reference that compiled filters are compared with.

    Args:
        predicate: What to decide.
        args: Six raw registers, as ``seccomp_data`` has them: unsigned 64 bits.
        bits: The register width of the ABI that the call came by, 32 or 64.

    Raises:
        NotExpressible: A 64-bit test for a 32-bit ABI, which passes such a
            number in two arguments (B6).
    """
    match predicate:
        case Always():
            return True
        case Never():
            return False
        case Not(term):
            return not evaluate(term, args, bits=bits)
        case And(terms):
            return all(evaluate(term, args, bits=bits) for term in terms)
        case Or(terms):
            return any(evaluate(term, args, bits=bits) for term in terms)
        case In(arg, values, width, mask):
            width = effective_width(width, bits)
            found = args[arg] & seen(mask, width)
            return any(found == wrapped(value, width) for value in values)
        case Compare(arg, op, value, width, signed, mask):
            nominal, width = width or 64, effective_width(width, bits)
            found = args[arg] & seen(mask, width)
            if signed:
                return OPERATORS[op](as_signed(found, width), as_signed(value, nominal))
            return OPERATORS[op](found, wrapped(value, width))


def effective_width(bits: int, register: int) -> int:
    """How many bits a test of width *bits* looks at where a register has *register*.

    Raises:
        NotExpressible: See :func:`evaluate`.
    """
    if bits > register:
        raise NotExpressible(
            f"a {bits}-bit test cannot be made on an ABI whose registers have {register} bits",
            hint="such an ABI passes the number in two arguments: test each of them",
        )
    return bits or register


def wrapped(value: int, width: int) -> int:
    """The unsigned number that *value* stands for; too large for *width* if it does not fit."""
    if value >= 0:
        return value
    return value + (1 << (width if value >= -1 << (width - 1) else 64))


def seen(mask: int | None, width: int) -> int:
    """The bits of a register that a test with *mask* of *width* bits looks at."""
    return (1 << width) - 1 & (-1 if mask is None else mask)


def as_signed(value: int, width: int) -> int:
    """*value*, which may be a two's complement of *width* bits, as a signed number."""
    return value - (1 << width) if value >> (width - 1) == 1 else value
