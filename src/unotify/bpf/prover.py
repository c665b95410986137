"""The proof that a program is the policy that it was compiled from.

Theory of operation. The program is cut into boxes of calls that it answers alike
(:func:`unotify.bpf.symbolic.regions`); together these are all calls that there can
be. The policy is plain code that answers one call, and asks about registers by
*atoms*: one comparison, or one membership. For each box, and each range of numbers
in it that the policy does not tell apart, this code is run with a box in place of
registers. An atom that is the same for the whole box has an answer. Where it is
not, and no other atom decides, the box is cut in two at this atom, and the code is run
again for either half. So each call is looked at, none is guessed, and a difference comes
with a call that shows it.

Nothing here is shared with the compiler: what an atom means is worked out anew from
its definition in `unotify.bpf.expressions`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from unotify.bpf.expressions import (
    Always,
    And,
    Compare,
    CompareOp,
    In,
    Never,
    Not,
    Or,
    RegisterPredicate,
    as_signed,
    effective_width,
    wrapped,
)
from unotify.bpf.instructions import ARCH_OFFSET, NR_OFFSET, Instruction, Program
from unotify.bpf.simulator import AUDIT_ARCH_LE, SeccompData
from unotify.bpf.symbolic import Box, halves, regions
from unotify.bpf.wordsets import EMPTY, FULL, WORDS, WordSet, masked, span
from unotify.errors import Error, FilterTooLarge

__all__ = ["Ask", "Decide", "ProofFailed", "Undecided", "answer", "prove"]

Ask: TypeAlias = Callable[[Compare | In, int], bool]
"""Answers an atom, given the register width of the ABI."""

Decide: TypeAlias = Callable[[int, int, Ask], int]
"""A policy: the action for an audit architecture, an unsigned number, and what can be asked."""

_MOST: Final = 20_000
"""Most times to cut a box at an atom: a container's profile takes a few dozen."""

_REGIONS_PER_CUT: Final = 5


class ProofFailed(Error, AssertionError):
    """A compiled program is not its policy: a fault of this package; nothing was loaded.

    Attributes:
        data: A call that shows it.
        found: What the program returns for it.
        expected: What the policy says.
    """

    hint = "this is a bug in unotify: please report it with the policy"

    def __init__(self, data: SeccompData, found: int, expected: int) -> None:
        args = ", ".join(f"{arg:#x}" for arg in data.args)
        super().__init__(
            f"the compiled filter returns {found:#010x} where the policy says {expected:#010x}: "
            f"architecture {data.arch:#x}, number {data.nr:#x}, arguments {args}"
        )
        self.data, self.found, self.expected = data, found, expected


class Undecided(Exception):
    """The box does not determine this atom: raised by what is asked, and let through.

    Who knows the answer by other atoms need not: one false term makes a conjunction
    false, whatever the others are.
    """

    def __init__(self, atom: Compare | In, bits: int) -> None:
        self.atom, self.bits = atom, bits


