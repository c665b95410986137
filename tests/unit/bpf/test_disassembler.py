from __future__ import annotations

import pytest

from unotify.abi.seccomp import Action
from unotify.bpf import Instruction, Op, disassemble
from unotify.bpf.instructions import ja, jeq, jge, jgt, jset, ld_abs, ret


def op(code: int, k: int = 0) -> Instruction:
    """An instruction that does not jump."""
    return Instruction(code, 0, 0, k)


def line(instruction: Instruction, *, little: bool = True) -> str:
    """The text of one instruction."""
    behind = [ret(0)] * 8
    return disassemble([instruction, *behind], little=little).splitlines()[0].strip()


@pytest.mark.parametrize(
    ("instruction", "text"),
    [
        (ld_abs(0), "A = nr"),
        (ld_abs(4), "A = arch"),
        (ld_abs(8), "A = low(instruction_pointer)"),
        (ld_abs(16), "A = low(args[0])"),
        (ld_abs(60), "A = high(args[5])"),
        (ld_abs(64), "A = data[64]"),
        (ld_abs(17), "A = data[17]"),
        (op(Op.LD_IMM, 16), "A = 0x10"),
        (op(Op.LD_MEM, 3), "A = M[3]"),
        (op(Op.LD_LEN), "A = len"),
        (op(Op.LDX_IMM, 16), "X = 0x10"),
        (op(Op.LDX_MEM, 3), "X = M[3]"),
        (op(Op.LDX_LEN), "X = len"),
        (op(Op.ST, 3), "M[3] = A"),
        (op(Op.STX, 3), "M[3] = X"),
        (op(Op.AND_K, 255), "A &= 0xff"),
        (op(Op.AND_X), "A &= X"),
        (op(Op.RSH_K, 4), "A >>= 0x4"),
        (op(Op.NEG), "A = -A"),
        (op(Op.TAX), "X = A"),
        (op(Op.TXA), "A = X"),
        (op(Op.RET_A), "return A"),
        (ret(Action.ALLOW), "return ALLOW"),
        (ret(Action.ERRNO | 38), "return ERRNO(38)"),
        (ret(0), "return KILL_THREAD"),
        (ret(0x12345678), "return 0x12345678"),
        (ja(4), "goto L5"),
        (jeq(7, 2, 0), "if A == 0x7 goto L3"),
        (jeq(7, 0, 2), "if A != 0x7 goto L3"),
        (jgt(7, 0, 2), "if A <= 0x7 goto L3"),
        (jge(7, 0, 2), "if A < 0x7 goto L3"),
        (jset(7, 0, 2), "if A !& 0x7 goto L3"),
        (jset(7, 1, 2), "if A & 0x7 goto L2 else goto L3"),
        (jeq(7, 0, 0), "if A == 0x7 goto L1 else goto L1"),
        (Instruction(Op.JGE_X, 3, 0, 0), "if A >= X goto L4"),
        (Instruction(0x94, 1, 2, 3), "code 0x94 jt 1 jf 2 k 0x3"),
    ],
)
def test_each_instruction_has_a_text(instruction: Instruction, text: str) -> None:
    """Registers, fields and actions are named as people know them."""
    assert line(instruction) == text


def test_byte_order_names_the_halves() -> None:
    """On big-endian machines the high word of an argument comes first."""
    assert line(ld_abs(16), little=False) == "A = high(args[0])"
    assert line(ld_abs(20), little=False) == "A = low(args[0])"


def test_different_instructions_have_different_texts() -> None:
    """No two opcodes look alike."""
    texts = {line(Instruction(code, 1, 2, 4)) for code in Op}
    assert len(texts) == len(Op)


def test_labels_stand_where_jumps_arrive() -> None:
    """Every target has a label, and nothing else has."""
    text = disassemble([ld_abs(4), jeq(1, 0, 2), ja(1), ret(1), jset(8, 0, 1), ret(2), ret(3)])
    assert text == (
        "        A = arch\n"
        "        if A != 0x1 goto L4\n"
        "        goto L4\n"
        "        return KILL_THREAD(1)\n"
        "L4:     if A !& 0x8 goto L6\n"
        "        return KILL_THREAD(2)\n"
        "L6:     return KILL_THREAD(3)\n"
    )
