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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from unotify.abi.arch import Arch
from unotify.bpf.arithmetic import OPERAND_X, Part, Value, compute, is_arithmetic, is_test, sides
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
from unotify.bpf.wordsets import FULL, WORDS, WordSet
from unotify.errors import FilterTooLarge, NotExpressible

__all__ = ["START", "Box", "Path", "Region", "State", "halves", "paths", "regions", "step"]

_DATA_SIZE: Final = 64
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

    def hull(self, other: Box) -> Box:
        """A box that holds both, and perhaps more."""
        if self.words == other.words:
            return self
        pairs = zip(self.words, other.words, strict=True)
        return Box(tuple(one if one is another else one | another for one, another in pairs))

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


class State(NamedTuple):
    """Where a path has come to: what the registers hold, and which calls are here."""

    a: Value
    x: Value
    memory: tuple[Value, ...]
    box: Box


START: Final = State(0, 0, (0,) * BPF_MEMWORDS, Box())
"""Where each program begins, with all calls."""


def paths(program: Program | Sequence[Instruction]) -> Iterator[Path]:
    """Enumerate all paths that some call takes, depth first, jumps not taken first.

    Raises:
        NotExpressible: The program does what cannot be followed: it multiplies or divides what
            it has loaded, returns it, or compares two words of its input.
        InvalidProgram: The kernel would not take it.
    """
    check_program(program)
    code = program.instructions if isinstance(program, Program) else tuple(program)
    stack: list[tuple[int, State, tuple[int, ...]]] = [(0, START, ())]
    while stack:
        pc, state, ran = stack.pop()
        ran = (*ran, pc)
        found = step(code, pc, state)
        if isinstance(found, int):
            yield Path(state.box, found, ran)
        else:
            stack += [(to, after, ran) for to, after in found]


def regions(program: Program | Sequence[Instruction], *, most: int | None = None) -> list[Region]:
    """Cut the space of all calls into boxes that the program answers alike.

    Args:
        program: The program.
        most: How many boxes to follow; ``None``: 100000.

    Raises:
        NotExpressible: As for :func:`paths`.
        InvalidProgram: Likewise.
        FilterTooLarge: There are too many boxes to follow.
    """
    check_program(program)
    code = program.instructions if isinstance(program, Program) else tuple(program)
    waiting: list[list[State]] = [[] for _ in code]
    waiting[0].append(START)
    ended: dict[int, list[Box]] = {}
    most = _MOST if most is None else most
    steps = 0
    for pc in range(len(code)):
        states, waiting[pc] = waiting[pc], []
        for state in _joined(states):
            steps += 1
            if steps > most:
                raise FilterTooLarge(
                    f"the filter tells more than {most} cases apart",
                    hint="simpler conditions on registers, or let the supervisor decide them",
                )
            found = step(code, pc, state)
            if isinstance(found, int):
                ended.setdefault(found, []).append(state.box)
            else:
                for to, after in found:
                    waiting[to].append(after)
    return [
        Region(state.box, action)
        for action, boxes in ended.items()
        for state in _joined([START._replace(box=box) for box in boxes])
    ]


def _joined(states: list[State]) -> list[State]:
    """The same calls in fewer states: boxes that differ in one word become one."""
    for index in range(16):
        if len(states) < 2:
            break
        if all(state.box.words[index] is WORDS for state in states):
            continue
        groups: dict[tuple[object, ...], list[State]] = {}
        for state in states:
            words = state.box.words
            key = (state.a, state.x, state.memory, words[:index], words[index + 1 :])
            groups.setdefault(key, []).append(state)
        states = [_union(group, index) for group in groups.values()]
    return states


def _union(states: list[State], index: int) -> State:
    first, *rest = states
    if not rest:
        return first
    words = first.box.words[index]
    for state in rest:
        words |= state.box.words[index]
    box = Box((*first.box.words[:index], words, *first.box.words[index + 1 :]))
    return first._replace(box=box)


def step(code: Sequence[Instruction], pc: int, state: State) -> int | list[tuple[int, State]]:
    """What instruction *pc* does: the action that it returns, or where it leads."""
    op, jt, jf, k = code[pc]
    a, x = state.a, state.x
    operand: Value = x if op & OPERAND_X else k
    if is_test(op):
        index, yes, no = sides(a, op, operand)
        # The first of the list is followed last.
        ways = (
            (pc + 1 + jt, state.box.narrowed(index, yes)),
            (pc + 1 + jf, state.box.narrowed(index, no)),
        )
        return [(to, state._replace(box=box)) for to, box in ways if box is not None]
    after = state
    if op == Op.LD_ABS:
        after = state._replace(a=Part(k // 4, FULL))
    elif op == Op.JA:
        return [(pc + 1 + k, state)]
    elif op == Op.RET_K:
        return k
    elif op == Op.RET_A:
        if isinstance(a, int):
            return a
        raise NotExpressible(f"instruction {pc} returns what the program has computed of its input")
    elif is_arithmetic(op):
        if op == Op.DIV_X and x == 0:
            return 0
        after = state._replace(a=compute(a, op, operand))
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
