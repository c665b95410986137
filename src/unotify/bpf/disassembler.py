"""Programs as text, for people and for golden tests.

One line for each instruction, a label where a jump arrives, and the constants of
seccomp by name::

          A = arch
          if A != 0xc000003e goto L5
          A = nr
          if A == 0xa5 goto L6
          return ALLOW
    L5:   return KILL_PROCESS
    L6:   return ERRNO(1)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from unotify.abi.seccomp import ACTION_MASK, DATA_MASK, Action
from unotify.bpf.instructions import (
    ARCH_OFFSET,
    ARGS_OFFSET,
    IP_OFFSET,
    NR_OFFSET,
    Instruction,
    Op,
    Program,
)

__all__ = ["disassemble"]

_X: Final = 0x08

# The sign when both ways are spelled out or the true one jumps, and when only the false one does.
_TESTS: Final[dict[int, tuple[str, str]]] = {
    Op.JEQ_K: ("==", "!="),
    Op.JGT_K: (">", "<="),
    Op.JGE_K: (">=", "<"),
    Op.JSET_K: ("&", "!&"),
}

_ALU: Final[dict[int, str]] = {
    Op.ADD_K: "+",
    Op.SUB_K: "-",
    Op.MUL_K: "*",
    Op.DIV_K: "/",
    Op.OR_K: "|",
    Op.AND_K: "&",
    Op.LSH_K: "<<",
    Op.RSH_K: ">>",
    Op.XOR_K: "^",
}

_PLAIN: Final[dict[int, str]] = {
    Op.LD_IMM: "A = {k:#x}",
    Op.LD_MEM: "A = M[{k}]",
    Op.LD_LEN: "A = len",
    Op.LDX_IMM: "X = {k:#x}",
    Op.LDX_MEM: "X = M[{k}]",
    Op.LDX_LEN: "X = len",
    Op.ST: "M[{k}] = A",
    Op.STX: "M[{k}] = X",
    Op.NEG: "A = -A",
    Op.TAX: "X = A",
    Op.TXA: "A = X",
    Op.RET_A: "return A",
}


def disassemble(program: Program | Sequence[Instruction], *, little: bool = True) -> str:
    """Write *program* as text, one line for each instruction.

    Args:
        program: Any instructions; those that the kernel does not know are shown
            as their four numbers.
        little: Whether it is meant for a little-endian machine, where the lower
            word of an argument comes first.
    """
    code = program.instructions if isinstance(program, Program) else program
    targets = {
        target for index, instruction in enumerate(code) for target in _targets(index, instruction)
    }
    lines = []
    for index, instruction in enumerate(code):
        label = f"L{index}:" if index in targets else ""
        lines.append(f"{label:<7} {_line(index, instruction, little)}\n")
    return "".join(lines)


def _targets(index: int, instruction: Instruction) -> set[int]:
    """Where an instruction jumps to, apart from what follows it in any case."""
    op, jt, jf, k = instruction
    if op == Op.JA:
        return {index + 1 + k}
    if op & ~_X in _TESTS:
        return {index + 1 + skipped for skipped in (jt, jf) if skipped or jt == jf}
    return set()


def _line(index: int, instruction: Instruction, little: bool) -> str:
    op, jt, jf, k = instruction
    operand = "X" if op & _X else f"{k:#x}"
    if op in _PLAIN:
        return _PLAIN[op].format(k=k)
    if op == Op.LD_ABS:
        return f"A = {_field(k, little)}"
    if op == Op.RET_K:
        return f"return {_action(k)}"
    if op == Op.JA:
        return f"goto L{index + 1 + k}"
    if op & ~_X in _ALU:
        return f"A {_ALU[op & ~_X]}= {operand}"
    if op & ~_X in _TESTS:
        true, false = _TESTS[op & ~_X]
        if jt == 0 and jf != 0:
            return f"if A {false} {operand} goto L{index + 1 + jf}"
        end = f" else goto L{index + 1 + jf}" if jf or jt == 0 else ""
        return f"if A {true} {operand} goto L{index + 1 + jt}{end}"
    return f"code {op:#x} jt {jt} jf {jf} k {k:#x}"


def _field(offset: int, little: bool) -> str:
    if offset == NR_OFFSET:
        return "nr"
    if offset == ARCH_OFFSET:
        return "arch"
    if offset % 4 or not IP_OFFSET <= offset < ARGS_OFFSET + 48:
        return f"data[{offset}]"
    half = "low" if (offset % 8 == 0) == little else "high"
    if offset < ARGS_OFFSET:
        return f"{half}(instruction_pointer)"
    return f"{half}(args[{(offset - ARGS_OFFSET) // 8}])"


def _action(value: int) -> str:
    try:
        name = Action(value & ACTION_MASK).name
    except ValueError:
        return f"{value:#x}"
    return f"{name}({value & DATA_MASK})" if value & DATA_MASK else name
