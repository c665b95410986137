from __future__ import annotations

from unotify.bpf import SeccompData, check_program, simulate, trace
from unotify.bpf.codegen import Graph
from unotify.bpf.switching import cost, merge, switch


def test_merge_joins_neighbours() -> None:
    """Neighbours that lead to one place are one range; of equal starts the last one counts."""
    assert merge([(0, "a"), (3, "a"), (5, "b"), (5, "c"), (6, "c"), (7, "a")]) == [
        (0, "a"),
        (5, "c"),
        (7, "a"),
    ]
    assert merge([(0, "a"), (0, "b"), (4, "c"), (4, "b")]) == [(0, "b")]


def test_switch_finds_every_range() -> None:
    """Ranges of all shapes, single numbers between equal neighbours among them, are told apart."""
    for gap in (1, 2):
        for count in range(1, 40):
            partition = merge((at * gap, at % 2 * at) for at in range(count))
            graph = Graph()
            program = graph.emit(switch(graph, 0, 0xFFFFFFFF, partition, graph.ret))
            check_program(program)
            for number in range(count * gap + 2):
                expected = [to for start, to in partition if start <= number][-1]
                assert simulate(program, SeccompData(number, 0)) == expected


def test_exceptions_in_one_range_cost_one_test_each() -> None:
    """Single numbers within one range cost an equality test and little more, however many."""
    for count in (1, 2, 3, 10, 50):
        partition = [(0, 0)]
        for at in range(count):
            partition += [(10 * at + 5, 1), (10 * at + 6, 0)]
        graph = Graph()
        program = graph.emit(switch(graph, 0, 0xFFFFFFFF, partition, graph.ret))
        assert len(program) <= 3 + count + -(-count // 3) - 1
        for number in range(10 * count + 10):
            hit = number % 10 == 5 and number < 10 * count
            assert simulate(program, SeccompData(number, 0)) == hit


def steps(weights: dict[int, float] | None) -> dict[int, int]:
    """How many instructions it takes to find each number in a table with 40 gaps."""
    partition = merge((at, (at % 13 == 5) * 1) for at in range(498))
    graph = Graph()
    program = graph.emit(switch(graph, 0, 0xFFFFFFFF, partition, graph.ret, weights=weights))
    check_program(program)
    for number in range(500):
        expected = int(number < 498 and number % 13 == 5)
        assert simulate(program, SeccompData(number, 0)) == expected
    return {number: len(trace(program, SeccompData(number, 0))) for number in range(498)}


def test_tree_is_as_shallow_as_can_be() -> None:
    """Without weights no number is deeper than the logarithm of the number of ranges."""
    found = steps(None)
    assert max(found.values()) <= 2 + 7  # 77 ranges
    assert min(found.values()) >= 2 + 4


def test_weights_bring_numbers_near() -> None:
    """What comes often is found in few steps, and what nobody has counted is still found soon."""
    hot = {0: 100.0, 300: 60.0, 17: 50.0, 18: 30.0}
    found = steps(hot)
    assert [found[number] for number in hot] <= [5, 5, 6, 6]
    assert max(found.values()) <= 2 + 10
    even = steps(dict.fromkeys(range(500), 1.0))
    assert max(even.values()) <= 2 + 9


def test_many_ranges_with_weights() -> None:
    """Weights over more ranges than a table of trees is made for are heeded too."""
    partition = merge((at, at % 5) for at in range(1000))
    graph = Graph()
    weights = dict.fromkeys(range(1000), 1.0) | {777: 10000.0}
    program = graph.emit(switch(graph, 0, 0xFFFFFFFF, partition, graph.ret, weights=weights))
    for number in range(1001):
        assert simulate(program, SeccompData(number, 0)) == min(number, 999) % 5
    assert len(trace(program, SeccompData(777, 0))) < len(trace(program, SeccompData(400, 0)))


def test_cost_counts_tests() -> None:
    """The cost is the number of conditional jumps, not of ranges."""
    assert cost([(0, "a")]) == 0
    assert cost([(0, "a"), (5, "b")]) == 1
    assert cost([(0, "a"), (5, "b"), (6, "a")]) == 1
    assert cost([(0, "a"), (5, "b"), (7, "a")]) == 2
