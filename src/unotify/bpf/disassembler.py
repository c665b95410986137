"""Programs as text, for people, for golden tests, and for the assembler.

One line for each instruction, a label where a jump arrives, and the constants of
seccomp by name::

          A = arch
          if A != x86_64 goto L5
          A = nr
          if A == x86_64:mount goto L6
          return ALLOW
    L5:   return KILL_PROCESS
    L6:   return ERRNO(EPERM)

`unotify.bpf.assembler` makes the same instructions of it again, whatever they were:
what the kernel ignores, such as the jump offsets of an instruction that does not
jump, is spelled out where it is not zero.

A number is written as the name of a call where it can be nothing else: in a
comparison of the call's number, on ways on which the architecture is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import errorcode
from typing import Final, NamedTuple

from unotify.abi import tables
from unotify.abi.arch import Arch
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

__all__ = ["ALU", "NEGATED", "PLAIN", "TESTS", "disassemble", "field_name", "known"]

_X: Final = 0x08

TESTS: Final[dict[int, str]] = {
    Op.JEQ_K: "==",
    Op.JGT_K: ">",
    Op.JGE_K: ">=",
    Op.JSET_K: "&",
}
"""The sign of each conditional jump, by the opcode with a constant."""

NEGATED: Final = {"==": "!=", ">": "<=", ">=": "<", "&": "!&"}
"""The sign where the jump is taken if the test fails."""

ALU: Final[dict[int, str]] = {
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
"""The sign of each operation, by the opcode with a constant."""

PLAIN: Final[dict[int, str]] = {
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
"""The others that look alike whatever their operand."""

_NO_OPERAND: Final = frozenset((Op.LD_LEN, Op.LDX_LEN, Op.NEG, Op.TAX, Op.TXA, Op.RET_A))
_BY_AUDIT: Final = {arch.audit: arch.label for arch in reversed(Arch)}


def disassemble(
    program: Program | Sequence[Instruction],
    *,
    little: bool = True,
    names: bool = False,
    arch: Arch | None = None,
) -> str:
    """Write *program* as text, one line for each instruction.

    Args:
        program: Any instructions; those that have no text of their own are shown
            as their four numbers.
        little: Whether it is meant for a little-endian machine, where the lower
            word of an argument comes first.
        names: Whether to write calls, architectures and errnos by name.
        arch: Whose calls the numbers are where the program has not looked.
    """
    code = program.instructions if isinstance(program, Program) else program
    last = len(code) - 1
    targets: set[int] = set()
    for index, instruction in enumerate(code):
        if _spelled(index, instruction, last):
            targets |= _targets(index, instruction)
    facts = known(code, arch) if names else [None] * len(code)
    lines = []
    for index, instruction in enumerate(code):
        label = f"L{index}:" if index in targets else ""
        if _spelled(index, instruction, last):
            text = _line(index, instruction, little, facts[index], names)
        else:
            op, jt, jf, k = instruction
            text = f"code {op:#x} jt {jt} jf {jf} k {k:#x}"
        lines.append(f"{label:<7} {text}\n")
    return "".join(lines)


class Known(NamedTuple):
    """What is known where an instruction begins.

    Attributes:
        register: The offset of the word that A holds, or ``None``.
        audit: ``AUDIT_ARCH_*``, or ``None``.
    """

    register: int | None
    audit: int | None

    def joined(self, other: Known) -> Known:
        """What is known where two ways meet."""
        return Known(
            self.register if self.register == other.register else None,
            self.audit if self.audit == other.audit else None,
        )


def known(code: Sequence[Instruction], arch: Arch | None = None) -> list[Known | None]:
    """What is known before each instruction; ``None`` where no way leads."""
    found: list[Known | None] = [None] * len(code)

    def arrive(index: int, fact: Known) -> None:
        if index < len(code):
            before = found[index]
            found[index] = fact if before is None else before.joined(fact)

    arrive(0, Known(None, arch.audit if arch else None))
    for index, (op, jt, jf, k) in enumerate(code):
        fact = found[index]
        if fact is None:
            continue
        if op == Op.JA:
            arrive(index + 1 + k, fact)
        elif op & ~_X in TESTS:
            told = op == Op.JEQ_K and fact.register == ARCH_OFFSET
            arrive(index + 1 + jt, fact._replace(audit=k) if told else fact)
            arrive(index + 1 + jf, fact)
        elif op not in (Op.RET_K, Op.RET_A):
            if op == Op.LD_ABS:
                fact = fact._replace(register=k)
            elif op not in (Op.ST, Op.STX, Op.TAX) and op & 7 != Op.LDX_IMM:
                fact = fact._replace(register=None)
            arrive(index + 1, fact)
    return found


def _spelled(index: int, instruction: Instruction, last: int) -> bool:
    """Whether an instruction has a text of its own, from which it can be made again."""
    op, jt, jf, k = instruction
    if op == Op.JA:
        return not (jt or jf) and index + 1 + k <= last
    if op & ~_X in TESTS:
        return (not op & _X or k == 0) and index + 1 + max(jt, jf) <= last
    if jt or jf:
        return False
    if op & ~_X in ALU:
        return not op & _X or k == 0
    if op in PLAIN:
        return op not in _NO_OPERAND or k == 0
    return op in (Op.LD_ABS, Op.RET_K)


def _targets(index: int, instruction: Instruction) -> set[int]:
    """Where an instruction jumps to, apart from what follows it in any case."""
    op, jt, jf, k = instruction
    if op == Op.JA:
        return {index + 1 + k}
    if op & ~_X in TESTS:
        return {index + 1 + skipped for skipped in (jt, jf) if skipped or jt == jf}
    return set()


def _line(
    index: int, instruction: Instruction, little: bool, fact: Known | None, names: bool
) -> str:
    op, jt, jf, k = instruction
    if op in PLAIN:
        return PLAIN[op].format(k=k)
    if op == Op.LD_ABS:
        return f"A = {field_name(k, little)}"
    if op == Op.RET_K:
        return f"return {_action(k, names)}"
    if op == Op.JA:
        return f"goto L{index + 1 + k}"
    if op & ~_X in ALU:
        return f"A {ALU[op & ~_X]}= {'X' if op & _X else f'{k:#x}'}"
    operand = "X" if op & _X else _operand(op, k, fact)
    true = TESTS[op & ~_X]
    if jt == 0 and jf != 0:
        return f"if A {NEGATED[true]} {operand} goto L{index + 1 + jf}"
    end = f" else goto L{index + 1 + jf}" if jf or jt == 0 else ""
    return f"if A {true} {operand} goto L{index + 1 + jt}{end}"


def _operand(op: int, k: int, fact: Known | None) -> str:
    """What A is compared with."""
    if fact is not None and op != Op.JSET_K:
        if fact.register == ARCH_OFFSET and op == Op.JEQ_K and k in _BY_AUDIT:
            return _BY_AUDIT[k]
        if fact.register == NR_OFFSET and fact.audit is not None:
            call = tables.identify(fact.audit, k)
            if call.name is not None and call.arch is not None:
                return f"{call.arch.label}:{call.name}"
    return f"{k:#x}"


def field_name(offset: int, little: bool) -> str:
    """What is at *offset* of ``struct seccomp_data``, as the text calls it."""
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


def _action(value: int, names: bool) -> str:
    data = value & DATA_MASK
    try:
        action = Action(value & ACTION_MASK)
    except ValueError:
        return f"{value:#x}"
    if names and action is Action.ERRNO and data in errorcode:
        return f"ERRNO({errorcode[data]})"
    return f"{action.name}({data})" if data else action.name
