"""Leave out what the tests above have found out already.

One pass from the start towards the ends keeps for each node what is known about the
argument words wherever it is entered from. A way into a test that is decided on it is
led past the test, and on to the next one that is not. Nothing is copied, so code
that is shared stays shared, and no way becomes longer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeAlias

from unotify.bpf.codegen import Graph, Node, Test
from unotify.bpf.instructions import ARGS_OFFSET, Op
from unotify.bpf.wordsets import FULL, WORDS, WordSet, masked

__all__ = ["prune"]

_Facts: TypeAlias = dict[int, WordSet]
"""By offset, what a word can be."""

_ROUNDS: Final = 4


def prune(graph: Graph, start: Node) -> tuple[Graph, Node]:
    """A graph that decides the same with fewer tests, and its start."""
    for _ in range(_ROUNDS):
        ways = _ways(graph, start)
        if not any((node.yes, node.no) != ways[at] for at, node in _tests(graph, ways)):
            break
        graph, start = _rebuilt(graph, start, ways)
    return graph, start


def _tests(graph: Graph, ways: dict[Node, tuple[Node, Node]]) -> list[tuple[Node, Test]]:
    return [(at, node) for at in ways if isinstance(node := graph.node(at), Test)]


def _ways(graph: Graph, start: Node) -> dict[Node, tuple[Node, Node]]:
    """Where each test that is reached shall lead."""
    found: dict[Node, tuple[Node, Node]] = {}
    facts: dict[Node, _Facts] = {start: {}}
    # A node stands behind all that it leads to.
    for index in range(start, -1, -1):
        node = graph.node(index)
        known = facts.pop(index, None)
        if known is None or not isinstance(node, Test):
            continue
        if node.offset < ARGS_OFFSET:
            sides = [(node.yes, known), (node.no, known)]
        else:
            yes, no = _passing(node.mask, node.op, node.k)
            words = known.get(node.offset, WORDS)
            sides = [
                (node.yes, {**known, node.offset: words & yes}),
                (node.no, {**known, node.offset: words & no}),
            ]
        targets = []
        for side, learned in sides:
            target = _past(graph, side, learned)
            targets.append(target)
            if isinstance(graph.node(target), Test):
                facts[target] = _either(facts[target], learned) if target in facts else learned
        found[index] = targets[0], targets[1]
    return found


def _past(graph: Graph, at: Node, known: _Facts) -> Node:
    """The first node from *at* on that *known* does not decide."""
    while isinstance(node := graph.node(at), Test) and node.offset in known:
        yes, no = _passing(node.mask, node.op, node.k)
        words = known[node.offset]
        if words <= yes:
            at = node.yes
        elif words <= no:
            at = node.no
        else:
            break
    return at


def _either(one: _Facts, other: _Facts) -> _Facts:
    return {offset: one[offset] | other[offset] for offset in one.keys() & other.keys()}


@lru_cache(maxsize=4096)
def _passing(mask: int, op: Op, k: int) -> tuple[WordSet, WordSet]:
    """The words for which a test holds, and the others."""
    if op is Op.JSET_K:
        yes = masked(mask & k, 1, FULL)
    else:
        yes = masked(mask, k, k if op is Op.JEQ_K else FULL)
    return yes, ~yes


def _rebuilt(graph: Graph, start: Node, ways: dict[Node, tuple[Node, Node]]) -> tuple[Graph, Node]:
    rebuilt = Graph()
    ends = {end for pair in ways.values() for end in pair} - ways.keys() | {start} - ways.keys()
    made: dict[Node, Node] = {}
    for index in sorted(ways.keys() | ends):
        node = graph.node(index)
        if isinstance(node, Test):
            yes, no = (made[way] for way in ways[index])
            made[index] = rebuilt.test(node.offset, node.mask, node.op, node.k, yes, no)
        else:
            made[index] = rebuilt.ret(node)
    return rebuilt, made[start]
