"""A seccomp filter, run in Python.

Models all that the kernel accepts (see `unotify.bpf.checker`), so that it can
also run filters that others have compiled. A and X start as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Final, NamedTuple

from unotify.bpf.instructions import BPF_MEMWORDS, Instruction, Op, Program
from unotify.errors import InvalidProgram

__all__ = ["SeccompData", "Step", "simulate", "steps", "trace"]

AUDIT_ARCH_LE: Final = 0x40000000
_DATA_SIZE: Final = 64
_FULL: Final = 0xFFFFFFFF
_X: Final = 0x08  # the bit of an opcode that says: the operand is X


class SeccompData(NamedTuple):
    """``struct seccomp_data``: what a filter sees of a call.

    Attributes:
        nr: The call's number; -1 and 0xffffffff are the same.
        arch: ``AUDIT_ARCH_*``. Its little-endian bit says how the words of the
            64-bit fields lie in memory.
        args: Six raw registers, unsigned 64 bits each.
        instruction_pointer: Where the call was made, 64 bits.
    """

    nr: int
    arch: int
    args: Sequence[int] = (0, 0, 0, 0, 0, 0)
    instruction_pointer: int = 0

    def words(self) -> tuple[int, ...]:
        """The 16 words that a filter can load, in the order of their offsets."""
        little = self.arch & AUDIT_ARCH_LE
        raw = (_LITTLE if little else _BIG).pack(
            self.nr & _FULL, self.arch, self.instruction_pointer, *self.args
        )
        return (_LITTLE_WORDS if little else _BIG_WORDS).unpack(raw)


class Step(NamedTuple):
    """One instruction that ran.

    Attributes:
        at: Which, by its index.
        a: A after it; for the last, what the program returned.
        x: X after it.
    """

    at: int
    a: int
    x: int


_LITTLE, _BIG = Struct("<IIQ6Q"), Struct(">IIQ6Q")
_LITTLE_WORDS, _BIG_WORDS = Struct("<16I"), Struct(">16I")

_ALU: Final[dict[int, Callable[[int, int], int]]] = {
    Op.ADD_K: lambda a, b: a + b,
    Op.SUB_K: lambda a, b: a - b,
    Op.MUL_K: lambda a, b: a * b,
    Op.DIV_K: lambda a, b: a // b,
    Op.OR_K: lambda a, b: a | b,
    Op.AND_K: lambda a, b: a & b,
    Op.XOR_K: lambda a, b: a ^ b,
    # The processor's shift instructions look at five bits of the count.
    Op.LSH_K: lambda a, b: a << (b & 31),
    Op.RSH_K: lambda a, b: a >> (b & 31),
}

_TESTS: Final[dict[int, Callable[[int, int], bool]]] = {
    Op.JEQ_K: lambda a, b: a == b,
    Op.JGT_K: lambda a, b: a > b,
    Op.JGE_K: lambda a, b: a >= b,
    Op.JSET_K: lambda a, b: a & b != 0,
}


def simulate(program: Program | Sequence[Instruction], data: SeccompData) -> int:
    """Run *program* on *data*.

    Returns:
        What it returns: an action, as an unsigned 32-bit number.

    Raises:
        InvalidProgram: It came to an instruction that no accepted program has.
    """
    *_, last = _run(program, data)
    return last.a


def trace(program: Program | Sequence[Instruction], data: SeccompData) -> list[int]:
    """Run *program* on *data* and return the indices of the instructions that ran, in order."""
    return [step.at for step in _run(program, data)]


def steps(program: Program | Sequence[Instruction], data: SeccompData) -> list[Step]:
    """Run *program* on *data* and return all steps, with the registers after each.

    Raises:
        InvalidProgram: It came to an instruction that no accepted program has.
    """
    return list(_run(program, data))


def _run(program: Program | Sequence[Instruction], data: SeccompData) -> Iterable[Step]:
    """Yield each step; A of the last is what was returned."""
    code = program.instructions if isinstance(program, Program) else program
    words = data.words()
    memory = [0] * BPF_MEMWORDS
    a = x = pc = 0
    while True:
        if pc >= len(code):
            raise InvalidProgram(f"the program runs off its end to {pc}", index=pc)
        at, (op, jt, jf, k) = pc, code[pc]
        operand = x if op & _X else k
        pc += 1
        try:
            if (alu := _ALU.get(op & ~_X)) is not None:
                if op == Op.DIV_X and x == 0:
                    yield Step(at, 0, x)
                    return
                a = alu(a, operand) & _FULL
            elif (test := _TESTS.get(op & ~_X)) is not None:
                pc += jt if test(a, operand) else jf
            elif op == Op.LD_ABS and k % 4 == 0:
                a = words[k // 4]
            elif op == Op.JA:
                pc += k
            elif op in (Op.RET_K, Op.RET_A):
                yield Step(at, k if op == Op.RET_K else a, x)
                return
            elif op == Op.LD_IMM:
                a = k
            elif op == Op.LD_LEN:
                a = _DATA_SIZE
            elif op == Op.LD_MEM:
                a = memory[k]
            elif op == Op.LDX_IMM:
                x = k
            elif op == Op.LDX_LEN:
                x = _DATA_SIZE
            elif op == Op.LDX_MEM:
                x = memory[k]
            elif op == Op.ST:
                memory[k] = a
            elif op == Op.STX:
                memory[k] = x
            elif op == Op.NEG:
                a = -a & _FULL
            elif op == Op.TAX:
                x = a
            elif op == Op.TXA:
                a = x
            else:
                raise InvalidProgram(f"instruction {at} has opcode {op:#x}", index=at)
        except (IndexError, ZeroDivisionError):
            raise InvalidProgram(f"instruction {at} has a bad operand {k:#x}", index=at) from None
        yield Step(at, a, x)
