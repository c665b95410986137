from __future__ import annotations

import struct

import pytest

from unotify.abi.arch import Arch
from unotify.abi.structs import DATA
from unotify.bpf import Instruction, Op, Program, SeccompData, simulate, trace
from unotify.bpf.instructions import ja, jeq, jge, jgt, jset, ld_abs, ret
from unotify.bpf.simulator import steps
from unotify.errors import InvalidProgram

ARGS = tuple(0x1111111100000000 * arg + 0x22222222 + arg for arg in range(6))
CALL = SeccompData(-1, Arch.X86_64.audit, ARGS, 0xFFFFFFFF81234567)
RET_A = Instruction(Op.RET_A, 0, 0, 0)


def op(code: int, k: int = 0) -> Instruction:
    """An instruction that does not jump."""
    return Instruction(code, 0, 0, k)


def result(*program: Instruction) -> int:
    """What A is after *program*."""
    return simulate([*program, RET_A], CALL)


def test_words_are_the_kernels_struct() -> None:
    """On little-endian machines the 16 words are those of the struct in memory."""
    raw = DATA.pack(CALL.nr, CALL.arch, CALL.instruction_pointer, *ARGS)
    if struct.pack("=H", 1) == b"\1\0":
        assert CALL.words() == struct.unpack("=16I", raw)
    for index, word in enumerate(CALL.words()):
        assert result(ld_abs(4 * index)) == word


def test_halves_follow_the_byte_order_of_the_architecture() -> None:
    """Low words come first where AUDIT_ARCH says little-endian, and last where not."""
    low, high = ARGS[3] & 0xFFFFFFFF, ARGS[3] >> 32
    for arch in Arch:
        words = SeccompData(5, arch.audit, ARGS).words()
        assert words[:2] == (5, arch.audit)
        assert words[10:12] == ((low, high) if arch.little else (high, low)), arch


@pytest.mark.parametrize(
    ("code", "a", "b", "expected"),
    [
        (Op.ADD_K, 0xFFFFFFFF, 2, 1),
        (Op.SUB_K, 1, 2, 0xFFFFFFFF),
        (Op.MUL_K, 0x10001, 0x10001, 0x20001),
        (Op.DIV_K, 0xFFFFFFFF, 2, 0x7FFFFFFF),
        (Op.OR_K, 0xF0, 0x0F, 0xFF),
        (Op.AND_K, 0xF0, 0x30, 0x30),
        (Op.XOR_K, 0xF0, 0xFF, 0x0F),
        (Op.LSH_K, 0x80000001, 1, 2),
        (Op.RSH_K, 0x80000001, 1, 0x40000000),
    ],
)
def test_arithmetic_has_32_unsigned_bits(code: Op, a: int, b: int, expected: int) -> None:
    """Each operation with a constant and with X gives the same, cut to 32 bits."""
    assert result(op(Op.LD_IMM, a), op(code, b)) == expected
    assert result(op(Op.LD_IMM, a), op(Op.LDX_IMM, b), op(code | 8)) == expected


def test_negation() -> None:
    """NEG is the two's complement."""
    assert result(op(Op.LD_IMM, 1), op(Op.NEG)) == 0xFFFFFFFF
    assert result(op(Op.NEG)) == 0


def test_division_by_x_zero_returns_0() -> None:
    """Dividing by an X of 0 ends the program with 0, KILL_THREAD."""
    program = [op(Op.LD_IMM, 7), op(Op.DIV_X), ret(5)]
    assert simulate(program, CALL) == 0
    assert trace(program, CALL) == [0, 1]


def test_shifts_by_x_use_five_bits() -> None:
    """A shift by 33 is a shift by 1."""
    for code in (Op.LSH_X, Op.RSH_X):
        shifted = [result(op(Op.LD_IMM, 6), op(Op.LDX_IMM, by), op(code)) for by in (1, 33)]
        assert shifted[0] == shifted[1]


@pytest.mark.parametrize(
    ("jump", "taken"),
    [
        (jeq(5, 1, 0), [False, True, False]),
        (jgt(5, 1, 0), [False, False, True]),
        (jge(5, 1, 0), [False, True, True]),
        (jset(6, 1, 0), [True, True, True]),
        (jset(1, 1, 0), [False, True, False]),
    ],
)
def test_conditional_jumps(jump: Instruction, taken: list[bool]) -> None:
    """Each test, with a constant and with X, skips jt or jf instructions."""
    for code, operand in ((jump.code, jump.k), (jump.code | 8, 0)):
        found = []
        for a in (4, 5, 6):
            test = Instruction(code, 1, 0, operand)
            setup = [op(Op.LD_IMM, a), op(Op.LDX_IMM, jump.k)]
            found.append(bool(simulate([*setup, test, ret(0), ret(1)], CALL)))
        assert found == taken


def test_comparison_is_unsigned() -> None:
    """0xffffffff is the largest number."""
    assert simulate([ld_abs(0), jgt(0x7FFFFFFF, 1, 0), ret(0), ret(1)], CALL) == 1


def test_jump_always_reaches_far() -> None:
    """JA skips k instructions, more than 255 too."""
    program = Program((ja(1000), *[ret(0)] * 1000, ret(1)))
    assert simulate(program, CALL) == 1
    assert trace(program, CALL) == [0, 1001]


def test_registers_and_scratch_memory() -> None:
    """A and X start as 0, move both ways, and keep their values in sixteen words."""
    assert result() == 0
    assert result(op(Op.TXA)) == 0
    assert result(op(Op.LD_IMM, 7), op(Op.TAX), op(Op.LD_IMM, 1), op(Op.TXA)) == 7
    program = [op(Op.LD_IMM, 7), op(Op.ST, 15), op(Op.LDX_IMM, 9), op(Op.STX, 0)]
    assert result(*program, op(Op.LD_MEM, 0)) == 9
    assert result(*program, op(Op.LDX_MEM, 15), op(Op.TXA)) == 7


def test_length_is_that_of_the_struct() -> None:
    """LD LEN and LDX LEN give 64."""
    assert result(op(Op.LD_LEN)) == 64
    assert result(op(Op.LDX_LEN), op(Op.TXA)) == 64


@pytest.mark.parametrize(
    ("program", "index"),
    [
        ([], 0),
        ([ld_abs(0)], 1),
        ([ja(5), ret(0)], 6),
        ([op(0x94, 3), ret(0)], 0),
        ([op(0x0D), ret(0)], 0),
        ([ld_abs(64), ret(0)], 0),
        ([ld_abs(2), ret(0)], 0),
        ([op(Op.ST, 16), ret(0)], 0),
        ([op(Op.DIV_K, 0), ret(0)], 0),
    ],
)
def test_what_no_kernel_would_run_is_refused(program: list[Instruction], index: int) -> None:
    """A program that the kernel refuses ends in InvalidProgram where it goes wrong."""
    with pytest.raises(InvalidProgram) as caught:
        simulate(program, CALL)
    assert caught.value.index == index


def test_steps_have_the_registers() -> None:
    """Each step tells A and X after it, and the last what was returned."""
    program = [op(Op.LD_IMM, 7), op(Op.TAX), op(Op.ADD_X), jeq(14, 1, 0), ret(1), ret(2)]
    found = steps(program, CALL)
    assert found == [(0, 7, 0), (1, 7, 7), (2, 14, 7), (3, 14, 7), (5, 2, 7)]
    assert [step.at for step in found] == trace(program, CALL)
