from __future__ import annotations

import pytest

from unotify.abi.seccomp import BPF_MAXINSNS, Action
from unotify.bpf import Instruction, Op, Program, check_program, is_constant_allow
from unotify.bpf.instructions import and_, ja, jeq, jge, jgt, jset, ld_abs, ret
from unotify.errors import InvalidProgram, PolicyError

X86_64 = 0xC000003E
ALLOW = ret(Action.ALLOW)


def op(code: int, k: int = 0) -> Instruction:
    """An instruction that does not jump."""
    return Instruction(code, 0, 0, k)


def test_longest_and_shortest_programs() -> None:
    """1 to 4096 instructions are accepted."""
    check_program([ALLOW])
    check_program(Program((*[ld_abs(0)] * (BPF_MAXINSNS - 1), ALLOW)))
    for length in (0, BPF_MAXINSNS + 1):
        with pytest.raises(InvalidProgram, match=f"has {length}$") as caught:
            check_program([ALLOW] * length)
        assert caught.value.index is None


def test_every_opcode_of_seccomp_is_accepted() -> None:
    """Each member of Op passes with a harmless operand."""
    for code in Op:
        check_program(
            [op(Op.ST, 1), Instruction(code, 0, 0, 1 if code != Op.LD_ABS else 4), *[ALLOW] * 3]
        )


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        (jeq(0, 256, 0), "does not fit"),
        (jeq(0, 0, -1), "does not fit"),
        (op(Op.LD_IMM, 1 << 32), "does not fit"),
        (op(0x28), "opcode 0x28"),  # LD H ABS
        (op(0x30), "opcode 0x30"),  # LD B ABS
        (op(0x40), "opcode 0x40"),  # LD W IND
        (op(0xB1), "opcode 0xb1"),  # LDX B MSH
        (op(0x94, 1), "opcode 0x94"),  # MOD K
        (op(0x9C), "opcode 0x9c"),  # MOD X
        (op(0x0E), "opcode 0xe"),  # RET X
        (op(0x120), "opcode 0x120"),
        (ld_abs(1), "loads from 1"),
        (ld_abs(62), "loads from 62"),
        (ld_abs(64), "loads from 64"),
        (ld_abs(0xFFFFF000), "loads from 4294963200"),
        (op(Op.ST, 16), "scratch word 16"),
        (op(Op.STX, 16), "scratch word 16"),
        (op(Op.LD_MEM, 16), "scratch word 16"),
        (op(Op.LDX_MEM, 99), "scratch word 99"),
        (op(Op.DIV_K, 0), "divides by zero"),
        (op(Op.LSH_K, 32), "shifts a 32-bit number by 32"),
        (op(Op.RSH_K, 99), "shifts a 32-bit number by 99"),
        (ja(2), "skips 2 instructions where 2 follow"),
        (ja(0xFFFFFFFF), "skips 4294967295"),
        (jeq(1, 2, 0), "skips 2 instructions where 2 follow"),
        (jge(1, 0, 2), "skips 2 instructions where 2 follow"),
        (jset(1, 255, 0), "skips 255"),
    ],
)
def test_each_fault_is_found_and_placed(instruction: Instruction, message: str) -> None:
    """An instruction that the kernel would refuse is named by its index."""
    with pytest.raises(InvalidProgram, match=message) as caught:
        check_program([ld_abs(0), ld_abs(4), instruction, ALLOW, ALLOW])
    assert caught.value.index == 2
    assert isinstance(caught.value, PolicyError)


def test_longest_jump_within_the_program() -> None:
    """A jump to the last instruction is accepted."""
    for jump in (ja(1), jeq(1, 1, 0), jgt(1, 0, 1), jset(1, 1, 1)):
        check_program([jump, ALLOW, ALLOW])


@pytest.mark.parametrize("last", [ld_abs(0), ja(0), jeq(0, 0, 0), op(Op.TAX)])
def test_program_ends_in_a_return(last: Instruction) -> None:
    """What could run off the end is refused."""
    with pytest.raises(InvalidProgram) as caught:
        check_program([ALLOW, last])
    assert caught.value.index == 1
    check_program([op(Op.RET_A)])


def test_scratch_memory_is_written_before_it_is_read() -> None:
    """A word is readable only where every way there has written it."""
    read, write, other = op(Op.LD_MEM, 3), op(Op.ST, 3), op(Op.STX, 4)
    check_program([write, read, ALLOW])
    check_program([write, jeq(0, 1, 0), read, read, ALLOW])
    check_program([jeq(0, 1, 0), ALLOW, write, op(Op.LDX_MEM, 3), ALLOW])
    # Both arms write, on their own.
    check_program([jeq(0, 2, 0), write, ja(1), write, read, ALLOW])
    for program, index in (
        ([read, ALLOW], 0),
        ([other, read, ALLOW], 1),
        ([jeq(0, 1, 0), write, read, ALLOW], 2),
        ([jeq(0, 0, 1), write, read, ALLOW], 2),
        ([ja(1), write, op(Op.LDX_MEM, 3), ALLOW], 2),
    ):
        with pytest.raises(InvalidProgram, match="scratch word 3, not written") as caught:
            check_program(program)
        assert caught.value.index == index


def test_constant_allow_follows_number_and_architecture() -> None:
    """Loads of nr and arch, jumps and masks with constants are followed to the return."""
    program = [
        ld_abs(4),
        jeq(X86_64, 1, 0),
        ret(0),
        ld_abs(0),
        jge(100, 5, 0),
        jgt(50, 4, 0),
        and_(0xF),
        jset(8, 2, 0),
        ja(0),
        ALLOW,
        ret(1),
    ]
    check_program(program)
    allowed = [nr for nr in range(200) if is_constant_allow(program, X86_64, nr)]
    assert allowed == [nr for nr in range(51) if not nr & 8]
    assert not is_constant_allow(program, X86_64, -1)
    assert not is_constant_allow(program, 0x40000003, 0)


@pytest.mark.parametrize(
    "instruction",
    [
        ld_abs(8),
        ld_abs(16),
        op(Op.LD_IMM, 0),
        op(Op.LD_LEN),
        op(Op.TAX),
        op(Op.ST, 0),
        op(Op.ADD_K, 0),
        op(Op.AND_X),
        Instruction(Op.JEQ_X, 0, 0, 0),
    ],
)
def test_anything_else_ends_the_constant_way(instruction: Instruction) -> None:
    """Any other instruction on the way makes the kernel run the program for each call."""
    assert is_constant_allow([ld_abs(0), ALLOW], X86_64, 1)
    assert not is_constant_allow([ld_abs(0), instruction, ALLOW], X86_64, 1)
    assert is_constant_allow([ld_abs(0), jeq(1, 1, 0), instruction, ALLOW], X86_64, 1)


@pytest.mark.parametrize("action", [ret(Action.LOG), ret(Action.ALLOW | 1), op(Op.RET_A), ret(0)])
def test_only_a_plain_allow_is_cached(action: Instruction) -> None:
    """LOG, an ALLOW with data and a computed return are not."""
    assert not is_constant_allow([action], X86_64, 1)
