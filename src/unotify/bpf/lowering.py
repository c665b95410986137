"""From ranges of numbers, and from predicates, to a decision graph.

Whatever is asked about one word comes down to a *partition*: the numbers from 0
to the end of the space, cut into ranges that each lead somewhere. Equality,
order, signed order and membership differ only in where they cut. So there is one
way to make code of them: a balanced tree over the ranges. A few single numbers
within one range (often the case in call tables, always in sets) are cheaper as a
chain of equality tests in a leaf of that tree than as ranges of their own.

A 64-bit number is two words: the upper one is cut at the upper halves of the
cuts, and only where a cut falls inside of such a range, the lower word is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from unotify.abi.arch import Arch
from unotify.bpf.codegen import Graph, Node
from unotify.bpf.expressions import (
    Always,
    And,
    Compare,
    CompareOp,
    In,
    Never,
    Not,
    Or,
    RegisterPredicate,
    as_signed,
    effective_width,
    wrapped,
)
from unotify.bpf.instructions import ARGS_OFFSET

__all__ = ["Partition", "lower", "merge", "switch"]

T = TypeVar("T", bound=Hashable)

Partition: TypeAlias = Sequence[tuple[int, T]]
"""Starts of ranges, ascending from 0, each with where the range leads.

Starts beyond the end of the space are allowed and mean nothing.
"""

_FULL: Final = 0xFFFFFFFF

_CHAIN: Final = 3
"""Most equality tests in a row: with more a tree is less deep."""


@dataclass(frozen=True, slots=True)
class _Unit(Generic[T]):
    """One leaf of the tree: a range with a few exceptions."""

    start: int
    base: T
    singles: list[tuple[int, T]]


def merge(ranges: Iterable[tuple[int, T]]) -> list[tuple[int, T]]:
    """Join neighbours that lead to the same place; of equal starts the last one counts."""
    merged: list[tuple[int, T]] = []
    for start, to in ranges:
        if merged and merged[-1][0] == start:
            merged.pop()
        if not merged or merged[-1][1] != to:
            merged.append((start, to))
    return merged


def switch(
    graph: Graph, offset: int, mask: int, partition: Partition[T], leaf: Callable[[T], Node]
) -> Node:
    """The node that finds the range of a word.

    Args:
        graph: Where to make it.
        offset: Of the word in ``struct seccomp_data``.
        mask: The bits of the word that count.
        partition: Of the 32-bit numbers, merged. What lies beyond is left out.
        leaf: Makes the node of a destination, in the order in which code is
            best laid out; called more than once for some.
    """
    # No masked word is larger than its mask.
    units = _units([entry for entry in partition if entry[0] <= mask])

    def unit(at: _Unit[T]) -> Node:
        node = leaf(at.base)
        for number, to in reversed(at.singles):
            node = graph.equal(offset, mask, number, leaf(to), node)
        return node

    def tree(first: int, end: int) -> Node:
        if end - first == 1:
            return unit(units[first])
        middle = _middle(units, first, end)
        no, yes = tree(first, middle), tree(middle, end)
        return graph.at_least(offset, mask, units[middle].start, yes, no)

    return tree(0, len(units))


def _units(partition: Partition[T]) -> list[_Unit[T]]:
    units: list[_Unit[T]] = []
    at = 0
    while at < len(partition):
        start, base = partition[at]
        singles: list[tuple[int, T]] = []
        while len(singles) < _CHAIN and _is_exception(partition, at + 1, base):
            singles.append(partition[at + 1])
            at += 2
        units.append(_Unit(start, base, singles))
        if len(singles) < _CHAIN or not _is_exception(partition, at + 1, base):
            at += 1
        # Else the same base goes on in the next unit, from its last range on.
    return units


def _is_exception(partition: Partition[T], at: int, base: T) -> bool:
    """Whether range *at* is one number and *base* goes on behind it."""
    return (
        at + 1 < len(partition)
        and partition[at + 1][0] == partition[at][0] + 1
        and partition[at + 1][1] == base
    )


def _middle(units: Sequence[_Unit[T]], first: int, end: int) -> int:
    """Where to split, so that no side becomes deeper than needed."""
    # A chain of n tests is as deep as a tree over 2**n ranges.
    weights = [1 << len(units[at].singles) for at in range(first, end)]
    total, left = sum(weights), 0
    best, found = total, first + 1
    for at, weight in enumerate(weights[:-1], first + 1):
        left += weight
        if abs(total - 2 * left) < best:
            best, found = abs(total - 2 * left), at
    return found


def lower(graph: Graph, predicate: RegisterPredicate, yes: Node, no: Node, arch: Arch) -> Node:
    """The node that goes to *yes* or *no* as *predicate* says for a call of *arch*.

    Raises:
        NotExpressible: A 64-bit test for a 32-bit ABI.
    """
    match predicate:
        case Always():
            return yes
        case Never():
            return no
        case Not(term):
            return lower(graph, term, no, yes, arch)
        case And(terms):
            for term in reversed(terms):
                yes = lower(graph, term, yes, no, arch)
            return yes
        case Or(terms):
            for term in reversed(terms):
                no = lower(graph, term, yes, no, arch)
            return no
        case Compare() | In():
            width = effective_width(predicate.bits, arch.bits)
            partition = _partition(_accepted(predicate, width), yes, no)
            mask = -1 if predicate.mask is None else predicate.mask
            return _argument(graph, arch, predicate.arg, width, mask, partition)


def _accepted(test: Compare | In, width: int) -> list[tuple[int, int]]:
    """The unsigned numbers that pass, as first and last of ranges; some may be empty."""
    if isinstance(test, In):
        return [(number, number) for number in sorted({wrapped(v, width) for v in test.values})]
    space = 1 << width
    if test.signed:
        bottom, value = -space // 2, as_signed(test.value, test.bits or 64)
    else:
        bottom, value = 0, wrapped(test.value, width)
    top = bottom + space - 1
    ranges = {
        CompareOp.EQ: [(value, value)],
        CompareOp.NE: [(bottom, value - 1), (value + 1, top)],
        CompareOp.LT: [(bottom, value - 1)],
        CompareOp.LE: [(bottom, value)],
        CompareOp.GT: [(value + 1, top)],
        CompareOp.GE: [(value, top)],
    }[test.op]
    ranges = [(max(first, bottom), min(last, top)) for first, last in ranges]
    # Negative numbers are the upper half of the unsigned ones.
    below = [(first + space, last + space) for first, last in ranges if first < 0]
    return [(max(first, 0), last) for first, last in ranges if last >= 0] + below


def _partition(accepted: Iterable[tuple[int, int]], yes: Node, no: Node) -> list[tuple[int, Node]]:
    cuts = [(0, no)]
    for first, last in accepted:
        if first <= last:
            cuts += [(first, yes), (last + 1, no)]
    return merge(cuts)


def _argument(
    graph: Graph, arch: Arch, arg: int, width: int, mask: int, partition: Partition[Node]
) -> Node:
    """The node that finds the range of an argument."""
    upper = ARGS_OFFSET + 8 * arg + (4 if arch.little else 0)
    lower = ARGS_OFFSET + 8 * arg + (0 if arch.little else 4)

    def low(partition: Partition[Node]) -> Node:
        return switch(graph, lower, mask & _FULL, partition, lambda node: node)

    if width == 32:
        return low(partition)
    return switch(graph, upper, mask >> 32 & _FULL, _halves(partition), low)


def _halves(partition: Partition[T]) -> list[tuple[int, tuple[tuple[int, T], ...]]]:
    """A partition of 64-bit numbers as one of upper words, each leading to one of lower words."""
    inside: dict[int, list[tuple[int, T]]] = {}
    for start, to in partition:
        inside.setdefault(start >> 32, []).append((start & _FULL, to))
    halves: list[tuple[int, tuple[tuple[int, T], ...]]] = []
    before = partition[0][1]
    for high, lows in inside.items():
        halves.append((high, tuple(merge([(0, before), *lows]))))
        before = lows[-1][1]
        halves.append((high + 1, ((0, before),)))
    return merge(halves)
