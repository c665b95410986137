"""From text to a program: what the disassembler prints, and what people write so.

One statement a line, labels before it or on lines of their own, comments behind
``;`` or ``#``. Wherever a number stands, a name may: ``0x101``, ``257``, an
architecture (``x86_64``, for its AUDIT_ARCH), a call of one (``x86_64:openat``), an
errno (``EPERM``)::

    start:  A = arch
            if A != x86_64 goto bad
            A = nr
            if A == x86_64:mount goto no else goto yes   ; both ways may be told
    yes:    return ALLOW
    no:     return ERRNO(EPERM)
    bad:    return KILL_PROCESS

Jumps go forwards only, and conditional ones over at most 255 instructions, as in
the kernel.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, TypeAlias

from unotify.abi.hints import nearest
from unotify.abi.seccomp import BPF_MAXINSNS, DATA_MASK, Action
from unotify.bpf.assembly_words import ERRNOS, Line, Spot, cut
from unotify.bpf.checker import check_program
from unotify.bpf.disassembler import ALU, NEGATED, TESTS, field_name
from unotify.bpf.instructions import Instruction, Op, Program
from unotify.errors import InvalidProgram, PolicyError, UnknownName

__all__ = ["assemble", "looks_like_assembly"]

_X: Final = 0x08
_FAR: Final = 0xFF

_STATEMENT: Final = re.compile(
    r"(?:[A-Za-z_]\w*[ \t]*:)?\s*"
    r"(?:[AX]\s*(?:[-+*/&|^]|<<|>>)?=|M\[|if\s+A\b|goto\s|return\b|code\s+\w+\s+jt\b|$)"
)

_FIELDS: Final = {
    little: {field_name(offset, little): offset for offset in range(0, 64, 4)}
    for little in (True, False)
}
_SIGNS: Final = {sign: code for code, sign in TESTS.items()}
_NEGATIONS: Final = {NEGATED[sign]: code for code, sign in TESTS.items()}
_OPERATIONS: Final = {f"{sign}=": code for code, sign in ALU.items()}
_STARTS: Final = ("A", "X", "M", "if", "goto", "return", "code")
_LOADS: Final = ("nr", "arch", "low", "high", "data")
_RESERVED: Final = frozenset({*_STARTS, *_LOADS, "else", "len"})


def looks_like_assembly(text: str) -> bool:
    """Whether the first statement of *text* is one of this language, right or not."""
    for line in text.splitlines():
        statement = re.split("[;#]", line, maxsplit=1)[0].strip()
        if statement:
            return _STATEMENT.match(statement) is not None
    return False


def assemble(
    text: str, *, source: str | None = None, little: bool = True, check: bool = True
) -> Program:
    """Make a program of *text*.

    Args:
        text: What `unotify.bpf.disassemble` writes, or a person.
        source: What errors call it.
        little: Whether it is meant for a little-endian machine: which word of an
            argument ``low`` means.
        check: Whether the kernel must take the program.

    Raises:
        UnknownName: A word means nothing; the hint is the nearest that does.
        InvalidProgram: The kernel would not take it.
        PolicyError: A line is no statement. All three say line and column.
    """
    unit = _Unit(source, _FIELDS[little])
    for number, line in enumerate(text.split("\n"), 1):
        unit.read(number, line)
    return unit.finish(check)


class _Jump(NamedTuple):
    """A jump whose labels are not known yet; ``None`` is what follows."""

    code: int
    k: int
    true: tuple[str, Spot] | None
    false: tuple[str, Spot] | None


_Made: TypeAlias = Instruction | _Jump


class _Unit:
    """One text, line by line."""

    def __init__(self, source: str | None, fields: dict[str, int]) -> None:
        self._source = source
        self._fields = fields
        self._made: list[tuple[_Made, Spot]] = []
        self._labels: dict[str, tuple[int, int]] = {}

    def read(self, number: int, text: str) -> None:
        """Read the line with this number."""
        line = Line(self._source, number, text)
        for name, spot in line.labels:
            if name in _RESERVED:
                message = f"{name} cannot be a label: it means something else"
                raise line.error(message, spot=spot)
            if name in self._labels:
                first = self._labels[name][1]
                message = f"there is a label {cut(name)} already, in line {first}"
                raise line.error(message, spot=spot)
            self._labels[name] = len(self._made), number
        if line.peek() is None:
            return
        spot = line.here
        if len(self._made) == BPF_MAXINSNS:
            raise line.error(f"more than {BPF_MAXINSNS} instructions: the kernel takes no more")
        made = _statement(line, self._fields)
        if line.peek() is not None:
            raise line.unexpected("the end of the line")
        self._made.append((made, spot))

    def finish(self, check: bool) -> Program:
        """The program, when all lines were read."""
        code = tuple(self._resolved(at, made) for at, (made, _) in enumerate(self._made))
        if check:
            try:
                check_program(code)
            except InvalidProgram as error:
                spot = Spot(1, 1) if error.index is None else self._made[error.index][1]
                raise self._placed(error, spot) from None
        return Program(code)

    def _placed(self, error: PolicyError, spot: Spot) -> PolicyError:
        error.source, error.line, error.column = self._source, *spot
        return error

    def _resolved(self, index: int, made: _Made) -> Instruction:
        if isinstance(made, Instruction):
            return made
        true, false = (
            0 if target is None else self._skipped(index, *target)
            for target in (made.true, made.false)
        )
        if made.code == Op.JA:
            return _plain(Op.JA, true)
        for skipped, target in ((true, made.true), (false, made.false)):
            if skipped > _FAR and target is not None:
                error = PolicyError(
                    f"{cut(target[0])} is {skipped} instructions away: "
                    f"conditional jumps skip at most {_FAR}",
                    hint="jump to a goto nearby",
                )
                raise self._placed(error, target[1])
        return Instruction(made.code, true, false, made.k)

    def _skipped(self, index: int, name: str, spot: Spot) -> int:
        """How many instructions are skipped on the way to a label."""
        if name not in self._labels:
            unknown = UnknownName(
                f"there is no label {cut(name)}", hint=nearest(name, self._labels)
            )
            raise self._placed(unknown, spot)
        there, _ = self._labels[name]
        wrong = None
        if there >= len(self._made):
            wrong = f"no instruction follows the label {cut(name)}"
        elif there <= index:
            wrong = f"the label {cut(name)} is not further down: jumps go forwards only"
        if wrong is not None:
            raise self._placed(PolicyError(wrong), spot)
        return there - index - 1


def _statement(line: Line, fields: dict[str, int]) -> _Made:
    match line.peek():
        case "A":
            line.next()
            return _to_a(line, fields)
        case "X":
            line.next()
            return _to_x(line)
        case "M":
            index = _word(line)
            line.next("=")
            return _plain(Op.ST if line.next("A", "X") == "A" else Op.STX, index)
        case "goto":
            line.next()
            return _Jump(Op.JA, 0, line.name("a label"), None)
        case "if":
            return _test(line)
        case "return":
            line.next()
            return _return(line)
        case "code":
            return _numbers(line)
        case word:
            raise line.unknown("no statement begins with", word or "", _STARTS)


def _to_a(line: Line, fields: dict[str, int]) -> Instruction:
    sign = line.next(*_OPERATIONS, "=", called="= or an operation such as &=")
    if sign != "=":
        code = _OPERATIONS[sign]
        if line.skip("X"):
            return _plain(code | _X, 0)
        return _plain(code, line.number("a number"))
    if line.skip("X"):
        return _plain(Op.TXA, 0)
    if line.skip("-"):
        line.next("A")
        return _plain(Op.NEG, 0)
    if line.skip("len"):
        return _plain(Op.LD_LEN, 0)
    if line.peek() == "M":
        return _plain(Op.LD_MEM, _word(line))
    if line.peek() in _LOADS:
        return _plain(Op.LD_ABS, _field(line, fields))
    if line.peek() in ("args", "instruction_pointer"):
        word = line.peek()
        raise line.error(
            f"{word} has 64 bits, and A has 32",
            hint="write low(args[0]), high(instruction_pointer) ...",
        )
    others = (*_LOADS, "len", "X", "M")
    return _plain(Op.LD_IMM, line.number("a number or a field", others=others))


def _to_x(line: Line) -> Instruction:
    line.next("=")
    if line.skip("A"):
        return _plain(Op.TAX, 0)
    if line.skip("len"):
        return _plain(Op.LDX_LEN, 0)
    if line.peek() == "M":
        return _plain(Op.LDX_MEM, _word(line))
    return _plain(Op.LDX_IMM, line.number("a number, A or M[...]", others=("len", "A", "M")))


def _word(line: Line) -> int:
    line.next("M")
    line.next("[")
    index = line.number("the number of a scratch word")
    line.next("]")
    return index


def _field(line: Line, fields: dict[str, int]) -> int:
    word = line.next()
    if word in fields:
        return fields[word]
    if word == "data":
        line.next("[")
        offset = line.number("an offset")
        line.next("]")
        return offset
    line.next("(")
    if line.skip("instruction_pointer"):
        inner = "instruction_pointer"
    elif line.skip("args"):
        line.next("[")
        inner = f"args[{line.number('the number of an argument', most=5)}]"
        line.next("]")
    else:
        known = ("args", "instruction_pointer")
        raise line.unknown("no field is named", line.peek() or "", known)
    line.next(")")
    return fields[f"{word}({inner})"]


def _test(line: Line) -> _Jump:
    line.next("if")
    line.next("A")
    signs = (*_SIGNS, *_NEGATIONS)
    sign = line.next(*signs, called=f"one of {' '.join(signs)}")
    x, k = (_X, 0) if line.skip("X") else (0, line.number("a number or X"))
    line.next("goto")
    true, false = line.name("a label"), None
    if line.skip("else"):
        line.next("goto")
        false = line.name("a label")
    if sign in _SIGNS:
        return _Jump(_SIGNS[sign] | x, k, true, false)
    return _Jump(_NEGATIONS[sign] | x, k, false, true)


def _return(line: Line) -> Instruction:
    if line.skip("A"):
        return _plain(Op.RET_A, 0)
    word = line.peek()
    if word is None or not word.isidentifier():
        return _plain(Op.RET_K, line.number("an action, a number or A"))
    action = Action.__members__.get(word)
    if action is None:
        raise line.unknown("no action is named", word, (*Action.__members__, "A"))
    line.next()
    data = 0
    if line.skip("("):
        data = line.number("the data of an action", most=DATA_MASK, others=ERRNOS)
        line.next(")")
    return _plain(Op.RET_K, action | data)


def _numbers(line: Line) -> Instruction:
    values = []
    for name, most in (("code", 0xFFFF), ("jt", _FAR), ("jf", _FAR), ("k", 0xFFFFFFFF)):
        line.next(name)
        values.append(line.number(name, most=most))
    return Instruction(*values)


def _plain(code: int, k: int) -> Instruction:
    return Instruction(code, 0, 0, k)
