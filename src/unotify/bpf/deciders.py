"""Predicates as functions, for whoever decides many calls by the same few.

:func:`unotify.bpf.evaluate` says what a predicate means, and walks its tree each time. Here that
tree is walked once: widths, masks and signs are settled, and what is left are comparisons of plain
integers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from unotify.bpf.expressions import (
    OPERATORS,
    Always,
    And,
    Compare,
    In,
    Never,
    Not,
    Or,
    RegisterPredicate,
    as_signed,
    effective_width,
    seen,
    wrapped,
)

__all__ = ["Decider", "decider"]

Decider: TypeAlias = Callable[[Sequence[int]], bool]
"""Takes six raw registers, as ``seccomp_data`` has them."""


def decider(predicate: RegisterPredicate, *, bits: int = 64) -> Decider:
    """A function that decides *predicate* as `evaluate` does.

    Args:
        predicate: What to decide.
        bits: The register width of the ABI that the calls come by, 32 or 64.

    Raises:
        NotExpressible: A 64-bit test for a 32-bit ABI, as `evaluate` would.
    """
    match predicate:
        case Always():
            return lambda args: True
        case Never():
            return lambda args: False
        case Not(term):
            opposite = decider(term, bits=bits)
            return lambda args: not opposite(args)
        case And(terms):
            return _all([decider(term, bits=bits) for term in terms])
        case Or(terms):
            return _any([decider(term, bits=bits) for term in terms])
        case In(arg, values, width, mask):
            width = effective_width(width, bits)
            looked_at = seen(mask, width)
            wanted = frozenset(wrapped(value, width) for value in values)
            return lambda args: args[arg] & looked_at in wanted
        case Compare():
            return _comparison(predicate, bits)


def _comparison(test: Compare, bits: int) -> Decider:
    nominal, width = test.bits or 64, effective_width(test.bits, bits)
    arg, looked_at, compare = test.arg, seen(test.mask, width), OPERATORS[test.op]
    if not test.signed:
        value = wrapped(test.value, width)
        return lambda args: compare(args[arg] & looked_at, value)
    signed = as_signed(test.value, nominal)
    return lambda args: compare(as_signed(args[arg] & looked_at, width), signed)


def _all(terms: Sequence[Decider]) -> Decider:
    def decide(args: Sequence[int]) -> bool:
        for test in terms:  # noqa: SIM110 - a generator would cost more than the tests
            if not test(args):
                return False
        return True

    return decide


def _any(terms: Sequence[Decider]) -> Decider:
    def decide(args: Sequence[int]) -> bool:
        for test in terms:  # noqa: SIM110
            if test(args):
                return True
        return False

    return decide
