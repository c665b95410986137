from __future__ import annotations

import pytest

from unotify.bpf import Op
from unotify.bpf.arithmetic import Part, Value, compute, is_arithmetic, is_test, sides
from unotify.bpf.wordsets import FULL, span
from unotify.errors import NotExpressible

WORD = Part(4, FULL)


def made(*steps: tuple[Op, Value]) -> Value:
    """What A holds after arithmetic on a word."""
    a: Value = WORD
    for op, operand in steps:
        a = compute(a, op, operand)
    return a


def test_opcodes_are_told_apart() -> None:
    """Tests and arithmetic are known with a constant and with X; nothing else is either."""
    assert [op.name for op in Op if is_test(op)] == [
        f"J{test}_{operand}" for test in ("EQ", "GT", "GE", "SET") for operand in "KX"
    ]
    arithmetic = {op.name.split("_")[0] for op in Op if is_arithmetic(op)}
    assert arithmetic == {"ADD", "SUB", "MUL", "DIV", "OR", "AND", "LSH", "RSH", "NEG", "XOR"}
    assert not any(is_test(op) and is_arithmetic(op) for op in Op)


def test_masks_of_masks_stay_masks() -> None:
    """A mask on a mask is a mask, and one that leaves no bit is the constant 0."""
    assert made((Op.AND_K, 0xFF), (Op.AND_K, 0xF0)) == Part(4, 0xF0)
    assert made((Op.AND_K, 0xFF), (Op.AND_K, 0xF00)) == 0


def test_constants_wrap_at_32_bits() -> None:
    """Arithmetic on constants is that of the processor."""
    assert compute(FULL, Op.ADD_K, 2) == 1
    assert compute(0, Op.NEG, 0) == 0
    assert compute(1, Op.NEG, 0) == FULL
    assert compute(3, Op.MUL_K, 1 << 31) == 1 << 31
    assert compute(9, Op.DIV_X, 2) == 4
    assert compute(1, Op.LSH_X, 33) == 2


def test_sides_are_exact_and_complete() -> None:
    """A jump's two sides are all words, once, also for what was computed."""
    shifted = made((Op.RSH_K, 4), (Op.ADD_K, 1))
    index, yes, no = sides(shifted, Op.JEQ_K, 1)
    assert index == 4
    assert yes == span([(0, 15)])
    assert no == ~yes
    index, yes, no = sides(WORD, Op.JGT_X, made((Op.AND_K, 0xF)))
    assert 16 in yes
    assert 15 in no
    assert not yes & no


@pytest.mark.parametrize(
    ("op", "operand"), [(Op.MUL_K, 3), (Op.DIV_K, 2), (Op.LSH_X, WORD), (Op.ADD_X, Part(5, FULL))]
)
def test_what_cannot_be_followed(op: Op, operand: Value) -> None:
    """Products, quotients, shifts of words and sums of two words are refused in words."""
    with pytest.raises(NotExpressible):
        compute(WORD, op, operand)
