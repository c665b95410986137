"""All that a program can do: its paths, and the calls that take each.

Theory of operation. Jumps go forward only, so a program has finitely many paths.
On each of them the accumulator holds a constant, or something made of one word of
``seccomp_data``. A jump then splits the word's set in two, exactly (see
`unotify.bpf.wordsets`), and a side that nothing can take is left out. As each test
concerns one word, the calls of a path are a *box*: any word of the first set with
any word of the second, and so on. A path that is reported can be taken, and its
witness takes it.

:func:`paths` keeps every path apart. There can be exponentially many where long
conditions share code, so :func:`regions`, which the proof works with, goes through the
instructions once, in order, and joins boxes that meet there and differ in one word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from unotify.abi.arch import Arch
from unotify.bpf.checker import check_program
from unotify.bpf.instructions import (
    ARCH_OFFSET,
    ARGS_OFFSET,
    BPF_MEMWORDS,
    IP_OFFSET,
    NR_OFFSET,
    Instruction,
    Op,
    Program,
)
from unotify.bpf.simulator import AUDIT_ARCH_LE, SeccompData
from unotify.bpf.wordsets import (
    EMPTY,
    FULL,
    WORDS,
    Bit,
    WordSet,
    bit,
    both,
    differ,
    masked,
    set_of,
    where,
)
from unotify.errors import FilterTooLarge, NotExpressible

__all__ = ["Box", "Path", "Region", "halves", "paths", "regions"]

_DATA_SIZE: Final = 64
_X: Final = 0x08  # the bit of an opcode that says: the operand is X
_USUAL: Final = (Arch.X86_64, Arch.AARCH64, *Arch)

_MOST: Final = 100_000
"""Most boxes to follow: a filter that decides by registers has a few hundred."""


@dataclass(frozen=True, slots=True)
class Box:
    """A set of calls: each word of ``seccomp_data`` is any of its set.

    Attributes:
        words: The 16 sets, in the order of the words' offsets; none is empty.
    """

    words: tuple[WordSet, ...] = (WORDS,) * 16

    @property
    def audit(self) -> WordSet:
        """The audit architectures."""
        return self.words[ARCH_OFFSET // 4]

    @property
    def nr(self) -> WordSet:
        """The numbers, as unsigned words."""
        return self.words[NR_OFFSET // 4]

    @property
    def tested(self) -> tuple[int, ...]:
        """The arguments, 0 to 5, of which not all values are in it."""
        return tuple(
            arg
            for arg in range(6)
            if any(word is not WORDS for word in self.words[4 + 2 * arg : 6 + 2 * arg])
        )

    def argument(self, arg: int, *, little: bool) -> tuple[WordSet, WordSet]:
        """The sets of the upper and of the lower half of an argument."""
        upper, lower = halves(arg, little=little)
        return self.words[upper], self.words[lower]

    def narrowed(self, index: int, to: WordSet) -> Box | None:
        """What is left if word *index* must be in *to*; ``None`` if nothing is."""
        before = self.words[index]
        found = before & to
        if not found:
            return None
        if found is before:
            return self
        return Box((*self.words[:index], found, *self.words[index + 1 :]))

    def __contains__(self, data: SeccompData) -> bool:
        return all(word in words for word, words in zip(data.words(), self.words, strict=True))

    def witness(self) -> SeccompData:
        """One call of it, with small numbers where any will do."""
        audit = next(
            (arch.audit for arch in _USUAL if arch.audit in self.audit), self.audit.first()
        )
        little = bool(audit & AUDIT_ARCH_LE)
        small = [words.first() for words in self.words]

        def whole(offset: int) -> int:
            one, other = small[offset // 4 : offset // 4 + 2]
            return other << 32 | one if little else one << 32 | other

        args = tuple(whole(ARGS_OFFSET + 8 * arg) for arg in range(6))
        return SeccompData(self.nr.first(), audit, args, whole(IP_OFFSET))


def halves(arg: int, *, little: bool) -> tuple[int, int]:
    """Which words are the upper and the lower half of an argument."""
    first = ARGS_OFFSET // 4 + 2 * arg
    return (first + 1, first) if little else (first, first + 1)


@dataclass(frozen=True, slots=True)
class Region:
    """Calls that a program answers alike.

    Attributes:
        box: The calls; regions of one program do not overlap, and together are all calls.
        action: What the program returns, an unsigned 32-bit number.
    """

    box: Box
    action: int


@dataclass(frozen=True, slots=True)
class Path:
    """One way through a program.

    Attributes:
        box: The calls that take it.
        action: What the program returns.
        executed: The indices of the instructions on it, the return included.
    """

    box: Box
    action: int
    executed: tuple[int, ...]

    @property
    def audit(self) -> WordSet:
        """The audit architectures that take it."""
        return self.box.audit

    @property
    def nr(self) -> WordSet:
        """The numbers that take it, as unsigned words."""
        return self.box.nr

    def witness(self) -> SeccompData:
        """One call that takes it."""
        return self.box.witness()


class _Part(NamedTuple):
    """A word and some of its bits: ``word & mask``."""

    word: int
    mask: int


class _Made(NamedTuple):
    """32 bits, the lowest first, each made of the bits of one word."""

    word: int
    bits: tuple[Bit, ...]


_Value: TypeAlias = int | _Part | _Made
"""What a register can hold: a constant, or something made of one word."""


class _State(NamedTuple):
    """Where a path has come to: what the registers hold, and which calls are here."""

    a: _Value
    x: _Value
    memory: tuple[_Value, ...]
    box: Box


_START: Final = _State(0, 0, (0,) * BPF_MEMWORDS, Box())


def paths(program: Program | Sequence[Instruction]) -> Iterator[Path]:
    """Enumerate all paths that some call takes, depth first, jumps not taken first.

    Raises:
        NotExpressible: The program does what cannot be followed: it multiplies or divides what
            it has loaded, returns it, or compares two words of its input.
        InvalidProgram: The kernel would not take it.
    """
    check_program(program)
    code = program.instructions if isinstance(program, Program) else tuple(program)
    stack: list[tuple[int, _State, tuple[int, ...]]] = [(0, _START, ())]
    while stack:
        pc, state, ran = stack.pop()
        ran = (*ran, pc)
        found = _step(code, pc, state)
        if isinstance(found, int):
            yield Path(state.box, found, ran)
        else:
            stack += [(to, after, ran) for to, after in found]


def regions(program: Program | Sequence[Instruction]) -> list[Region]:
    """Cut the space of all calls into boxes that the program answers alike.

    Raises:
        NotExpressible: As for :func:`paths`.
        InvalidProgram: Likewise.
        FilterTooLarge: There are too many boxes to follow.
    """
    check_program(program)
    code = program.instructions if isinstance(program, Program) else tuple(program)
    waiting: list[list[_State]] = [[] for _ in code]
    waiting[0].append(_START)
    ended: dict[int, list[Box]] = {}
    steps = 0
    for pc in range(len(code)):
        states, waiting[pc] = waiting[pc], []
        for state in _joined(states):
            steps += 1
            if steps > _MOST:
                raise FilterTooLarge(
                    f"the filter tells more than {_MOST} cases apart",
                    hint="simpler conditions on registers, or let the supervisor decide them",
                )
            found = _step(code, pc, state)
            if isinstance(found, int):
                ended.setdefault(found, []).append(state.box)
            else:
                for to, after in found:
                    waiting[to].append(after)
    return [
        Region(state.box, action)
        for action, boxes in ended.items()
        for state in _joined([_START._replace(box=box) for box in boxes])
    ]


def _joined(states: list[_State]) -> list[_State]:
    """The same calls in fewer states: boxes that differ in one word become one."""
    for index in range(16):
        if len(states) < 2:
            break
        if all(state.box.words[index] is WORDS for state in states):
            continue
        groups: dict[tuple[object, ...], list[_State]] = {}
        for state in states:
            words = state.box.words
            key = (state.a, state.x, state.memory, words[:index], words[index + 1 :])
            groups.setdefault(key, []).append(state)
        states = [_union(group, index) for group in groups.values()]
    return states


def _union(states: list[_State], index: int) -> _State:
    first, *rest = states
    if not rest:
        return first
    words = first.box.words[index]
    for state in rest:
        words |= state.box.words[index]
    box = Box((*first.box.words[:index], words, *first.box.words[index + 1 :]))
    return first._replace(box=box)


def _step(code: Sequence[Instruction], pc: int, state: _State) -> int | list[tuple[int, _State]]:
    """What instruction *pc* does: the action that it returns, or where it leads."""
    op, jt, jf, k = code[pc]
    a, x = state.a, state.x
    operand: _Value = x if op & _X else k
    plain = op & ~_X
    if plain in _TESTS:
        sides = _split(state.box, a, plain, operand)
        # The first of the list is followed last.
        ways = ((pc + 1 + jt, sides[0]), (pc + 1 + jf, sides[1]))
        return [(to, state._replace(box=box)) for to, box in ways if box is not None]
    after = state
    if op == Op.LD_ABS:
        after = state._replace(a=_Part(k // 4, FULL))
    elif op == Op.JA:
        return [(pc + 1 + k, state)]
    elif op == Op.RET_K:
        return k
    elif op == Op.RET_A:
        if isinstance(a, int):
            return a
        raise NotExpressible(f"instruction {pc} returns what the program has computed of its input")
    elif plain in _ALU or op == Op.NEG:
        if op == Op.DIV_X and x == 0:
            return 0
        after = state._replace(a=_compute(a, op, operand, pc))
    elif op in (Op.LD_IMM, Op.LD_LEN):
        after = state._replace(a=k if op == Op.LD_IMM else _DATA_SIZE)
    elif op in (Op.LDX_IMM, Op.LDX_LEN):
        after = state._replace(x=k if op == Op.LDX_IMM else _DATA_SIZE)
    elif op == Op.TAX:
        after = state._replace(x=a)
    elif op == Op.TXA:
        after = state._replace(a=x)
    elif op in (Op.LD_MEM, Op.LDX_MEM, Op.ST, Op.STX):
        if op == Op.LD_MEM:
            after = state._replace(a=state.memory[k])
        elif op == Op.LDX_MEM:
            after = state._replace(x=state.memory[k])
        else:
            stored = a if op == Op.ST else x
            after = state._replace(memory=(*state.memory[:k], stored, *state.memory[k + 1 :]))
    else:
        raise AssertionError(code[pc])  # the check has refused it
    return [(pc + 1, after)]


_TESTS: Final = frozenset(map(int, (Op.JEQ_K, Op.JGT_K, Op.JGE_K, Op.JSET_K)))


def _split(box: Box, a: _Value, op: int, operand: _Value) -> tuple[Box | None, Box | None]:
    """The calls of *box* for which a test holds, and those for which it does not."""
    if isinstance(a, _Part) and isinstance(operand, int):
        index, (yes, no) = a.word, _sides(a.mask, op, operand)
    else:
        index = _source(a, operand)
        holds = _compared(_bits(a), op, _bits(operand))
        yes, no = set_of(holds), set_of(where(holds, False, True))
    return box.narrowed(index, yes), box.narrowed(index, no)


@lru_cache(maxsize=8192)
def _sides(mask: int, op: int, k: int) -> tuple[WordSet, WordSet]:
    if op == Op.JEQ_K:
        yes = masked(mask, k, k)
    elif op == Op.JGT_K:
        yes = masked(mask, k + 1, FULL)
    elif op == Op.JGE_K:
        yes = masked(mask, k, FULL)
    else:
        yes = masked(mask & k, 1, FULL) if mask & k else EMPTY
    return yes, ~yes


def _source(*values: _Value) -> int:
    """The one word that *values* are made of."""
    found = {value.word for value in values if not isinstance(value, int)}
    if len(found) > 1:
        raise NotExpressible("the program compares or combines two words of its input")
    return found.pop() if found else 0


def _bits(value: _Value) -> tuple[Bit, ...]:
    match value:
        case _Made(_, bits):
            return bits
        case _Part(_, mask):
            return tuple(bit(at) if mask >> at & 1 else False for at in range(32))
        case _:
            return tuple(bool(value >> at & 1) for at in range(32))


def _compared(a: Sequence[Bit], op: int, b: Sequence[Bit]) -> Bit:
    """The words for which a comparison of two computed values holds."""
    found: Bit = op in (Op.JEQ_K, Op.JGE_K)
    for one, other in zip(a, b, strict=True):  # from the lowest bit on
        if op == Op.JSET_K:
            found = where(found, True, both(one, other))
        elif op == Op.JEQ_K:
            found = where(differ(one, other), False, found)
        else:
            found = where(differ(one, other), one, found)
    return found


_Bitwise: TypeAlias = Callable[[Bit, Bit], Bit]
_BITWISE: Final[dict[int, _Bitwise]] = {
    Op.AND_K: both,
    Op.OR_K: lambda one, other: where(one, True, other),
    Op.XOR_K: differ,
}
_ALU: Final = frozenset(
    map(
        int,
        (
            *_BITWISE,
            *(Op.ADD_K, Op.SUB_K, Op.MUL_K, Op.DIV_K, Op.LSH_K, Op.RSH_K),
        ),
    )
)
_CONSTANTS: Final[dict[int, Callable[[int, int], int]]] = {
    Op.ADD_K: lambda a, b: a + b,
    Op.SUB_K: lambda a, b: a - b,
    Op.MUL_K: lambda a, b: a * b,
    Op.DIV_K: lambda a, b: a // b if b else 0,
    Op.OR_K: lambda a, b: a | b,
    Op.AND_K: lambda a, b: a & b,
    Op.XOR_K: lambda a, b: a ^ b,
    Op.LSH_K: lambda a, b: a << (b & 31),
    Op.RSH_K: lambda a, b: a >> (b & 31),
}


def _compute(a: _Value, op: int, operand: _Value, pc: int) -> _Value:
    """What A holds after an arithmetic instruction."""
    plain = op & ~_X
    if op == Op.NEG:
        a, operand, plain = 0, a, int(Op.SUB_K)
    if isinstance(a, int) and isinstance(operand, int):
        return _CONSTANTS[plain](a, operand) & FULL
    if plain == Op.AND_K and isinstance(a, _Part) and isinstance(operand, int):
        return _Part(a.word, a.mask & operand) if a.mask & operand else 0
    index = _source(a, operand)
    one, other = _bits(a), _bits(operand)
    if plain in _BITWISE:
        bits = [_BITWISE[plain](*pair) for pair in zip(one, other, strict=True)]
    elif plain in (Op.ADD_K, Op.SUB_K):
        bits = _sum(one, other, minus=plain == Op.SUB_K)
    elif plain in (Op.LSH_K, Op.RSH_K) and isinstance(operand, int):
        by = operand & 31
        fill = [False] * by
        bits = [*fill, *one[: 32 - by]] if plain == Op.LSH_K else [*one[by:], *fill]
    elif plain in (Op.LSH_K, Op.RSH_K) and isinstance(a, int):
        bits = _shifted(a, other[:5], plain)
    else:
        raise NotExpressible(f"instruction {pc} computes what cannot be followed symbolically")
    return _Made(index, tuple(bits))


def _sum(one: Sequence[Bit], other: Sequence[Bit], *, minus: bool) -> list[Bit]:
    carry: Bit = minus
    bits = []
    for left, right in zip(one, other, strict=True):
        if minus:
            right = where(right, False, True)
        unequal = differ(left, right)
        bits.append(differ(unequal, carry))
        carry = where(unequal, carry, left)
    return bits


def _shifted(number: int, count: Sequence[Bit], op: int) -> list[Bit]:
    """A constant, shifted by a count of five bits."""
    bits: list[Bit] = [False] * 32
    for by in range(32):
        chosen: Bit = True
        for at, part in enumerate(count):
            chosen = both(chosen, part if by >> at & 1 else where(part, False, True))
        moved = _CONSTANTS[op](number, by) & FULL
        bits = [where(chosen, bool(moved >> at & 1), old) for at, old in enumerate(bits)]
    return bits
