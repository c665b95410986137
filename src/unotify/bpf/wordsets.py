"""Sets of 32-bit words, exact for order, equality and masks.

Theory of operation. What a filter finds out about a word of ``seccomp_data`` is a
set of numbers. Order and equality give a few ranges, and ranges are quick. A masked
test gives a set that may have a billion ranges: such a set is a *binary decision
diagram* over the bits of the word, the highest first. In it each node asks for one
bit, equal parts are one node, and a node is never left out where it matters: only
the empty set is the node :data:`NONE`. So emptiness and inclusion are decided
exactly, whatever has been asked, and no solver is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

from unotify.errors import NotExpressible

__all__ = [
    "EMPTY",
    "FULL",
    "WORDS",
    "Bit",
    "WordSet",
    "bit",
    "both",
    "differ",
    "masked",
    "set_of",
    "span",
    "where",
]

FULL: Final = 0xFFFFFFFF
_BITS: Final = 32

_FEW: Final = 8
"""A diagram of so few ranges is kept as ranges."""

_MANY: Final = 1000
"""Nobody counts further."""

_LIMIT: Final = 50_000
"""Most steps of one combination of diagrams; what filters ask takes a few dozen."""


class _Node:
    """A question for one bit, and where its answers lead.

    Attributes:
        bit: Which.
        no: Where it leads if it is not set.
        yes: Where if it is.
        shape: Of the numbers made of this bit and those below it: how many ranges there
            are, at most `_MANY`, and whether the first and the last number are in one.
    """

    __slots__ = ("__weakref__", "bit", "no", "shape", "yes")

    def __init__(self, bit: int, no: Bit, yes: Bit) -> None:
        self.bit, self.no, self.yes = bit, no, yes
        self.shape = _beside(_shape(no, bit), _shape(yes, bit))


Bit: TypeAlias = _Node | bool
"""A diagram: a yes or no that depends on the bits of one word, or on none."""

_Shape: TypeAlias = tuple[int, bool, bool]


def _shape(diagram: Bit, bits: int) -> _Shape:
    """The shape of the numbers of so many bits for which *diagram* holds."""
    if not isinstance(diagram, _Node):
        return int(diagram), diagram, diagram
    found = diagram.shape
    for _ in range(bits - diagram.bit - 1):
        found = _beside(found, found)
    return found


def _beside(low: _Shape, high: _Shape) -> _Shape:
    """The shape of lower numbers followed by higher ones."""
    return min(_MANY, low[0] + high[0] - (low[2] and high[1])), low[1], high[2]


_Key: TypeAlias = tuple[int, Bit, Bit]
_known: WeakValueDictionary[_Key, _Node] = WeakValueDictionary()


def _node(at: int, no: Bit, yes: Bit) -> Bit:
    if no is yes:
        return no
    found = _known.get((at, no, yes))
    if found is None:
        found = _known[at, no, yes] = _Node(at, no, yes)
    return found


def bit(at: int) -> Bit:
    """The diagram that is bit *at* of the word."""
    return _node(at, False, True)


def where(test: Bit, yes: Bit, no: Bit) -> Bit:
    """The diagram that is *yes* where *test* holds, else *no*.

    Raises:
        NotExpressible: The diagrams are too intricate to combine.
    """
    known: dict[tuple[Bit, Bit, Bit], Bit] = {}

    def combine(test: Bit, yes: Bit, no: Bit) -> Bit:
        if test is True or yes is no:
            return yes
        if test is False:
            return no
        if yes is True and no is False:
            return test
        key = (test, yes, no)
        found = known.get(key)
        if found is None:
            if len(known) > _LIMIT:
                raise NotExpressible(
                    "the program's arithmetic is too intricate to follow symbolically"
                )
            at = max(part.bit for part in key if isinstance(part, _Node))
            low = (part.no if isinstance(part, _Node) and part.bit == at else part for part in key)
            high = (
                part.yes if isinstance(part, _Node) and part.bit == at else part for part in key
            )
            found = known[key] = _node(at, combine(*low), combine(*high))
        return found

    return combine(test, yes, no)


@lru_cache(maxsize=4096)
def both(one: Bit, other: Bit) -> Bit:
    """Where both hold."""
    return where(one, other, False)


def differ(one: Bit, other: Bit) -> Bit:
    """Where exactly one holds."""
    return where(one, where(other, False, True), other)


_Ranges: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class WordSet:
    """A set of 32-bit words.

    Two equal sets may differ in form and then do not compare equal; compare with
    ``<=`` both ways instead.

    Attributes:
        ranges: First and last of each range, ascending, not touching; ``None`` if there
            are too many.
        diagram: The same set as a diagram, where there are too many ranges.
    """

    ranges: _Ranges | None
    diagram: Bit = False

    def __bool__(self) -> bool:
        return bool(self.ranges) or self.diagram is not False

    def __contains__(self, word: int) -> bool:
        if self.ranges is not None:
            return any(first <= word <= last for first, last in self.ranges)
        at = self.diagram
        while isinstance(at, _Node):
            at = at.yes if word >> at.bit & 1 else at.no
        return at

    def __and__(self, other: WordSet) -> WordSet:
        if self is other or other is WORDS:
            return self
        if self is WORDS:
            return other
        if self.ranges is not None and other.ranges is not None:
            return _of_ranges(_overlaps(self.ranges, other.ranges))
        return set_of(both(_diagram(self), _diagram(other)))

    def __or__(self, other: WordSet) -> WordSet:
        if self is other:
            return self
        if self.ranges is not None and other.ranges is not None:
            return _of_ranges(_joined(sorted((*self.ranges, *other.ranges))))
        return set_of(where(_diagram(self), True, _diagram(other)))

    def __invert__(self) -> WordSet:
        if self.ranges is not None:
            return _of_ranges(_gaps(self.ranges))
        return set_of(where(self.diagram, False, True))

    def __le__(self, other: WordSet) -> bool:
        return not self & ~other

    def first(self) -> int:
        """The smallest word.

        Raises:
            ValueError: There is none.
        """
        return next(iter(self.runs()))[0]

    def runs(self) -> Iterator[tuple[int, int]]:
        """First and last of each range, ascending; there may be very many.

        Raises:
            ValueError: There is none.
        """
        if not self:
            raise ValueError("an empty set of words")
        if self.ranges is not None:
            return iter(self.ranges)
        return _joined(_runs(self.diagram, _BITS, 0))

    def __str__(self) -> str:
        if self.ranges is None:
            first, last = next(self.runs())
            return f"{first:#x}..{last:#x}, ..."
        return ", ".join(
            f"{first:#x}" if first == last else f"{first:#x}..{last:#x}"
            for first, last in self.ranges
        )


def span(ranges: Iterable[tuple[int, int]]) -> WordSet:
    """The words of *ranges*, each given by its first and last, in any order."""
    return _of_ranges(_joined(sorted(ranges)))


def _of_ranges(ranges: Iterable[tuple[int, int]]) -> WordSet:
    found = tuple(ranges)
    if not found:
        return EMPTY
    return WORDS if found == WORDS.ranges else WordSet(found)


def set_of(diagram: Bit) -> WordSet:
    """The words for which *diagram* holds."""
    if _shape(diagram, _BITS)[0] > _FEW:
        return WordSet(None, diagram)
    return _of_ranges(_joined(_runs(diagram, _BITS, 0)))


def _diagram(words: WordSet) -> Bit:
    return words.diagram if words.ranges is None else _diagram_of(words.ranges)


@lru_cache(maxsize=1024)
def _diagram_of(ranges: _Ranges) -> Bit:
    diagram: Bit = False
    for first, last in ranges:
        diagram = where(_between(FULL, first, last), True, diagram)
    return diagram


def _between(mask: int, first: int, last: int) -> Bit:
    """Where ``first <= word & mask <= last``; neither may have a bit that *mask* lacks."""
    above: Bit = True
    below: Bit = True
    for at in range(_BITS):
        if mask >> at & 1:
            above = _node(at, False, above) if first >> at & 1 else _node(at, above, True)
            below = _node(at, True, below) if last >> at & 1 else _node(at, below, False)
    return both(above, below)


def _runs(diagram: Bit, bits: int, base: int) -> Iterator[tuple[int, int]]:
    """The ranges of *diagram*, neighbours not joined, with *bits* bits left behind *base*."""
    if diagram is False:
        return
    if diagram is True:
        yield base, base + (1 << bits) - 1
        return
    at = bits - 1
    # A bit that is not asked for can be either.
    no, yes = (diagram.no, diagram.yes) if diagram.bit == at else (diagram, diagram)
    yield from _runs(no, at, base)
    yield from _runs(yes, at, base + (1 << at))


def _joined(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ascending *ranges* without those that touch."""
    start: int | None = None
    end = 0
    for first, last in ranges:
        if start is None:
            start, end = first, last
        elif first <= end + 1:
            end = max(end, last)
        else:
            yield start, end
            start, end = first, last
    if start is not None:
        yield start, end


