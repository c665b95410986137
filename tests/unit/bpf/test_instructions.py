from __future__ import annotations

import struct

import pytest

from unotify.bpf import Instruction, Op, Program, decode, encode
from unotify.bpf.instructions import and_, ja, jeq, jge, jgt, jset, ld_abs, ret


def test_fields_are_in_the_kernels_order() -> None:
    """An instruction is struct sock_filter: u16 code, u8 jt, u8 jf, u32 k, native byte order."""
    instruction = Instruction(code=0x15, jt=2, jf=3, k=0xC000003E)
    assert encode([instruction]) == struct.pack("=HBBI", 0x15, 2, 3, 0xC000003E)
    assert decode(encode([instruction])) == (instruction,)


@pytest.mark.parametrize(
    ("made", "fields"),
    [
        (ld_abs(4), (0x20, 0, 0, 4)),
        (and_(0xFF), (0x54, 0, 0, 0xFF)),
        (ja(7), (0x05, 0, 0, 7)),
        (jeq(1, 2, 3), (0x15, 2, 3, 1)),
        (jgt(1, 2, 3), (0x25, 2, 3, 1)),
        (jge(1, 2, 3), (0x35, 2, 3, 1)),
        (jset(1, 2, 3), (0x45, 2, 3, 1)),
        (ret(0x7FFF0000), (0x06, 0, 0, 0x7FFF0000)),
    ],
)
def test_constructors_use_the_numbers_of_bpf_common_h(
    made: Instruction, fields: tuple[int, ...]
) -> None:
    """Each constructor makes the instruction of its name."""
    assert made == fields


def test_opcodes_are_composed_as_the_header_says() -> None:
    """An opcode is class | size, mode or operation | source, as the macros of bpf_common.h say."""
    classes = {"LD": 0, "LDX": 1, "ST": 2, "STX": 3, "JA": 5, "RET": 6, "TAX": 7, "TXA": 0x87}
    modes = {"IMM": 0x00, "ABS": 0x20, "MEM": 0x60, "LEN": 0x80}
    operations = {"ADD": 0x00, "SUB": 0x10, "MUL": 0x20, "DIV": 0x30, "OR": 0x40, "AND": 0x50}
    operations |= {"LSH": 0x60, "RSH": 0x70, "NEG": 0x80, "XOR": 0xA0}
    jumps = {"JEQ": 0x10, "JGT": 0x20, "JGE": 0x30, "JSET": 0x40}
    for op in Op:
        name, _, rest = op.name.partition("_")
        if name in jumps:
            assert op == 5 | jumps[name] | (8 if rest == "X" else 0)
        elif name in operations:
            assert op == 4 | operations[name] | (8 if rest == "X" else 0)
        elif name == "RET":
            assert op == 6 | (0x10 if rest == "A" else 0)
        else:
            assert op == classes[name] | modes.get(rest, 0)
    assert len(Op) == 41


def test_torn_bytes_are_refused() -> None:
    """Bytes that are not a whole number of instructions are no program."""
    with pytest.raises(ValueError, match="12 bytes are not a whole number"):
        decode(bytes(12))


def test_program_knows_its_length_and_bytes() -> None:
    """A program is as long as its instructions and encodes to eight bytes each."""
    program = Program((ld_abs(0), ret(0)))
    assert len(program) == 2
    assert program.encode() == encode(program.instructions)
    assert hash(program) == hash(Program((ld_abs(0), ret(0))))
