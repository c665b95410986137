"""Classic BPF as seccomp knows it: opcodes, one instruction, the bytes of a program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

__all__ = [
    "ARCH_OFFSET",
    "ARGS_OFFSET",
    "BPF_MEMWORDS",
    "IP_OFFSET",
    "NR_OFFSET",
    "Instruction",
    "Op",
    "Program",
    "and_",
    "decode",
    "encode",
    "ja",
    "jeq",
    "jge",
    "jgt",
    "jset",
    "ld_abs",
    "ret",
]

NR_OFFSET: Final = 0
"""Offset of the call's number in ``struct seccomp_data``."""
ARCH_OFFSET: Final = 4
"""Offset of the audit architecture."""
IP_OFFSET: Final = 8
"""Offset of the instruction pointer, 64 bits."""
ARGS_OFFSET: Final = 16
"""Offset of the first of six arguments, 64 bits each in native byte order."""

BPF_MEMWORDS: Final = 16
"""Words of scratch memory."""


class Op(IntEnum):
    """Every opcode that a seccomp filter may contain: a part of classic BPF.

    ``A`` is the accumulator, ``X`` the index register, ``M`` the scratch
    memory; all are unsigned and have 32 bits. Packet loads, byte and
    half-word loads and MOD exist in classic BPF but not here.
    """

    LD_IMM = 0x00
    """A = k."""
    LD_ABS = 0x20
    """A = the word at offset k of ``struct seccomp_data``: aligned, below 64."""
    LD_MEM = 0x60
    """A = M[k]."""
    LD_LEN = 0x80
    """A = 64, the size of ``struct seccomp_data``."""
    LDX_IMM = 0x01
    """X = k."""
    LDX_MEM = 0x61
    """X = M[k]."""
    LDX_LEN = 0x81
    """X = 64."""
    ST = 0x02
    """M[k] = A."""
    STX = 0x03
    """M[k] = X."""
    ADD_K = 0x04
    ADD_X = 0x0C
    SUB_K = 0x14
    SUB_X = 0x1C
    MUL_K = 0x24
    MUL_X = 0x2C
    DIV_K = 0x34
    """A = A / k, unsigned; k is not 0."""
    DIV_X = 0x3C
    """A = A / X, unsigned; the program returns 0, KILL_THREAD, if X is 0."""
    OR_K = 0x44
    OR_X = 0x4C
    AND_K = 0x54
    AND_X = 0x5C
    LSH_K = 0x64
    """A = A << k; k is below 32."""
    LSH_X = 0x6C
    """A = A << X, of which the lowest five bits count."""
    RSH_K = 0x74
    RSH_X = 0x7C
    NEG = 0x84
    """A = -A."""
    XOR_K = 0xA4
    XOR_X = 0xAC
    JA = 0x05
    """Skip k instructions."""
    JEQ_K = 0x15
    """Skip jt instructions if A == k, else jf."""
    JEQ_X = 0x1D
    JGT_K = 0x25
    JGT_X = 0x2D
    JGE_K = 0x35
    JGE_X = 0x3D
    JSET_K = 0x45
    """Skip jt instructions if A & k is not 0, else jf."""
    JSET_X = 0x4D
    RET_K = 0x06
    """Return k."""
    RET_A = 0x16
    """Return A."""
    TAX = 0x07
    """X = A."""
    TXA = 0x87
    """A = X."""


_SOCK_FILTER: Final = Struct("=HBBI")


class Instruction(NamedTuple):
    """``struct sock_filter``, 8 bytes.

    Attributes:
        code: What to do, an :class:`Op` in a valid filter.
        jt: How many instructions a conditional jump skips when it is true.
        jf: The same when it is false.
        k: The operand.
    """

    code: int
    jt: int
    jf: int
    k: int


@dataclass(frozen=True, slots=True)
class Program:
    """A filter, ready for seccomp(2).

    Attributes:
        instructions: In the order in which they run.
    """

    instructions: tuple[Instruction, ...]

    def encode(self) -> bytes:
        """Return the array of ``struct sock_filter``, in native byte order."""
        return encode(self.instructions)

    def __len__(self) -> int:
        return len(self.instructions)


def encode(program: Iterable[Instruction]) -> bytes:
    """Return the instructions as an array of ``struct sock_filter``, in native byte order."""
    return b"".join(_SOCK_FILTER.pack(*instruction) for instruction in program)


def decode(raw: bytes) -> tuple[Instruction, ...]:
    """Read back what :func:`encode` wrote; opcodes are not looked at.

    Raises:
        ValueError: *raw* is not a whole number of instructions.
    """
    if len(raw) % _SOCK_FILTER.size:
        raise ValueError(f"{len(raw)} bytes are not a whole number of 8-byte instructions")
    return tuple(Instruction(*fields) for fields in _SOCK_FILTER.iter_unpack(raw))


def ld_abs(offset: int) -> Instruction:
    """Load the word at *offset* of ``struct seccomp_data`` into A."""
    return Instruction(Op.LD_ABS, 0, 0, offset)


def and_(k: int) -> Instruction:
    """Keep the bits *k* of A."""
    return Instruction(Op.AND_K, 0, 0, k)


def ja(k: int) -> Instruction:
    """Skip *k* instructions."""
    return Instruction(Op.JA, 0, 0, k)


def jeq(k: int, jt: int, jf: int) -> Instruction:
    """Skip *jt* instructions if A == *k*, else *jf*."""
    return Instruction(Op.JEQ_K, jt, jf, k)


def jge(k: int, jt: int, jf: int) -> Instruction:
    """Skip *jt* instructions if A >= *k*, else *jf*."""
    return Instruction(Op.JGE_K, jt, jf, k)


def jgt(k: int, jt: int, jf: int) -> Instruction:
    """Skip *jt* instructions if A > *k*, else *jf*."""
    return Instruction(Op.JGT_K, jt, jf, k)


def jset(k: int, jt: int, jf: int) -> Instruction:
    """Skip *jt* instructions if A & *k* is not zero, else *jf*."""
    return Instruction(Op.JSET_K, jt, jf, k)


def ret(action: int) -> Instruction:
    """Return *action*."""
    return Instruction(Op.RET_K, 0, 0, action)
