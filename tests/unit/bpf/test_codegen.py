from __future__ import annotations

import pytest

from unotify.bpf import Instruction, Op, SeccompData, check_program, simulate
from unotify.bpf.codegen import Graph
from unotify.bpf.instructions import and_, jeq, jge, jset, ld_abs, ret

FULL = 0xFFFFFFFF
NR, ARCH = 0, 4


def test_equal_nodes_are_one_node() -> None:
    """A node that was made before is not made again."""
    graph = Graph()
    one, two = graph.ret(1), graph.ret(2)
    assert graph.ret(1) == one
    test = graph.equal(NR, FULL, 5, one, two)
    assert graph.equal(NR, FULL, 5, one, two) == test
    assert graph.equal(NR, FULL, 5, two, one) != test
    assert graph.at_least(NR, FULL, 5, one, one) == one


def test_word_that_is_held_is_not_loaded_again() -> None:
    """Tests in a row on one word load it once; the first load of another word comes later."""
    graph = Graph()
    one, two, three = graph.ret(1), graph.ret(2), graph.ret(3)
    later = graph.equal(ARCH, FULL, 7, one, three)
    start = graph.equal(NR, FULL, 5, one, graph.equal(NR, FULL, 6, two, later))
    assert graph.emit(start) == (
        ld_abs(NR),
        jeq(5, 5, 0),
        jeq(6, 3, 0),
        ld_abs(ARCH),
        jeq(7, 2, 0),
        ret(3),
        ret(2),
        ret(1),
    )


def test_masked_word_is_made_from_the_held_word() -> None:
    """A masked test behind an unmasked one of the same word needs no second load."""
    graph = Graph()
    one, two = graph.ret(1), graph.ret(2)
    masked = graph.equal(NR, 0xFF, 6, one, two)
    start = graph.equal(NR, FULL, 5, one, masked)
    assert graph.emit(start) == (
        ld_abs(NR),
        jeq(5, 3, 0),
        and_(0xFF),
        jeq(6, 1, 0),
        ret(2),
        ret(1),
    )


def test_unmasked_test_behind_a_masked_one_loads_again() -> None:
    """What a mask has cut off is loaded again before it is looked at."""
    graph = Graph()
    start = graph.equal(
        NR, 0xF, 6, graph.equal(NR, FULL, 0x16, graph.ret(1), graph.ret(2)), graph.ret(3)
    )
    program = graph.emit(start)
    assert program.count(ld_abs(NR)) == 2
    for nr, expected in ((0x16, 1), (0x26, 2), (0x17, 3)):
        assert simulate(program, SeccompData(nr, 0)) == expected


def test_masks_take_the_shortest_form() -> None:
    """Any bit, no bit and the single bit of a mask are one JSET; impossible tests are none."""
    graph = Graph()
    one, two = graph.ret(1), graph.ret(2)

    def code(node: int) -> tuple[Instruction, ...]:
        return graph.emit(node)[:-2]

    assert code(graph.equal(NR, 0x30, 0, one, two)) == (ld_abs(NR), jset(0x30, 0, 1))
    assert code(graph.at_least(NR, 0x30, 1, one, two)) == (ld_abs(NR), jset(0x30, 1, 0))
    assert code(graph.at_least(NR, 0x30, 0x30, one, two)) == code(
        graph.equal(NR, 0x30, 0x30, one, two)
    )
    assert code(graph.equal(NR, 0x10, 0x10, one, two)) == (ld_abs(NR), jset(0x10, 1, 0))
    assert code(graph.equal(NR, 0x30, 0x10, one, two)) == (
        ld_abs(NR),
        and_(0x30),
        jeq(0x10, 1, 0),
    )
    assert code(graph.at_least(NR, FULL, 2, one, two)) == (ld_abs(NR), jge(2, 1, 0))
    assert code(graph.at_least(NR, FULL, 1, one, two)) == (ld_abs(NR), jeq(0, 0, 1))
    assert code(graph.at_least(NR, FULL, FULL, one, two)) == (ld_abs(NR), jeq(FULL, 1, 0))
    assert graph.equal(NR, 0x30, 0x41, one, two) == two
    assert graph.at_least(NR, 0x30, 0x31, one, two) == two


