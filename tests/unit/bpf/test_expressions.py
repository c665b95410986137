from __future__ import annotations

from typing import Any

import pytest

from unotify.bpf import Always, And, Compare, CompareOp, In, Never, Not, Or, evaluate
from unotify.errors import NotExpressible

EQ, NE, LT, LE, GT, GE = CompareOp
DIRTY = 0xDEADBEEF << 32


def holds(predicate: Any, value: int, *, bits: int = 64) -> bool:
    """Whether *predicate* holds when argument 0 is *value*."""
    return evaluate(predicate, (value, 0, 0, 0, 0, 0), bits=bits)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize(
    ("op", "below", "same", "above"),
    [
        (EQ, False, True, False),
        (NE, True, False, True),
        (LT, True, False, False),
        (LE, True, True, False),
        (GT, False, False, True),
        (GE, False, True, True),
    ],
)
def test_each_operator_at_its_boundary(
    op: CompareOp, below: bool, same: bool, above: bool, bits: int
) -> None:
    """An operator says what Python's says, just below, at and above the number."""
    test = Compare(0, op, 100, bits=bits)
    assert [holds(test, value) for value in (99, 100, 101)] == [below, same, above]


@pytest.mark.parametrize(("bits", "top"), [(32, 2**32 - 1), (64, 2**64 - 1)])
def test_sign_decides_about_the_upper_half(bits: int, top: int) -> None:
    """All ones is the largest unsigned number, and -1 as a signed one."""
    assert holds(Compare(0, GT, 0, bits=bits), top)
    assert not holds(Compare(0, GT, 0, bits=bits, signed=True), top)
    assert holds(Compare(0, LT, 0, bits=bits, signed=True), top // 2 + 1)
    assert not holds(Compare(0, LT, 0, bits=bits, signed=True), top // 2)
    assert holds(Compare(0, EQ, -1, bits=bits), top)
    assert holds(Compare(0, EQ, -1, bits=bits, signed=True), top)
    assert holds(Compare(0, EQ, top, bits=bits, signed=True), top)


def test_int_argument_ignores_the_upper_half() -> None:
    """B3: a 32-bit test looks at the low half, a 64-bit test at both."""
    assert holds(Compare(0, EQ, 5, bits=32), DIRTY | 5)
    assert not holds(Compare(0, EQ, 5, bits=64), DIRTY | 5)
    assert holds(Compare(0, EQ, -100, bits=32, signed=True), 0xFFFFFF9C)


def test_register_width_follows_the_abi() -> None:
    """B3: width 0 is 64 bits on a 64-bit ABI and the low 32 bits on a 32-bit one."""
    test = Compare(0, EQ, 5)
    assert not holds(test, DIRTY | 5, bits=64)
    assert holds(test, DIRTY | 5, bits=32)
    for minus in (Compare(0, EQ, -1), Compare(0, EQ, -1, signed=True), In(0, (-1,))):
        assert holds(minus, 2**64 - 1, bits=64)
        assert holds(minus, 2**32 - 1, bits=32)
        assert not holds(minus, 2**32 - 1, bits=64)


@pytest.mark.parametrize("signed", [False, True])
def test_number_larger_than_a_register_is_above_all(signed: bool) -> None:
    """On a 32-bit ABI a number that does not fit is equal to none and larger than all."""
    found = [
        [holds(Compare(0, op, 1 << 40, signed=signed), value, bits=32) for op in CompareOp]
        for value in (0, 2**31 - 1, 2**31, 2**32 - 1)
    ]
    assert found == [[False, True, True, True, False, False]] * 4
    assert not holds(In(0, (1 << 40,)), 0, bits=32)


def test_signed_number_smaller_than_a_register_is_below_all() -> None:
    """On a 32-bit ABI a negative number that does not fit is smaller than all signed ones."""
    for value in (0, 2**31 - 1, 2**31, 2**32 - 1):
        assert holds(Compare(0, GT, -1 << 40, signed=True), value, bits=32)
        assert not holds(Compare(0, EQ, -1 << 40, signed=True), value, bits=32)


def test_number_that_is_negative_and_too_long_wraps_to_a_large_one() -> None:
    """On a 32-bit ABI, unsigned, -(1 << 40) stands for a number above all registers."""
    for value in (0, 2**31, 2**32 - 1):
        assert [holds(Compare(0, op, -1 << 40), value, bits=32) for op in CompareOp] == [
            False,
            True,
            True,
            True,
            False,
            False,
        ]


def test_mask_selects_the_bits_that_are_compared() -> None:
    """A mask cuts the argument before it is compared; a negative one keeps the upper bits."""
    assert holds(Compare(0, EQ, 0, bits=32, mask=0x7E020000), 0x11)
    assert not holds(Compare(0, EQ, 0, bits=32, mask=0x7E020000), 0x00020011)
    assert holds(Compare(0, EQ, 8, mask=~7), 15)
    assert holds(In(0, (0, 8), mask=~7), 15)
    assert not holds(In(0, (0, 8), mask=~7), 16)


def test_mask_is_cut_to_the_register() -> None:
    """On a 32-bit ABI the upper bits of a mask look at nothing."""
    assert not holds(Compare(0, NE, 0, mask=1 << 40), 1 << 40, bits=32)
    assert holds(Compare(0, NE, 0, mask=1 << 40), 1 << 40, bits=64)


def test_combinations() -> None:
    """And, Or, Not and the constants mean what logic says."""
    low, high = Compare(0, GE, 10), Compare(0, LE, 20)
    assert [holds(low & high, value) for value in (9, 10, 20, 21)] == [False, True, True, False]
    assert [holds(~low | ~high, value) for value in (9, 10, 20, 21)] == [True, False, False, True]
    assert holds(Always(), 0)
    assert not holds(Never(), 0)
    assert holds(~Never() & Always(), 0)


def test_operators_keep_flat_what_is_flat() -> None:
    """Chains of one operator make one node; a double negation makes none."""
    a, b, c = (Compare(arg, EQ, 1) for arg in range(3))
    assert a & b & c == And((a, b, c))
    assert a & (b & c) == And((a, b, c))
    assert a | b | c == Or((a, b, c))
    assert (a & b) | c == Or((And((a, b)), c))
    assert ~a == Not(a)
    assert ~~a == a


def test_predicates_are_values() -> None:
    """Equal predicates are equal, hash alike, show their fields and cannot be changed."""
    assert In(0, [2, 1, 2]) == In(0, frozenset((1, 2)))
    assert hash(In(0, (1, 2))) == hash(In(0, (2, 1)))
    assert len({Compare(0, EQ, 1), Compare(0, EQ, 1), Compare(0, NE, 1)}) == 2
    assert "CompareOp.EQ" in repr(Compare(0, EQ, 1))
    with pytest.raises(AttributeError):
        Compare(0, EQ, 1).value = 2  # type: ignore[misc]


@pytest.mark.parametrize("predicate", [Always(), Compare(0, EQ, 1), In(0, (1,)), ~Always()])
def test_words_instead_of_operators_are_refused(predicate: Any) -> None:
    """`a and b` would silently be b, so a predicate has no truth value."""
    with pytest.raises(TypeError, match="not with words"):
        bool(predicate)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Compare(6, EQ, 1), "argument 6 does not exist"),
        (lambda: Compare(-1, EQ, 1), "argument -1 does not exist"),
        (lambda: Compare("fd", EQ, 1), "argument 'fd' does not exist"),  # type: ignore[arg-type]
        (lambda: Compare(0, EQ, 1, bits=16), "cannot test 16 bits"),
        (lambda: Compare(0, "==", 1), "'==' is not a way to compare"),  # type: ignore[arg-type]
        (lambda: Compare(0, EQ, 2**32, bits=32), "0x100000000 does not fit into 32 bits"),
        (lambda: Compare(0, EQ, -(2**31) - 1, bits=32), "does not fit into 32 bits"),
        (lambda: Compare(0, EQ, 2**64), "does not fit into 64 bits"),
        (lambda: Compare(0, EQ, 1.0), "1.0 is not an integer"),  # type: ignore[arg-type]
        (lambda: Compare(0, EQ, 0, mask=0), "mask 0 looks at no bit"),
        (lambda: Compare(0, EQ, 0, bits=32, mask=1 << 32), "mask 0x100000000 does not fit"),
        (lambda: In(0, ()), "argument 0 is tested for an empty set"),
        (lambda: In(0, (1, 2**32), bits=32), "0x100000000 does not fit into 32 bits"),
        (lambda: In(7, (1,)), "argument 7 does not exist"),
        (lambda: In(0, (1,), mask=0), "mask 0 looks at no bit"),
        (lambda: And(()), "And of nothing"),
        (lambda: Or(()), "Or of nothing"),
        (lambda: And((Always(), True)), "And takes register predicates, not True"),  # type: ignore[arg-type]
        (lambda: Not(1), "Not takes register predicates, not 1"),  # type: ignore[arg-type]
        (lambda: Always() & 1, "And takes register predicates, not 1"),  # type: ignore[operator]
    ],
)
def test_meaningless_predicates_cannot_be_built(make: Any, message: str) -> None:
    """What no filter could test is refused at once, in a sentence."""
    with pytest.raises(NotExpressible, match=message):
        make()


def test_whole_register_tests_reach_the_ends_of_their_width() -> None:
    """The smallest and the largest number of each width are accepted."""
    for bits in (32, 64):
        for value in (-(1 << (bits - 1)), (1 << bits) - 1):
            assert holds(Compare(0, EQ, value, bits=bits), value & (1 << bits) - 1)


def test_wide_test_on_narrow_registers_is_refused() -> None:
    """B6: a 64-bit test has no meaning where 64-bit numbers come in two arguments."""
    for test in (Compare(0, EQ, 1, bits=64), In(0, (1,), bits=64)):
        with pytest.raises(NotExpressible, match="registers have 32 bits"):
            holds(test, 1, bits=32)
