"""A proof that goes through a program and what it was compiled from side by side.

Theory of operation. `unotify.bpf.prover` cuts all calls into boxes, and of conditions on bits of
several arguments there can be exponentially many. Here what the program has to answer is a graph
too, of atoms, each with a way for yes and one for no. A *state* is a place in the program together
with a place in that graph: what is left to run, and what is left to ask. Which calls are in it is
kept as one box that holds them all, perhaps with others. If the program, from there on, answers
each call of that box as the rest of the graph does, then it does so for those that really get
there; so a proof is a proof. A box that holds too many calls can only make one fail.

A state is left by a test of the program. What that has found out decides atoms, and the place in
the graph moves on. Alternatives that were all found wrong, for whatever reasons, have the same rest
of the program and of the graph, so they are one state: it takes as many as there are alternatives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from unotify.bpf.expressions import Always, And, Compare, In, Never, Not, Or, RegisterPredicate
from unotify.bpf.instructions import NR_OFFSET, Program
from unotify.bpf.prover import by_audit, by_number, parts, truth
from unotify.bpf.simulator import AUDIT_ARCH_LE
from unotify.bpf.symbolic import START, Box, State, step

__all__ = ["Place", "Reference", "Rest", "follows"]

Place: TypeAlias = int
"""The index of a node of a `Reference`."""

_MOST: Final = 50_000
"""Most states for one number."""


class _Ask(NamedTuple):
    atom: Compare | In
    bits: int
    yes: Place
    no: Place


class Reference:
    """What a program has to answer: a graph of atoms that ends in actions.

    It is made from the ends to the start, and equal nodes are one.
    """

    def __init__(self) -> None:
        self._nodes: list[_Ask | int] = []
        self._known: dict[_Ask | int, Place] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def end(self, action: int) -> Place:
        """Where *action* is the answer."""
        return self._add(action)

    def ask(self, predicate: RegisterPredicate, bits: int, yes: Place, no: Place) -> Place:
        """Where it goes to *yes* or *no* as *predicate* says.

        Args:
            predicate: What to ask.
            bits: The register width of the ABI.
            yes: Where to go if it holds.
            no: Where to go else.
        """
        match predicate:
            case Always():
                return yes
            case Never():
                return no
            case Not(term):
                return self.ask(term, bits, no, yes)
            case And(terms):
                for term in reversed(terms):
                    yes = self.ask(term, bits, yes, no)
                return yes
            case Or(terms):
                for term in reversed(terms):
                    no = self.ask(term, bits, yes, no)
                return no
            case Compare() | In():
                return yes if yes == no else self._add(_Ask(predicate, bits, yes, no))

    def _add(self, node: _Ask | int) -> Place:
        if node not in self._known:
            self._known[node] = len(self._nodes)
            self._nodes.append(node)
        return self._known[node]

    def past(self, place: Place, box: Box, *, little: bool) -> Place:
        """The first place from *place* on that *box* does not decide."""
        while isinstance(node := self._nodes[place], _Ask):
            found = truth(node.atom, node.bits, box, little=little)
            if found is None:
                break
            place = node.yes if found else node.no
        return place

    def is_end(self, place: Place, box: Box, action: int, *, little: bool) -> bool:
        """Whether all calls of *box* get *action* from *place* on."""
        boxes = {place: box}
        while boxes:
            # What a node leads to was made before it.
            at = max(boxes)
            box = boxes.pop(at)
            node = self._nodes[at]
            if not isinstance(node, _Ask):
                if node != action:
                    return False
                continue
            for value, to in ((True, node.yes), (False, node.no)):
                for part in parts(node.atom, node.bits, box, value, little=little):
                    boxes[to] = boxes[to].hull(part) if to in boxes else part
        return True


Rest: TypeAlias = Callable[[Reference, int, int], Place]
"""Adds to a reference what a number of an audit architecture gets; returns where that begins."""


def follows(program: Program, rest: Rest, cuts: Mapping[int, Sequence[int]]) -> bool:
    """Whether *program* is shown to answer every call as *rest* says; if not, it may still do so.

    Args:
        program: What was compiled.
        rest: What it was compiled from.
        cuts: As for `unotify.bpf.prover.prove`.
    """
    for audit, box in by_audit(Box(), cuts):
        little = bool(audit & AUDIT_ARCH_LE)
        for nr, numbers in by_number(box, cuts.get(audit, (0,))):
            one = box.narrowed(NR_OFFSET // 4, numbers)
            assert one is not None
            reference = Reference()
            if not _number_follows(program, reference, rest(reference, audit, nr), one, little):
                return False
    return True


def _number_follows(
    program: Program, reference: Reference, place: Place, box: Box, little: bool
) -> bool:
    code = program.instructions
    waiting: list[dict[tuple[State, Place], Box]] = [{} for _ in code]
    # The box is kept beside the state, so that states differ by registers alone.
    waiting[0][START, reference.past(place, box, little=little)] = box
    left = _MOST
    for pc in range(len(code)):
        for (state, at), here in waiting[pc].items():
            left -= 1
            found = step(code, pc, state._replace(box=here))
            if isinstance(found, int):
                if not reference.is_end(at, here, found, little=little):
                    return False
                continue
            for to, after in found:
                key = START._replace(a=after.a, x=after.x, memory=after.memory)
                onward = at if after.box is here else reference.past(at, after.box, little=little)
                before = waiting[to].get((key, onward))
                waiting[to][key, onward] = after.box if before is None else before.hull(after.box)
        waiting[pc] = {}
        if left < 0:
            return False
    return True