def test_unreached_nodes_are_not_emitted() -> None:
    """Only what the start leads to becomes code."""
    graph = Graph()
    one, two = graph.ret(1), graph.ret(2)
    graph.equal(NR, FULL, 9, one, two)
    start = graph.equal(NR, FULL, 5, one, graph.ret(3))
    graph.equal(NR, FULL, 7, start, two)
    assert len(graph.emit(start)) == 4
    assert graph.emit(two) == (ret(2),)


def chain(graph: Graph, length: int) -> list[int]:
    """Tests of the architecture for 0, 1, 2 ..., each going on to the one made before it."""
    hit = graph.ret(1)
    nodes = [graph.ret(2)]
    for number in range(length):
        nodes.append(graph.equal(ARCH, FULL, number, hit, nodes[-1]))
    return nodes[1:]


@pytest.mark.parametrize("yes_away", range(250, 260))
def test_jumps_of_every_distance(yes_away: int) -> None:
    """Jumps over 250 to 259 instructions arrive, whichever of the two branches is far."""
    lengths = set()
    for no_away in range(250, 260):
        graph = Graph()
        nodes = chain(graph, 300)
        to_yes, to_no = nodes[-yes_away], nodes[-no_away]
        far = graph.equal(NR, FULL, 1, to_yes, to_no)
        program = graph.emit(graph.equal(NR, FULL, 2, nodes[-1], far))
        check_program(program)
        lengths.add(len(program))
        for nr, entered in ((1, 300 - yes_away), (0, 300 - no_away), (2, 299)):
            # The chain is entered exactly there: the test above it is not made.
            assert simulate(program, SeccompData(nr, entered)) == 1
            assert simulate(program, SeccompData(nr, entered + 1)) == 2
    assert len(lengths) > 1


def test_longest_direct_jump_is_used() -> None:
    """A jump over 255 instructions is direct on either branch, one over 256 takes a trampoline."""
    for side in ("yes", "no"):
        direct = {}
        for away in range(245, 260):
            graph = Graph()
            nodes = chain(graph, 260)
            near = nodes[-1]
            ways = (nodes[-away], near) if side == "yes" else (near, nodes[-away])
            program = graph.emit(graph.equal(NR, FULL, 1, *ways))
            # The load comes first, the jump second.
            direct[max(program[1].jt, program[1].jf)] = program
        assert min(direct) < 10
        assert max(direct) == 255
        for distance, program in direct.items():
            trampolines = [at for at in program if at.code == Op.JA]
            assert bool(trampolines) == (distance < 200), distance


def test_trampolines_are_used_again() -> None:
    """Several jumps to one far place share a trampoline."""
    graph = Graph()
    nodes = chain(graph, 400)
    start = nodes[-1]
    for number in range(100):
        start = graph.equal(NR, FULL, number, nodes[0], start)
    program = graph.emit(start)
    check_program(program)
    assert sum(at.code == Op.JA for at in program) == 1
    assert [simulate(program, SeccompData(nr, 0)) for nr in (0, 99, 100)] == [1, 1, 1]
    assert [simulate(program, SeccompData(nr, 1)) for nr in (0, 99, 100)] == [2, 2, 1]


def test_far_return_is_copied() -> None:
    """A return that is too far away is repeated, which is as short as a jump and saves a step."""
    graph = Graph()
    program = graph.emit(chain(graph, 600)[-1])
    check_program(program)
    assert not any(at.code == Op.JA for at in program)
    assert program.count(ret(1)) == 3


def test_deep_graph_needs_no_recursion() -> None:
    """Thousands of tests in a row are emitted, whatever Python's recursion limit."""
    graph = Graph()
    program = graph.emit(chain(graph, 3000)[-1])
    check_program(program)
    assert simulate(program, SeccompData(0, 0)) == 1


def test_weight_counts_shared_nodes_once() -> None:
    """The weight is about the number of instructions: load, mask, jump and returns."""
    graph = Graph()
    one, two = graph.ret(1), graph.ret(2)
    first = graph.equal(NR, FULL, 5, one, two)
    assert graph.weight(first) == 4
    assert graph.weight(graph.equal(ARCH, 0xFF, 6, first, two)) == 7
