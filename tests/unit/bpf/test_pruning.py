from __future__ import annotations

from unotify.bpf import Op, Program, SeccompData, check_program, simulate
from unotify.bpf.codegen import Graph, Node
from unotify.bpf.pruning import prune

FULL = 0xFFFFFFFF
LOW, HIGH = 16, 20


def pruned(graph: Graph, start: Node) -> Program:
    """The program of the pruned graph, compared with that of the whole one."""
    before = Program(graph.emit(start))
    lesser, begin = prune(graph, start)
    after = Program(lesser.emit(begin))
    check_program(after)
    for low in (0, 1, 2, 3, 5, 6, 7, 15, 16, 0x30, FULL):
        for high in (0, 1, 5, FULL):
            data = SeccompData(0, 0x40000000, (high << 32 | low, low, 0, 0, 0, 0))
            assert simulate(before, data) == simulate(after, data)
    assert len(after) <= len(before)
    return after


def operands(program: Program) -> list[int]:
    """The operands of its conditional jumps."""
    return [at.k for at in program.instructions if at.jt or at.jf or at.code == Op.JEQ_K]


def test_repeated_test_is_made_once() -> None:
    """A test that was made above, with another word in between, is not made again."""
    graph = Graph()
    again = graph.equal(LOW, FULL, 5, graph.ret(1), graph.ret(2))
    between = graph.equal(HIGH, FULL, 7, again, graph.ret(3))
    start = graph.equal(LOW, FULL, 5, between, graph.ret(4))
    assert operands(pruned(graph, start)) == [5, 7]


def test_implied_tests_are_left_out() -> None:
    """Order implies order, equality implies order and bits, and bits imply bits."""
    graph = Graph()
    end = [graph.ret(number) for number in range(6)]
    less = graph.at_least(LOW, FULL, 6, end[0], end[1])
    bits = graph.equal(LOW, 0x10, 0, end[2], less)
    word = graph.equal(HIGH, FULL, 0, bits, end[3])
    start = graph.equal(LOW, FULL, 0x16, word, end[4])
    assert operands(pruned(graph, start)) == [0x16, 0]


def test_shared_code_stays_shared() -> None:
    """Where a test is decided on one way in and not on another, only that way goes past it."""
    graph = Graph()
    shared = graph.equal(
        LOW, FULL, 5, graph.ret(1), graph.equal(LOW, FULL, 6, *map(graph.ret, (2, 3)))
    )
    known = graph.equal(
        LOW, FULL, 5, graph.equal(HIGH, FULL, 1, shared, graph.ret(9)), graph.ret(4)
    )
    unknown = graph.equal(HIGH, FULL, 1, shared, graph.ret(7))
    start = graph.equal(LOW + 8, FULL, 3, known, unknown)
    program = pruned(graph, start)
    assert operands(program).count(6) == 1
    assert sum(at.code == Op.RET_K for at in program.instructions) == 6


def test_nothing_is_left_to_decide() -> None:
    """A graph whose ends are all the same after pruning is a return."""
    graph = Graph()
    one, two = graph.ret(1), graph.ret(2)
    inner = graph.equal(LOW, FULL, 6, two, one)
    start = graph.equal(LOW, FULL, 5, graph.equal(HIGH, FULL, 0, inner, one), one)
    assert len(pruned(graph, start)) == 1
    assert prune(graph, one)[0].emit(prune(graph, one)[1]) == graph.emit(one)
