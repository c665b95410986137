"""Decision graphs, and their way into a row of instructions.

Theory of operation. A filter is a graph without cycles. Its inner nodes are
*tests*: load a word of ``seccomp_data``, perhaps mask it, compare it with a
constant, go one of two ways. Its ends are *returns*. A test names its word
itself and does not rely on what the accumulator holds, so nodes are immutable
values, and equal nodes are one node (hash-consing): common tails are shared,
also between calls and between architectures.

A node is made after the two that it leads to, so the order of making is also an
order in which code can be emitted backwards: jumps go forward only, and the
targets of each stand already. Before that, one pass from the start finds out how
each test is entered. Where the accumulator already holds its word, the jump goes
behind the load; so reloads disappear without a look at any path:

    entry LOAD:  A = word       nothing useful in A
    entry MASK:  A &= mask      A holds the word
    entry JUMP:  if A ...       A holds the masked word

A conditional jump reaches 255 instructions. What is further away gets a
trampoline right behind the jump: a copy if it is a return, else an unconditional
jump, which has no such limit. Later jumps use the nearest one.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from unotify.bpf.instructions import Instruction, Op, and_, ja, ld_abs, ret

__all__ = ["Graph", "Node", "Test"]

Node: TypeAlias = int
"""The index of a node in its graph."""

_Label: TypeAlias = tuple[Node, int]
"""A node and the way it is entered."""

_FULL: Final = 0xFFFFFFFF
_REACH: Final = 255

# How a test is entered; see above.
_JUMP, _MASK, _LOAD = range(3)


class Test(NamedTuple):
    """Load the word at `offset`, keep the bits of `mask`, compare with `k`, go one of two ways."""

    offset: int
    mask: int
    op: Op
    k: int
    yes: Node
    no: Node


def _is_top(mask: int) -> bool:
    """Whether it is the highest bits, without a gap."""
    return mask + (mask & -mask) == 1 << 32


class Graph:
    """Nodes of one filter; made from the ends towards the start."""

    def __init__(self) -> None:
        self._nodes: list[Test | int] = []
        self._known: dict[Test | int, Node] = {}

    def ret(self, action: int) -> Node:
        """The end that returns *action*, an unsigned 32-bit number."""
        return self._add(action)

    def equal(self, offset: int, mask: int, k: int, yes: Node, no: Node) -> Node:
        """Whether the word at *offset*, masked, is *k*."""
        if k & ~mask:
            return no
        if mask == k and mask.bit_count() == 1:
            return self.test(offset, _FULL, Op.JSET_K, mask, yes, no)
        if k == 0 and mask != _FULL:
            return self.test(offset, _FULL, Op.JSET_K, mask, no, yes)
        if mask == k != _FULL and _is_top(mask):
            return self.test(offset, _FULL, Op.JGE_K, mask, yes, no)
        return self.test(offset, mask, Op.JEQ_K, k, yes, no)

    def at_least(self, offset: int, mask: int, k: int, yes: Node, no: Node) -> Node:
        """Whether the word at *offset*, masked, is *k* or more, unsigned."""
        if k > mask:
            return no
        if k == 1:
            return self.equal(offset, mask, 0, no, yes)
        if k == mask:
            return self.equal(offset, mask, mask, yes, no)
        if mask != _FULL and k == 1 << (mask.bit_length() - 1):
            return self.test(offset, _FULL, Op.JSET_K, k, yes, no)
        if mask != _FULL and _is_top(mask):
            # What the mask cuts off never makes a number larger than the next one.
            lowest = mask & -mask
            return self.test(offset, _FULL, Op.JGE_K, -(-k // lowest) * lowest, yes, no)
        return self.test(offset, mask, Op.JGE_K, k, yes, no)

    def test(self, offset: int, mask: int, op: Op, k: int, yes: Node, no: Node) -> Node:
        """The test itself, in no better form than it is given."""
        return yes if yes == no else self._add(Test(offset, mask, op, k, yes, no))

    def node(self, index: Node) -> Test | int:
        """What a node is: a test, or the action of a return."""
        return self._nodes[index]

    def _add(self, node: Test | int) -> Node:
        index = self._known.get(node)
        if index is None:
            index = self._known[node] = len(self._nodes)
            self._nodes.append(node)
        return index

    def weight(self, start: Node) -> int:
        """About how many instructions *start* and all behind it need, trampolines apart."""
        seen: set[Node] = set()
        stack = [start]
        total = 0
        while stack:
            index = stack.pop()
            if index in seen:
                continue
            seen.add(index)
            node = self._nodes[index]
            if isinstance(node, int):
                total += 1
            else:
                total += 2 if node.mask == _FULL else 3
                stack += (node.yes, node.no)
        return total

    def emit(self, start: Node) -> tuple[Instruction, ...]:
        """The program that begins at *start*."""
        row = _Row()
        for index, entries in enumerate(self._entries(start)):
            node = self._nodes[index]
            if not entries:
                continue
            if isinstance(node, int):
                row.add_return(index, node)
                continue
            held = (node.offset, node.mask)
            yes, no = self._entry(node.yes, held), self._entry(node.no, held)
            row.add_jump((index, _JUMP), node.op, node.k, yes, no)
            if node.mask != _FULL and entries != {_JUMP}:
                row.add((index, _MASK), and_(node.mask))
            if _LOAD in entries:
                row.add((index, _LOAD), ld_abs(node.offset))
        return row.forwards()

    def _entries(self, start: Node) -> list[set[int]]:
        """How each node up to *start* is entered; nothing if it is not reached."""
        entries: list[set[int]] = [set() for _ in range(start + 1)]
        entries[start].add(self._entry(start, None)[1])
        for index in range(start, -1, -1):
            node = self._nodes[index]
            if entries[index] and not isinstance(node, int):
                for to in (node.yes, node.no):
                    entries[to].add(self._entry(to, (node.offset, node.mask))[1])
        return entries

    def _entry(self, to: Node, held: tuple[int, int] | None) -> _Label:
        """Where to enter *to* while A holds (offset, mask)."""
        node = self._nodes[to]
        if isinstance(node, int) or held == (node.offset, node.mask):
            return to, _JUMP
        return to, _MASK if held == (node.offset, _FULL) else _LOAD


class _Row:
    """Instructions, the last one first, and where labels stand among them."""

    def __init__(self) -> None:
        self._row: list[Instruction] = []
        self._home: dict[_Label, int] = {}
        self._nearest: dict[_Label, int] = {}  # the label itself or its last trampoline
        self._returns: dict[_Label, int] = {}

    def forwards(self) -> tuple[Instruction, ...]:
        return tuple(reversed(self._row))

    def add(self, label: _Label, instruction: Instruction) -> None:
        self._home[label] = self._nearest[label] = len(self._row)
        self._row.append(instruction)

    def add_return(self, node: Node, action: int) -> None:
        self._returns[node, _JUMP] = action
        self.add((node, _JUMP), ret(action))

    def add_jump(self, label: _Label, op: Op, k: int, yes: _Label, no: _Label) -> None:
        # A trampoline for `no` would push `yes` one further away.
        self._bring(yes, _REACH - (self._distance(self._nearest[no]) > _REACH))
        self._bring(no, _REACH)
        jt, jf = (self._distance(self._nearest[to]) for to in (yes, no))
        self.add(label, Instruction(op, jt, jf, k))

    def _distance(self, position: int) -> int:
        """How many instructions the next one to be added skips to get to *position*."""
        return len(self._row) - position - 1

    def _bring(self, label: _Label, reach: int) -> None:
        """See to it that the next instruction can jump to *label*."""
        if self._distance(self._nearest[label]) > reach:
            if label in self._returns:
                trampoline = ret(self._returns[label])
            else:
                trampoline = ja(self._distance(self._home[label]))
            self._nearest[label] = len(self._row)
            self._row.append(trampoline)
