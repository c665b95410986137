"""From predicates to a decision graph.

Whatever a predicate asks about one argument comes down to ranges of the masked
number, so tests of one argument are put together before any code is made: a
disjunction joins their ranges, a conjunction cuts them, and a list of cases about
one argument is one partition that leads to several places. What is left is a test of
one word after the other (see `unotify.bpf.switching`).

A 64-bit number is two words: the upper one is cut at the upper halves of the
cuts, and only where a cut falls inside of such a range, the lower word is asked.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias, TypeVar

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
from unotify.bpf.switching import Partition, cost, merge, switch

__all__ = ["lower", "lower_cases"]

T = TypeVar("T")

_FULL: Final = 0xFFFFFFFF

_POINTS: Final = 32
"""Of larger sets nobody looks for a mask that holds for many of their numbers."""

_Ranges: TypeAlias = list[tuple[int, int]]
"""First and last of each, ascending, not touching."""


class _Place(NamedTuple):
    """What tests have to agree in to be put together: the masked number."""

    arg: int
    width: int
    mask: int


@dataclass(frozen=True, slots=True)
class _Simple:
    """A predicate about one masked number: the ranges for which it holds."""

    place: _Place
    ranges: _Ranges

    def __invert__(self) -> _Simple:
        return _Simple(self.place, _others(self.ranges, self.place.mask))


def lower(graph: Graph, predicate: RegisterPredicate, yes: Node, no: Node, arch: Arch) -> Node:
    """The node that goes to *yes* or *no* as *predicate* says for a call of *arch*.

    Raises:
        NotExpressible: A 64-bit test for a 32-bit ABI.
    """
    return _lower(graph, _simplified(predicate, arch), yes, no, arch)


def lower_cases(
    graph: Graph, cases: Iterable[tuple[RegisterPredicate, int]], final: int, arch: Arch
) -> Node:
    """The node that returns the action of the first of *cases* that holds, or else *final*.

    Raises:
        NotExpressible: A 64-bit test for a 32-bit ABI.
    """
    node = graph.ret(final)
    layers: list[tuple[_Ranges, Node]] = []
    place: _Place | None = None
    for predicate, action in reversed(tuple(cases)):
        form, to = _simplified(predicate, arch), graph.ret(action)
        if form is False:
            continue
        if isinstance(form, _Simple) and form.place == place:
            layers.append((form.ranges, to))
            continue
        if place is not None:
            node = _argument(graph, arch, place, _painted(node, layers))
        if isinstance(form, _Simple):
            place, layers = form.place, [(form.ranges, to)]
        else:
            place, node = None, _lower(graph, form, to, node, arch)
    if place is not None:
        node = _argument(graph, arch, place, _painted(node, layers))
    return node


@dataclass(frozen=True, slots=True)
class _Several:
    """A conjunction or a disjunction of forms that cannot be put together."""

    conjunction: bool
    terms: list[_Form]

    def __invert__(self) -> _Several:
        return _Several(not self.conjunction, [_negated(term) for term in self.terms])


_Form: TypeAlias = bool | _Simple | _Several


def _simplified(predicate: RegisterPredicate, arch: Arch) -> _Form:
    """The predicate with its tests of one number put together."""
    match predicate:
        case Always():
            return True
        case Never():
            return False
        case Not(term):
            return _negated(_simplified(term, arch))
        case And(terms) | Or(terms):
            return _joined(isinstance(predicate, And), (_simplified(term, arch) for term in terms))
        case Compare() | In():
            width = effective_width(predicate.bits, arch.bits)
            full = (1 << width) - 1
            mask = full if predicate.mask is None else predicate.mask & full
            accepted = sorted(
                (first, min(last, mask))
                for first, last in _accepted(predicate, width)
                if first <= min(last, mask)
            )
            form = _Simple(_Place(predicate.arg, width, mask), _touching(accepted))
            if not form.ranges:
                return False
            return form.ranges == [(0, mask)] or form


def _negated(form: _Form) -> _Form:
    return not form if isinstance(form, bool) else ~form


def _joined(conjunction: bool, forms: Iterable[_Form]) -> _Form:
    """All, or any, of *forms*, in their order as far as they cannot be put together."""
    places: dict[_Place, int] = {}
    terms: list[_Form] = []
    for form in _flat(conjunction, forms):
        if isinstance(form, bool):
            if form is not conjunction:
                return form
            continue
        at = places.get(form.place) if isinstance(form, _Simple) else None
        if at is None:
            if isinstance(form, _Simple):
                places[form.place] = len(terms)
            terms.append(form)
            continue
        before = terms[at]
        assert isinstance(before, _Simple)
        assert isinstance(form, _Simple)
        ranges = (_common if conjunction else _either)(before.ranges, form.ranges)
        if ranges in ([], [(0, form.place.mask)]):
            return bool(ranges)
        terms[at] = _Simple(form.place, ranges)
    if not terms:
        return conjunction
    return terms[0] if len(terms) == 1 else _Several(conjunction, terms)


def _flat(conjunction: bool, forms: Iterable[_Form]) -> Iterator[_Form]:
    for form in forms:
        if isinstance(form, _Several) and form.conjunction is conjunction:
            yield from form.terms
        else:
            yield form


def _lower(graph: Graph, form: _Form, yes: Node, no: Node, arch: Arch) -> Node:
    match form:
        case bool():
            return yes if form else no
        case _Simple(place, ranges):
            return _argument(graph, arch, place, _painted(no, [(ranges, yes)]))
        case _Several(conjunction, terms):
            for term in reversed(terms):
                if conjunction:
                    yes = _lower(graph, term, yes, no, arch)
                else:
                    no = _lower(graph, term, yes, no, arch)
            return yes if conjunction else no


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


def _touching(ranges: Iterable[tuple[int, int]]) -> _Ranges:
    """Sorted *ranges* without those that overlap or touch."""
    found: _Ranges = []
    for first, last in ranges:
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _either(one: _Ranges, other: _Ranges) -> _Ranges:
    return _touching(sorted(one + other))


def _others(ranges: _Ranges, most: int) -> _Ranges:
    starts = [0, *(last + 1 for _, last in ranges)]
    ends = [*(first - 1 for first, _ in ranges), most]
    return [(first, last) for first, last in zip(starts, ends, strict=True) if first <= last]


def _common(one: _Ranges, other: _Ranges) -> _Ranges:
    pairs = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return [(first, last) for first, last in pairs if first <= last]


def _painted(base: T, layers: Iterable[tuple[_Ranges, T]]) -> list[tuple[int, T]]:
    """The partition that leads to *base*, but where a layer lies: the last one is on top."""
    partition: list[tuple[int, T]] = [(0, base)]
    for ranges, to in layers:
        starts = [start for start, _ in partition]
        behind = [
            (last + 1, partition[bisect_right(starts, last + 1) - 1][1]) for _, last in ranges
        ]
        firsts = [first for first, _ in ranges]
        lasts = [last for _, last in ranges]
        # What starts under a range is covered by it.
        left = [
            cut for cut in partition if bisect_right(firsts, cut[0]) == bisect_left(lasts, cut[0])
        ]
        known = {start for start, _ in left}
        left += [cut for cut in behind if cut[0] not in known]
        partition = sorted([*left, *((first, to) for first in firsts)], key=itemgetter(0))
    return partition


def _argument(graph: Graph, arch: Arch, place: _Place, partition: Partition[Node]) -> Node:
    """The node that finds the range of an argument."""
    upper = ARGS_OFFSET + 8 * place.arg + (4 if arch.little else 0)
    lower = ARGS_OFFSET + 8 * place.arg + (0 if arch.little else 4)
    partition = [cut for cut in merge(partition) if cut[0] <= place.mask]

    def low(partition: Partition[Node]) -> Node:
        return _word(graph, lower, place.mask & _FULL, partition)

    if place.width == 32:
        return low(partition)
    return switch(graph, upper, place.mask >> 32, _halves(partition), low)


def _word(graph: Graph, offset: int, mask: int, partition: Partition[Node]) -> Node:
    """The node that finds the range of a word, with masks where they save tests."""
    group = _group([entry for entry in partition if entry[0] <= mask], mask)
    if group is None:
        return switch(graph, offset, mask, partition, lambda node: node)
    others = _word(graph, offset, mask, group.rest)
    chosen = _touching((value, value) for value in group.values)
    found = merge(_painted(others, [(chosen, group.to)]))
    return switch(graph, offset, mask & ~group.free, found, lambda node: node)


@dataclass(frozen=True, slots=True)
class _Group:
    """Numbers that lead to one place whatever some of their bits are.

    Attributes:
        to: The place.
        free: The bits that do not matter.
        values: What the other bits are, ascending.
        rest: The partition that is left to decide.
    """

    to: Node
    free: int
    values: list[int]
    rest: Partition[Node]


def _group(partition: Partition[Node], mask: int) -> _Group | None:
    """The group that saves most tests if it is looked for first, if one saves any."""
    ends = [start for start, _ in partition[1:]]
    points: dict[Node, set[int]] = {}
    for (start, to), end in zip(partition, ends, strict=False):
        if end - start <= _POINTS:
            points.setdefault(to, set()).update(range(start, end))
    best: _Group | None = None
    most = 0
    for to, numbers in points.items():
        if not 2 <= len(numbers) <= _POINTS:
            continue
        for free in {_free(value, numbers, mask) for value in numbers} - {0}:
            values = sorted(value for value in numbers if _closed(value, numbers, free))
            covered = [value | bits for value in values for bits in _subsets(free)]
            rest = merge(_without(partition, covered))
            chosen = _touching((value, value) for value in values)
            # A test for 0 needs no instruction for the mask, and leaves the word as it is.
            masks = 0 if values == [0] else 2
            tests = cost(merge(_painted(False, [(chosen, True)]))) + masks + cost(rest)
            saved = cost(partition) - tests
            if saved > most:
                best, most = _Group(to, free, values, rest), saved
    return best


def _free(value: int, numbers: set[int], mask: int) -> int:
    """Bits that *value* has not, and that may be added in any combination within *numbers*."""
    members, free = [value], 0
    for bit in range(mask.bit_length()):
        if mask & ~value & 1 << bit:
            more = [member | 1 << bit for member in members]
            if numbers.issuperset(more):
                members += more
                free |= 1 << bit
    return free


def _closed(value: int, numbers: set[int], free: int) -> bool:
    return not value & free and all(value | bits in numbers for bits in _subsets(free))


def _subsets(mask: int) -> Iterator[int]:
    bits = 0
    while True:
        yield bits
        if bits == mask:
            return
        bits = (bits - mask) & mask


def _without(partition: Partition[T], numbers: Iterable[int]) -> Iterator[tuple[int, T]]:
    """The partition where *numbers* may lead anywhere: to where their neighbours do."""
    gone = set(numbers)
    before: T | None = None
    for at, (start, to) in enumerate(partition):
        while start in gone:
            start += 1
        end = partition[at + 1][0] if at + 1 < len(partition) else None
        if end is not None and start >= end:
            continue
        # What is gone within a range stays in it.
        yield (0 if before is None else start), to
        before = to


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