def _overlaps(one: _Ranges, other: _Ranges) -> Iterator[tuple[int, int]]:
    left = right = 0
    while left < len(one) and right < len(other):
        first = max(one[left][0], other[right][0])
        last = min(one[left][1], other[right][1])
        if first <= last:
            yield first, last
        if one[left][1] < other[right][1]:
            left += 1
        else:
            right += 1


def _gaps(ranges: _Ranges) -> Iterator[tuple[int, int]]:
    start = 0
    for first, last in ranges:
        if start < first:
            yield start, first - 1
        start = last + 1
    if start <= FULL:
        yield start, FULL


@lru_cache(maxsize=4096)
def masked(mask: int, first: int, last: int) -> WordSet:
    """The words for which ``first <= word & mask <= last``, all unsigned.

    Args:
        mask: The bits that count.
        first: The least masked word.
        last: The greatest; below *first* for none.
    """
    if mask == FULL:
        return _of_ranges([(max(first, 0), min(last, FULL))] if first <= last else ())
    # The least and the greatest number in reach that has no bit outside of the mask.
    first, last = _up(first, mask), _down(last, mask)
    if first > last:
        return EMPTY
    return set_of(_between(mask, first, last))


def _down(number: int, mask: int) -> int:
    """The greatest submask of *mask* that is at most *number*, or -1."""
    if number < 0:
        return -1
    stray = number & ~mask
    if not stray:
        return number
    # All bits of the mask below the highest stray bit.
    low = (1 << (stray.bit_length() - 1)) - 1
    return number & mask & ~low | mask & low


def _up(number: int, mask: int) -> int:
    """The least submask of *mask* that is at least *number*; above the mask if none is."""
    return 0 if number <= 0 else _next(_down(number - 1, mask), mask)


def _next(number: int, mask: int) -> int:
    """The submask of *mask* behind *number*."""
    return ((number | ~mask) + 1) & mask if number != mask else mask + 1


WORDS: Final = WordSet(((0, FULL),))
"""All of them."""

EMPTY: Final = WordSet(())
"""None of them."""
