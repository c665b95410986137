from __future__ import annotations

from itertools import product

import pytest

from unotify.abi.arch import Arch
from unotify.bpf import (
    Always,
    Compare,
    CompareOp,
    In,
    Instruction,
    Never,
    Op,
    RegisterPredicate,
    SeccompData,
    check_program,
    evaluate,
    simulate,
    trace,
)
from unotify.bpf.codegen import Graph
from unotify.bpf.lowering import lower
from unotify.errors import NotExpressible

YES, NO = 1, 0
EQ, NE, LT, LE, GT, GE = CompareOp
FULL = 0xFFFFFFFF
LOW, HIGH = 16, 20  # argument 0 of a little-endian ABI


def compiled(predicate: RegisterPredicate, arch: Arch = Arch.X86_64) -> tuple[Instruction, ...]:
    """A program that returns whether *predicate* holds."""
    graph = Graph()
    program = graph.emit(lower(graph, predicate, graph.ret(YES), graph.ret(NO), arch))
    check_program(program)
    return program


def shape(predicate: RegisterPredicate, arch: Arch = Arch.X86_64) -> list[tuple[int, int]]:
    """The instructions that decide *predicate*, without the returns and where jumps lead."""
    return [(at.code, at.k) for at in compiled(predicate, arch) if at.code != Op.RET_K]


@pytest.mark.parametrize("op", CompareOp)
@pytest.mark.parametrize(("bits", "signed"), [*product((0, 32, 64), (False, True))])
def test_comparison_at_its_boundaries(op: CompareOp, bits: int, signed: bool) -> None:
    """Around each edge of signed and unsigned numbers the program says what the reference says."""
    edges = (
        0,
        1,
        2**31 - 1,
        2**31,
        2**32 - 1,
        2**32,
        2**63 - 1,
        2**63,
        2**64 - 2**33 + 5,
        2**64 - 1,
    )
    values = [edge for edge in edges if edge < 1 << (bits or 64)]
    registers = {edge + off & 2**64 - 1 for edge in edges for off in (-1, 0, 1)}
    registers.add(2**64 - 2**32)  # the last upper half, and a lower one below most values
    for arch in (Arch.X86_64, Arch.I386, Arch.S390X, Arch.PPC):
        if bits > arch.bits:
            continue
        for value in values:
            test = Compare(3, op, value, bits=bits, signed=signed)
            program = compiled(test, arch)
            for register in registers:
                args = (7, 7, 7, register, 7, 7)
                expected = evaluate(test, args, bits=arch.bits)
                assert simulate(program, SeccompData(0, arch.audit, args)) == expected


def test_each_conjunct_is_looked_at() -> None:
    """A conjunction over all arguments and both halves fails when any one half differs."""
    right = tuple(0x1111111122222222 * (arg + 1) for arg in range(6))
    for arch in (Arch.X86_64, Arch.MIPS64):
        program = compiled(
            Compare(0, EQ, right[0])
            & Compare(1, EQ, right[1])
            & Compare(2, EQ, right[2])
            & In(3, {right[3], 5})
            & Compare(4, GE, right[4])
            & Compare(5, LE, right[5]),
            arch,
        )
        assert simulate(program, SeccompData(0, arch.audit, right)) == YES
        for arg, half in product(range(6), (1, 1 << 32)):
            off = half if arg == 5 else -half
            wrong = (*right[:arg], right[arg] + off, *right[arg + 1 :])
            assert simulate(program, SeccompData(0, arch.audit, wrong)) == NO, (arg, half)


def test_each_disjunct_is_enough() -> None:
    """A disjunction holds for each of its terms alone and for none of them not."""
    terms = [Compare(arg, EQ, 1 << 40 | 7) for arg in range(6)]
    program = compiled(terms[0] | terms[1] | terms[2] | terms[3] | terms[4] | terms[5])
    assert simulate(program, SeccompData(0, Arch.X86_64.audit)) == NO
    for arg in range(6):
        args = tuple(1 << 40 | 7 if arg == at else 0 for at in range(6))
        assert simulate(program, SeccompData(0, Arch.X86_64.audit, args)) == YES


def test_shortest_forms() -> None:
    """Common tests take as few instructions as they can."""
    low, high = (Op.LD_ABS, LOW), (Op.LD_ABS, HIGH)
    assert shape(Compare(0, EQ, 5, bits=32)) == [low, (Op.JEQ_K, 5)]
    assert shape(Compare(0, NE, 5, bits=32)) == [low, (Op.JEQ_K, 5)]
    assert shape(Compare(0, GT, 5, bits=32)) == [low, (Op.JGE_K, 6)]
    assert shape(Compare(0, LT, 0, bits=32, signed=True)) == [low, (Op.JGE_K, 1 << 31)]
    assert shape(Compare(0, NE, 0, mask=0x30)) == [low, (Op.JSET_K, 0x30)]
    assert shape(Compare(0, EQ, 5)) == [high, (Op.JEQ_K, 0), low, (Op.JEQ_K, 5)]
    assert shape(Compare(0, GE, 1 << 32)) == [high, (Op.JEQ_K, 0)]
    assert shape(Compare(0, NE, 0, mask=1 << 35 | 4)) == [
        high,
        (Op.JSET_K, 8),
        low,
        (Op.JSET_K, 4),
    ]
    assert shape(In(0, (1, 2, 3, 4), bits=32)) == [low, (Op.JEQ_K, 0), (Op.JGE_K, 5)]