def prove(
    program: Program | Sequence[Instruction],
    decide: Decide,
    cuts: Mapping[int, Sequence[int]],
    *,
    most: int | None = None,
) -> None:
    """Show that *program* answers every call as *decide* does.

    Args:
        program: What was compiled.
        decide: What it was compiled from. It is plain code, is called many times, and lets
            through `Undecided`, which *ask* raises, unless other atoms decide.
        cuts: For each audit architecture that it knows, ascending from 0, where ranges of
            numbers start that it does not tell apart. It answers all calls of all other
            architectures alike.
        most: How often to cut a box at an atom, and how many boxes to follow for each;
            ``None``: 20000 times.

    Raises:
        ProofFailed: They differ; with a call that shows it.
        NotExpressible: *program* cannot be followed, or an atom has no meaning on an ABI.
        InvalidProgram: The kernel would not take *program*.
        FilterTooLarge: There are too many cases to compare.
    """
    most = left = _MOST if most is None else most
    for region in regions(program, most=_REGIONS_PER_CUT * most):
        for audit, box in by_audit(region.box, cuts):
            whole = _Asked(box, little=bool(audit & AUDIT_ARCH_LE))
            for nr, part in by_number(box, cuts.get(audit, (0,))):
                stack = [whole]
                while stack:
                    asked = stack.pop()
                    try:
                        expected = decide(audit, nr, asked)
                    except Undecided as cut:
                        stack += asked.split(cut.atom, cut.bits)
                        left -= 1
                        if left < 0:
                            raise FilterTooLarge(
                                f"the filter's proof takes more than {most} cases",
                                hint="simpler conditions on registers, or let the supervisor "
                                "decide them",
                            ) from None
                        continue
                    if expected != region.action:
                        shown = asked.box.narrowed(NR_OFFSET // 4, part)
                        assert shown is not None
                        raise ProofFailed(shown.witness(), region.action, expected)


def by_audit(box: Box, cuts: Mapping[int, Sequence[int]]) -> Iterator[tuple[int, Box]]:
    """The parts of *box* by architecture; all that the policy does not know are one part."""
    others = box.audit
    for audit in cuts:
        if audit in others:
            one = span([(audit, audit)])
            part = box.narrowed(ARCH_OFFSET // 4, one)
            assert part is not None
            yield audit, part
            others &= ~one
    if others:
        part = box.narrowed(ARCH_OFFSET // 4, others)
        assert part is not None
        yield others.first(), part


def by_number(box: Box, starts: Sequence[int]) -> Iterator[tuple[int, WordSet]]:
    """One number of each range that *box* has a part in, and the range."""
    if box.nr.ranges is None:
        for at, start in enumerate(starts):
            part = span([_range(starts, at)])
            if box.nr & part:
                yield start, part
        return
    done = -1
    for first, last in box.nr.ranges:
        at = max(done + 1, bisect_right(starts, first) - 1)
        while at < len(starts) and starts[at] <= last:
            yield starts[at], span([_range(starts, at)])
            done = at
            at += 1


def _range(starts: Sequence[int], at: int) -> tuple[int, int]:
    return starts[at], starts[at + 1] - 1 if at + 1 < len(starts) else FULL


def truth(atom: Compare | In, bits: int, box: Box, *, little: bool) -> bool | None:
    """What *atom* is for all calls of *box*; ``None`` if that differs."""
    upper, lower = box.argument(atom.arg, little=little)
    meets = [cell for cell in _cells(atom, bits) if upper & cell[0]]
    holds = any(lower & accepted for _, accepted in meets)
    if holds and not all(lower <= accepted for _, accepted in meets):
        return None
    return holds


def parts(atom: Compare | In, bits: int, box: Box, value: bool, *, little: bool) -> Iterator[Box]:
    """Boxes that are together the calls of *box* for which *atom* has *value*."""
    upper, lower = halves(atom.arg, little=little)
    for high, accepted in _cells(atom, bits):
        part = box.narrowed(upper, high)
        found = part and part.narrowed(lower, accepted if value else ~accepted)
        if found:
            yield found


class _Asked:
    """Answers atoms for all calls of a box at once."""

    __slots__ = ("_known", "_little", "box")

    def __init__(self, box: Box, *, little: bool) -> None:
        self.box = box
        self._little = little
        self._known: dict[tuple[Compare | In, int], bool] = {}

    def __call__(self, atom: Compare | In, bits: int) -> bool:
        found = self._known.get((atom, bits))
        if found is None:
            found = truth(atom, bits, self.box, little=self._little)
            if found is None:
                raise Undecided(atom, bits)
            self._known[atom, bits] = found
        return found

    def split(self, atom: Compare | In, bits: int) -> Iterator[_Asked]:
        """Boxes that are this one together, in each of which *atom* has an answer."""
        for value in (True, False):
            for box in parts(atom, bits, self.box, value, little=self._little):
                yield self._within(box)

    def supposing(self, atom: Compare | In, bits: int, value: bool) -> _Asked | None:
        """Calls for which *atom* has *value*, if they are one box, else all; ``None``: none."""
        boxes = list(parts(atom, bits, self.box, value, little=self._little))
        if not boxes:
            return None
        return self._within(boxes[0]) if len(boxes) == 1 else self

    def _within(self, box: Box) -> _Asked:
        asked = _Asked(box, little=self._little)
        asked._known.update(self._known)  # true of all is true of some
        return asked


def answer(predicate: RegisterPredicate, ask: Ask, bits: int) -> bool:
    """Decide *predicate* by asking about its atoms.

    Args:
        predicate: What to decide.
        ask: Answers an atom.
        bits: The register width of the ABI.
    """
    match predicate:
        case Always():
            return True
        case Never():
            return False
        case Not(term):
            return not answer(term, ask, bits)
        case And(terms) | Or(terms):
            decisive = isinstance(predicate, Or)
            undecided: Undecided | None = None
            for term in terms:
                try:
                    if answer(term, ask, bits) is decisive:
                        return decisive
                except Undecided as error:
                    undecided = undecided or error
                    # If this one decides, all is decided alike; else it is known for the others.
                    supposed = _supposing(ask, term, bits, not decisive)
                    if supposed is None:
                        return decisive
                    ask = supposed
            if undecided is not None:
                raise undecided
            return not decisive
        case Compare() | In():
            return ask(predicate, bits)


def _supposing(ask: Ask, term: RegisterPredicate, bits: int, value: bool) -> Ask | None:
    """*ask* of calls for which *term* has *value*, or of more; ``None``: there are none."""
    match term:
        case Not(inner):
            return _supposing(ask, inner, bits, not value)
        case Compare() | In() if isinstance(ask, _Asked):
            return ask.supposing(term, bits, value)
        case And(terms) | Or(terms) if value is isinstance(term, And):
            supposed: Ask | None = ask
            for inner in terms:
                if supposed is not None:
                    supposed = _supposing(supposed, inner, bits, value)
            return supposed
    return ask


@lru_cache(maxsize=4096)
def _cells(atom: Compare | In, bits: int) -> tuple[tuple[WordSet, WordSet], ...]:
    """Where *atom* holds: sets of upper halves, and for each the lower halves that pass.

    The upper sets do not overlap and are all words together.
    """
    width = effective_width(atom.bits, bits)
    mask = (-1 if atom.mask is None else atom.mask) & ((1 << width) - 1)
    passing = _passing(atom, width)
    low_mask, high_mask = mask & FULL, mask >> 32
    if width == 32:
        return ((WORDS, _words(low_mask, passing)),)
    # Only at these upper halves does the lower one matter.
    critical = sorted({0, *(end >> 32 for ends in passing for end in ends)})
    cells: dict[WordSet, WordSet] = {}

    def cell(first: int, last: int, passes: WordSet) -> None:
        cells[passes] = cells.get(passes, EMPTY) | masked(high_mask, first, last)

    for at, high in enumerate(critical):
        inside = [
            (max(first, high << 32) & FULL, min(last, high << 32 | FULL) & FULL)
            for first, last in passing
            if first >> 32 <= high <= last >> 32
        ]
        cell(high, high, _words(low_mask, inside))
        behind = critical[at + 1] - 1 if at + 1 < len(critical) else FULL
        if high < behind:
            around = any(first >> 32 <= high < last >> 32 for first, last in passing)
            cell(high + 1, behind, WORDS if around else EMPTY)
    return tuple((upper, passes) for passes, upper in cells.items() if upper)


def _passing(atom: Compare | In, width: int) -> list[tuple[int, int]]:
    """The masked numbers that pass: first and last of ranges, within the width."""
    top = (1 << width) - 1
    if isinstance(atom, In):
        numbers = sorted({wrapped(value, width) for value in atom.values})
        return [(number, number) for number in numbers if number <= top]
    if not atom.signed:
        return _ordered(atom.op, wrapped(atom.value, width), 0, top)
    # What is below zero as a signed number lies above all others as an unsigned one.
    value = as_signed(atom.value, atom.bits or 64)
    half = 1 << (width - 1)
    below = _ordered(atom.op, value, -half, -1)
    return [
        *_ordered(atom.op, value, 0, half - 1),
        *((first + 2 * half, last + 2 * half) for first, last in below),
    ]


def _ordered(op: CompareOp, value: int, least: int, most: int) -> list[tuple[int, int]]:
    """The numbers from *least* to *most* that compare with *value* as *op* says."""
    found = {
        CompareOp.EQ: [(value, value)],
        CompareOp.NE: [(least, value - 1), (value + 1, most)],
        CompareOp.LT: [(least, value - 1)],
        CompareOp.LE: [(least, value)],
        CompareOp.GT: [(value + 1, most)],
        CompareOp.GE: [(value, most)],
    }[op]
    inside = [(max(first, least), min(last, most)) for first, last in found]
    return [(first, last) for first, last in inside if first <= last]


def _words(mask: int, ranges: Sequence[tuple[int, int]]) -> WordSet:
    if mask == FULL:
        return span(ranges)
    found = span([])
    for first, last in ranges:
        found |= masked(mask, first, last)
    return found
