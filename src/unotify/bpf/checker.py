"""What the kernel says to a program before it runs it.

Two judgements are mirrored: whether seccomp(2) takes the program
(`bpf_check_classic` and `seccomp_check_filter` in the kernel), and whether it
sees that a call is allowed whatever its arguments (`seccomp_is_const_allow`,
since 5.11). Both look at the program as it was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from unotify.abi.seccomp import BPF_MAXINSNS, Action
from unotify.bpf.instructions import ARCH_OFFSET, BPF_MEMWORDS, NR_OFFSET, Instruction, Op, Program
from unotify.errors import InvalidProgram

__all__ = ["check_program", "is_constant_allow"]

_OPCODES: Final = frozenset(map(int, Op))
_CONDITIONAL: Final = frozenset(
    (Op.JEQ_K, Op.JEQ_X, Op.JGT_K, Op.JGT_X, Op.JGE_K, Op.JGE_X, Op.JSET_K, Op.JSET_X)
)
_MEMORY: Final = frozenset((Op.LD_MEM, Op.LDX_MEM, Op.ST, Op.STX))
_DATA_SIZE: Final = 64
_FULL: Final = 0xFFFFFFFF


def check_program(program: Program | Sequence[Instruction]) -> None:
    """Check that the kernel would take *program*.

    Raises:
        InvalidProgram: It would say EINVAL; ``index`` names the instruction.
    """
    code = program.instructions if isinstance(program, Program) else program
    if not 1 <= len(code) <= BPF_MAXINSNS:
        raise InvalidProgram(
            f"a program has 1 to {BPF_MAXINSNS} instructions, this one has {len(code)}"
        )
    for index, instruction in enumerate(code):
        fault = _fault(instruction, len(code) - index - 1)
        if fault:
            raise InvalidProgram(f"instruction {index} {fault}", index=index)
    last = len(code) - 1
    if code[last].code not in (Op.RET_K, Op.RET_A):
        raise InvalidProgram(f"instruction {last} is the last one and no return", index=last)
    _check_memory(code)


def _fault(instruction: Instruction, behind: int) -> str | None:
    """What is wrong with an instruction that has *behind* others behind it."""
    op, jt, jf, k = instruction
    if not (0 <= jt <= 0xFF and 0 <= jf <= 0xFF and 0 <= k <= _FULL):
        return "does not fit into struct sock_filter"
    if op not in _OPCODES:
        return f"has opcode {op:#x}, which seccomp does not take"
    if op == Op.LD_ABS and (k % 4 or k >= _DATA_SIZE):
        return f"loads from {k}: only multiples of 4 below {_DATA_SIZE} can be loaded"
    if op in _MEMORY and k >= BPF_MEMWORDS:
        return f"uses scratch word {k} of {BPF_MEMWORDS}"
    if op == Op.DIV_K and k == 0:
        return "divides by zero"
    if op in (Op.LSH_K, Op.RSH_K) and k >= 32:
        return f"shifts a 32-bit number by {k}"
    skipped = k if op == Op.JA else max(jt, jf) if op in _CONDITIONAL else 0
    if skipped and skipped >= behind:
        return f"skips {skipped} instructions where {behind} follow"
    return None


def _check_memory(code: Sequence[Instruction]) -> None:
    """Check that scratch memory is written before it is read, on every path."""
    # One bit for each word: written on all paths that come here by a jump.
    written_at = [(1 << BPF_MEMWORDS) - 1] * len(code)
    written = 0
    for index, (op, jt, jf, k) in enumerate(code):
        written &= written_at[index]
        if op in (Op.ST, Op.STX):
            written |= 1 << k
        elif op in (Op.LD_MEM, Op.LDX_MEM) and not written >> k & 1:
            raise InvalidProgram(
                f"instruction {index} reads scratch word {k}, not written on every way",
                index=index,
            )
        elif op == Op.JA or op in _CONDITIONAL:
            for skipped in (k,) if op == Op.JA else (jt, jf):
                written_at[index + 1 + skipped] &= written
            written = -1  # nothing falls through; the jumps' targets know


def is_constant_allow(program: Program | Sequence[Instruction], arch: int, nr: int) -> bool:
    """Whether the kernel answers this call with ALLOW without running the program.

    It follows loads of the number and the architecture, jumps and AND with
    constants; with anything else on the way to the return, the program is run.

    Args:
        program: A program that :func:`check_program` takes.
        arch: ``AUDIT_ARCH_*``. The kernel keeps bitmaps for its own architecture
            and the 32-bit one beside it.
        nr: The number; bitmaps end with the kernel's own table of calls.
    """
    code = program.instructions if isinstance(program, Program) else program
    a = pc = 0
    while True:
        op, jt, jf, k = code[pc]
        pc += 1
        if op == Op.LD_ABS and k in (NR_OFFSET, ARCH_OFFSET):
            a = arch if k == ARCH_OFFSET else nr & _FULL
        elif op == Op.AND_K:
            a &= k
        elif op == Op.JA:
            pc += k
        elif op == Op.JEQ_K:
            pc += jt if a == k else jf
        elif op == Op.JGE_K:
            pc += jt if a >= k else jf
        elif op == Op.JGT_K:
            pc += jt if a > k else jf
        elif op == Op.JSET_K:
            pc += jt if a & k else jf
        else:
            return op == Op.RET_K and k == Action.ALLOW
