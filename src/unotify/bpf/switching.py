"""From ranges of a word to tests of it.

Whatever is asked about one word comes down to a *partition*: the numbers from 0 to
the end of the space, cut into ranges that each lead somewhere. Equality, order,
signed order and membership differ only in where they cut. So there is one way to
make code of them: a tree over the ranges. A few single numbers within one range
(often the case in call tables, always in sets) are cheaper as a chain of equality
tests in a leaf of that tree than as ranges of their own.

The tree is as shallow as the order of the ranges allows. Where there is a choice,
or where weights say what is asked most, it is split so that both sides weigh the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import sqrt
from typing import Final, Generic, TypeAlias, TypeVar

from unotify.bpf.codegen import Graph, Node

__all__ = ["Partition", "cost", "merge", "switch"]

T = TypeVar("T", bound=Hashable)

Partition: TypeAlias = Sequence[tuple[int, T]]
"""Starts of ranges, ascending from 0, each with where the range leads.

Starts beyond the end of the space are allowed and mean nothing.
"""

_CHAIN: Final = 3
"""Most equality tests in a row: with more a tree is less deep."""

_HOT: Final = 1 / 48
"""A number with this share of the weight is no longer put behind a chain."""

_TABLE: Final = 300
"""Up to so many leaves the best tree for weights is searched for: that takes n * n steps."""

_Middle: TypeAlias = Callable[[int, int, int], int]
"""Where to split the leaves from the first to before the last, at a depth."""


@dataclass(frozen=True, slots=True)
class _Unit(Generic[T]):
    """One leaf of the tree: a range with a few exceptions, in the order of their tests."""

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


def cost(partition: Partition[T]) -> int:
    """How many tests it takes to tell the ranges apart."""
    units = _units(partition, _Weights({}), _CHAIN)
    return len(units) - 1 + sum(len(unit.singles) for unit in units)


def switch(
    graph: Graph,
    offset: int,
    mask: int,
    partition: Partition[T],
    leaf: Callable[[T], Node],
    *,
    shallow: bool = False,
    weights: Mapping[int, float] | None = None,
) -> Node:
    """The node that finds the range of a word.

    Args:
        graph: Where to make it.
        offset: Of the word in ``struct seccomp_data``.
        mask: The bits of the word that count.
        partition: Of the 32-bit numbers, merged. What lies beyond is left out.
        leaf: Makes the node of a destination, in the order in which code is
            best laid out; called more than once for some.
        shallow: Whether one test less at most is worth some more instructions.
        weights: How often each number comes; ``None``: nobody knows.
    """
    # No masked word is larger than its mask.
    partition = [entry for entry in partition if entry[0] <= mask]
    known = _Weights(weights or {})
    units = _units(partition, known, _CHAIN)
    if shallow and not weights:
        # Shorter chains pack better. The longest ones of the least depth need least code.
        forms = [units, *(_units(partition, known, chain) for chain in range(_CHAIN - 1, 0, -1))]
        units = min(forms, key=lambda form: _depth(_heights(form)))
    heights = _heights(units)
    ends = [unit.start for unit in units[1:]] + [mask + 1]
    # Each unit weighs a little by itself, so that what nobody has counted is balanced too.
    least = known.total / (8 * len(units)) if weights else 1
    shares = [
        least + known.between(unit.start, end)
        if weights
        else float(1 << height)  # a chain of n tests is as deep as a tree over 2**n ranges
        for unit, end, height in zip(units, ends, heights, strict=True)
    ]
    middle = _lightest(shares) if weights else _shallowest(heights, shares)

    def unit(at: _Unit[T]) -> Node:
        node = leaf(at.base)
        for number, to in reversed(at.singles):
            node = graph.equal(offset, mask, number, leaf(to), node)
        return node

    def tree(first: int, end: int, depth: int) -> Node:
        if end - first == 1:
            return unit(units[first])
        at = middle(first, end, depth)
        no, yes = tree(first, at, depth + 1), tree(at, end, depth + 1)
        return graph.at_least(offset, mask, units[at].start, yes, no)

    return tree(0, len(units), 0)


class _Weights:
    """How often numbers come, by range."""

    def __init__(self, weights: Mapping[int, float]) -> None:
        self._numbers = sorted(number for number, weight in weights.items() if weight > 0)
        # One call that fills the whole log does not push the others to the far end.
        roots = (sqrt(weights[number]) for number in self._numbers)
        self._sums = list(accumulate(roots, initial=0.0))
        self.total = self._sums[-1]

    def between(self, start: int, end: int) -> float:
        """The weight of the numbers from *start* to before *end*."""
        first, last = (bisect_left(self._numbers, number) for number in (start, end))
        return self._sums[last] - self._sums[first]

    def hot(self, start: int, end: int) -> bool:
        """Whether much of the weight is there."""
        return self.total > 0 and self.between(start, end) >= self.total * _HOT


def _units(partition: Partition[T], weights: _Weights, chain: int) -> list[_Unit[T]]:
    units: list[_Unit[T]] = []
    at = 0
    while at < len(partition):
        start, base = partition[at]
        singles: list[tuple[int, T]] = []
        longest, hot = 0 if _is_hot(partition, at, weights) else chain, False
        while len(singles) < longest and not hot and _is_exception(partition, at + 1, base):
            singles.append(partition[at + 1])
            at += 2
            hot = _is_hot(partition, at, weights)
        singles.sort(key=lambda single: -weights.between(single[0], single[0] + 1))
        units.append(_Unit(start, base, singles))
        if not hot and not (singles and _is_exception(partition, at + 1, base)):
            at += 1
        # Else the same base goes on in the next unit, from its last range on.
    return units


def _is_hot(partition: Partition[T], at: int, weights: _Weights) -> bool:
    end = partition[at + 1][0] if at + 1 < len(partition) else 1 << 32
    return weights.hot(partition[at][0], end)


def _is_exception(partition: Partition[T], at: int, base: T) -> bool:
    """Whether range *at* is one number and *base* goes on behind it."""
    return (
        at + 1 < len(partition)
        and partition[at + 1][0] == partition[at][0] + 1
        and partition[at + 1][1] == base
    )


def _heights(units: Sequence[_Unit[T]]) -> list[int]:
    return [len(unit.singles) for unit in units]


def _depth(heights: Sequence[int]) -> int:
    """How deep a tree over leaves of these heights must be."""
    depth = max(1, *heights)
    while _reach(heights, 0, len(heights), depth) < len(heights):
        depth += 1
    return depth


def _reach(heights: Sequence[int], first: int, end: int, depth: int) -> int:
    """How many units from *first* on fit under a tree of *depth*; the index behind the last."""
    taken = 0
    for at in range(first, end):
        size = 1 << heights[at]
        # A leaf of that height stands at a multiple of its size.
        taken = -(-taken // size) * size + size
        if taken > 1 << depth:
            return at
    return end


def _reach_back(heights: Sequence[int], first: int, end: int, depth: int) -> int:
    """The first unit of those before *end* that fit under a tree of *depth*."""
    return end - _reach(heights[first:end][::-1], 0, end - first, depth)


def _shallowest(heights: Sequence[int], shares: Sequence[float]) -> _Middle:
    """Where to split so that no leaf is deeper than needed, and else both sides weigh the same."""
    sums = list(accumulate(shares, initial=0.0))
    least = _depth(heights)

    def middle(first: int, end: int, depth: int) -> int:
        below = least - depth - 1
        low = max(first + 1, _reach_back(heights, first, end, below))
        high = min(end - 1, _reach(heights, first, end, below))
        return _balance(sums, first, end, low, high)

    return middle


def _lightest(shares: Sequence[float]) -> _Middle:
    """Where to split so that a call takes as few tests as possible on average.

    Exactly so for what fits into a table (Knuth 1971), else nearly.
    """
    sums = list(accumulate(shares, initial=0.0))
    size = len(shares)
    if size > _TABLE:
        return lambda first, end, _: _balance(sums, first, end, first + 1, end - 1)
    # By first and end: what the best tree over these leaves costs, and where it is split.
    costs = [[0.0] * (size + 1) for _ in range(size + 1)]
    roots = [[at + 1] * (size + 1) for at in range(size + 1)]
    for length in range(2, size + 1):
        for first in range(size - length + 1):
            end = first + length
            # The split moves no further to a side than it does where a leaf of that side lacks.
            low = max(first + 1, roots[first][end - 1]) if length > 2 else first + 1
            high = min(end - 1, roots[first + 1][end]) if length > 2 else end - 1
            best, at = min(
                (costs[first][split] + costs[split][end], split) for split in range(low, high + 1)
            )
            costs[first][end] = best + sums[end] - sums[first]
            roots[first][end] = at
    return lambda first, end, _: roots[first][end]


def _balance(sums: Sequence[float], first: int, end: int, low: int, high: int) -> int:
    """The split from *low* to *high* with the sides most alike in weight."""
    half = (sums[first] + sums[end]) / 2
    at = bisect_left(sums, half, low, high)
    if at > low and half - sums[at - 1] <= sums[at] - half:
        at -= 1
    return at