def test_tests_that_decide_nothing_are_left_out() -> None:
    """What holds for all arguments or for none is no code at all."""
    for predicate in (Always(), Compare(0, GE, 0), Compare(0, LE, -1), ~Never()):
        assert [at.k for at in compiled(predicate)] == [YES]
    for predicate in (Never(), Compare(0, LT, 0), Compare(0, EQ, 1, mask=2), ~Always()):
        assert [at.k for at in compiled(predicate)] == [NO]
    assert [at.k for at in compiled(Compare(0, EQ, 1 << 40), Arch.I386)] == [NO]


def test_sets_become_small_trees() -> None:
    """A set of 500 numbers is decided by a dozen tests, not 500."""
    values = {number * 1000 for number in range(500)}
    program = compiled(In(0, values))
    assert len(program) < 700
    for value in (0, 1000, 250_000, 499_000, 999, 1001, 499_001, 1 << 40):
        call = SeccompData(0, Arch.X86_64.audit, (value, 0, 0, 0, 0, 0))
        assert simulate(program, call) == (value in values)
        assert len(trace(program, call)) <= 16


def test_byte_order_decides_where_the_halves_are() -> None:
    """The low half of an argument comes first on little-endian machines and last on others."""
    test = Compare(1, EQ, 5, bits=32)
    assert shape(test, Arch.X86_64)[0] == (Op.LD_ABS, 24)
    assert shape(test, Arch.S390X)[0] == (Op.LD_ABS, 28)
    assert shape(test, Arch.PPC)[0] == (Op.LD_ABS, 28)


def test_wide_test_on_narrow_registers_is_refused() -> None:
    """B6: a 64-bit test cannot be made where such a number comes in two arguments."""
    with pytest.raises(NotExpressible, match="registers have 32 bits"):
        compiled(Compare(0, EQ, 1, bits=64), Arch.I386)


def test_tests_of_one_number_are_put_together() -> None:
    """A range is two tests, a list of values is a tree, and what contradicts is nothing at all."""
    low = (Op.LD_ABS, LOW)
    both = Compare(0, GE, 3, bits=32) & Compare(0, LE, 9, bits=32)
    assert shape(both) == [low, (Op.JGE_K, 3), (Op.JGE_K, 10)]
    assert [at.k for at in compiled(both & Compare(0, GT, 20, bits=32))] == [NO]
    assert [at.k for at in compiled(both | Compare(0, LT, 3, bits=32) | Compare(0, GT, 9, 32))] == [
        YES
    ]
    many = Compare(0, EQ, 10, bits=32)
    for number in range(11, 100):
        many = many | Compare(0, EQ, number, bits=32)  # type: ignore[assignment]
    assert shape(many) == [low, (Op.JGE_K, 10), (Op.JGE_K, 100)]
    assert shape(~(~both | Never()) & Always()) == shape(both)


@pytest.mark.parametrize("mask", [None, 0xFFFF, 0x80800 | 0xF])
def test_sets_that_are_masks(mask: int | None) -> None:
    """Values that differ in bits that may be anything are one masked test."""
    flags = [0, 0x800, 0x80000, 0x80800]
    types = In(0, [kind | flag for kind in (1, 2) for flag in flags], bits=32, mask=mask)
    program = compiled(types)
    assert len(program) <= 9
    plain = In(0, (0, 8, 0x20000, 0x20008, FULL), bits=32)
    assert shape(plain) == [
        (Op.LD_ABS, LOW),
        (Op.JSET_K, FULL & ~0x20008),
        (Op.JEQ_K, FULL),
    ]
    for predicate in (types, plain):
        code = compiled(predicate)
        for number in (0, 1, 2, 3, 8, 9, 0x20000, 0x20008, 0x20009, FULL, FULL - 1):
            for flag in (*flags, 0x400, 1 << 31):
                args = (number ^ flag, 0, 0, 0, 0, 0)
                expected = evaluate(predicate, args)
                assert simulate(code, SeccompData(0, Arch.X86_64.audit, args)) == expected


def test_masks_of_high_bits_are_order() -> None:
    """What looks at the highest bits only is a test of order, without an instruction for a mask."""
    low = (Op.LD_ABS, LOW)
    assert shape(Compare(0, GE, 0x3000, 32, mask=FULL & ~0xFFF)) == [low, (Op.JGE_K, 0x3000)]
    assert shape(Compare(0, GT, 0x2FFF, 32, mask=FULL & ~0xFFF)) == [low, (Op.JGE_K, 0x3000)]
    assert shape(Compare(0, EQ, 3 << 30, 32, mask=3 << 30)) == [low, (Op.JGE_K, 3 << 30)]
    assert shape(Compare(0, GE, 0x20, 32, mask=0x31)) == [low, (Op.JSET_K, 0x20)]
