from __future__ import annotations

import random
from collections.abc import Iterator
from functools import reduce

import pytest

from unotify.bpf.wordsets import EMPTY, FULL, WORDS, WordSet, bit, both, masked, set_of, span, where
from unotify.errors import NotExpressible

MASKS = (FULL, 0xFF, 0x7E020000, 0xF0F0F0F0, 1, 0x80000000, 0xFFFFF000, 0x80000001)


def samples(rng: random.Random, *near: int) -> Iterator[int]:
    """Words that are likely to be put on the wrong side."""
    for number in (0, FULL, *near):
        yield from (number + off & FULL for off in (-1, 0, 1))
    yield from (rng.getrandbits(32) for _ in range(20))


def test_masked_ranges_hold_exactly_their_words() -> None:
    """A masked range has the words for which the masked word is in the range, and no others."""
    rng = random.Random(5)
    for _ in range(300):
        mask = rng.choice((*MASKS, rng.getrandbits(32) or 1))
        ends = [rng.choice((rng.getrandbits(32), mask, 0, mask & rng.getrandbits(32), 7))]
        ends.append(rng.choice((ends[0], rng.getrandbits(32))))
        first, last = sorted(ends)
        found = masked(mask, first, last)
        for word in samples(rng, first, last, mask):
            assert (word in found) == (first <= word & mask <= last), (mask, first, last, word)
            assert (word in ~found) != (word in found)


def test_intersection_and_union_are_exact() -> None:
    """Of any two sets, in ranges or with masks, a word is in both and in either as it should be."""
    rng = random.Random(6)

    def some() -> WordSet:
        mask = rng.choice((FULL, FULL, *MASKS, rng.getrandbits(32) or 1))
        first, last = sorted((rng.getrandbits(32) & mask, rng.getrandbits(32) & mask))
        return masked(mask, first, last)

    for _ in range(200):
        one, other = some() | some(), ~some() & some()
        for word in samples(rng):
            assert (word in one & other) == (word in one and word in other)
            assert (word in one | other) == (word in one or word in other)
        assert not one & ~one
        assert one | ~one >= WORDS
        assert one & other <= one <= one | other
        if both_ := one & other:
            first = both_.first()
            assert first in both_
            assert not both_ & span([(0, first - 1)] if first else [])


def test_emptiness_of_masked_tests_that_contradict() -> None:
    """Tests of overlapping masks that no word passes are known to be empty."""
    assert not masked(0x3, 2, 2) & masked(0x6, 4, 6) & masked(0x5, 0, 1)
    assert masked(0x3, 2, 2) & masked(0x6, 2, 6)
    assert not masked(0xFF, 0x20, 0x20) & span([(0x100, 0x11F)])
    assert masked(0xFF, 0x20, 0x20) & span([(0x100, 0x120)])


def test_inclusion() -> None:
    """A stricter mask test implies a weaker one, and not the other way."""
    assert masked(0x70, 0, 0) <= masked(0x30, 0, 0)
    assert not masked(0x30, 0, 0) <= masked(0x70, 0, 0)
    assert EMPTY <= masked(1, 1, 1) <= WORDS


def test_ranges_are_counted_before_they_are_made() -> None:
    """What a set is kept as depends on how many ranges it has, and on nothing else."""
    rng = random.Random(7)
    for _ in range(300):
        mask = rng.getrandbits(32) | rng.getrandbits(32) | rng.getrandbits(32)
        value = mask & rng.getrandbits(32)
        found = masked(mask, value, value)
        runs = [run for run, _ in zip(found.runs(), range(9), strict=False)]
        assert (found.ranges is None) == (len(runs) > 8)
        assert found.ranges is None or list(found.ranges) == runs


def test_few_ranges_stay_ranges() -> None:
    """What a mask cuts into few ranges is kept as ranges, and everything as one object."""
    assert masked(0xC0000000, 1 << 30, 1 << 30).ranges == ((1 << 30, (1 << 31) - 1),)
    assert masked(1, 1, 1).ranges is None
    assert masked(1, 1, 1) | masked(1, 0, 0) is WORDS
    assert span([(5, 9), (0, 3), (4, 4)]).ranges == ((0, 9),)


def test_text() -> None:
    """Ranges are spelled out; of sets with too many the first is."""
    assert str(span([(3, 3), (16, 31)])) == "0x3, 0x10..0x1f"
    assert str(masked(0x10, 16, 16)) == "0x10..0x1f, ..."


def test_empty_set_has_no_first_word() -> None:
    """There is no smallest word of none."""
    with pytest.raises(ValueError, match="empty"):
        EMPTY.first()


def test_intricate_diagrams_are_refused() -> None:
    """A combination that would take forever ends in a clear error."""
    # Pairs of far bits: the known bad case of such diagrams.
    parts = [both(bit(at), bit(16 + at)) for at in range(16)]
    with pytest.raises(NotExpressible, match="too intricate"):
        reduce(lambda found, part: where(found, True, part), parts)


def test_diagrams_of_single_bits() -> None:
    """A diagram made of bits is the set of words that have them."""
    found = set_of(both(bit(3), where(bit(0), False, True)))
    assert 8 in found
    assert 9 not in found
    assert 0 not in found
