"""The life of a notification and the hand-over of a listener, in all orders.

How many states were visited is printed: ``pytest -rP`` shows it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.unit.testing.models import Handover, Life
from unotify.testing.exploring import Exploration, Violation, explore, stroll
from unotify.testing.facility.state import World
from unotify.testing.facility.traits import VERSIONS

LONG = bool(os.environ.get("UNOTIFY_TEST_LONG"))
SIGNAL = (("signal", 1),)
STOPS = (("stop", 1), ("cont", 1))
ALL = (("signal", 1), ("kill", 1), ("end", 1))


def covered(model: Life, *more: Callable[[World], None]) -> Exploration:
    """Explore all of *model*."""

    def always(world: World) -> None:
        model.always(world)
        for check in more:
            check(world)

    found = explore(model.world(), model.moves, always=always, at_end=model.at_end, most=20_000_000)
    print(f"{type(model).__name__}: {found}")
    return found


def violation(model: Life, *more: Callable[[World], None]) -> Violation:
    """What is found wrong with it."""
    with pytest.raises(Violation) as caught:
        covered(model, *more)
    return caught.value


@pytest.mark.slow
def test_two_targets_two_readers_signals_and_deaths() -> None:
    """No answer is doubled or misdirected, and no target hangs, whoever dies whenever."""
    assert covered(Life(trouble=ALL)).states > 50_000


@pytest.mark.slow
def test_the_same_under_wait_killable() -> None:
    """I5-I7: with WAIT_KILLABLE_RECV besides no answer that the kernel took is lost."""
    model = Life(killable=True, trouble=SIGNAL + STOPS)
    assert covered(model, model.nothing_is_lost).states > 10_000


def test_without_it_an_answer_may_be_lost() -> None:
    """I1: SEND may succeed though the target has woken by a signal already, and calls again."""
    model = Life(trouble=SIGNAL)
    assert "is lost" in str(violation(model, model.nothing_is_lost))


def test_a_handler_without_restart() -> None:
    """I1: the call is EINTR or what it was answered, and nothing else."""
    assert covered(Life(restart=False, trouble=SIGNAL)).ends > 1


def test_fast_replies_before_the_repair() -> None:
    """Before the repair of 6.18 a fast reply was lost, WAIT_KILLABLE_RECV or not."""
    model = Life(killable=True, traits=VERSIONS["6.11"], trouble=SIGNAL)
    assert "is lost" in str(violation(model, model.nothing_is_lost))


def test_one_step_with_a_descriptor_is_broken() -> None:
    """A14: a signal to the supervisor in ADDFD_FLAG_SEND, and the target gets 0 without it."""
    model = Life(answer="send-fd", targets=1, readers=1, trouble=(("nudge", 1),))
    assert "got 0" in str(violation(model))


def test_one_step_where_it_is_cured() -> None:
    """A14: where the kernel restores the notification, the step can be tried again."""
    model = Life(
        answer="send-fd", targets=1, readers=1, trouble=(("nudge", 2),), traits=VERSIONS["next"]
    )
    assert covered(model).ends > 1


@pytest.mark.slow
def test_a_hand_over() -> None:
    """No target hangs, whoever of the two supervisors or the targets dies whenever."""
    assert covered(Handover()).states > 10_000


def test_a_careless_hand_over() -> None:
    """Who goes on receiving after it has told the successor leaves a target that nobody knows."""
    assert "hangs" in str(violation(Handover(careless=True)))


@pytest.mark.parametrize("seed", range(2000 if LONG else 30))
def test_beyond_the_bound(seed: int) -> None:
    """Random orders with more of everything: the same holds."""
    model = Life(
        targets=4,
        calls=3,
        readers=3,
        trouble=(("signal", 4), ("kill", 1), ("stop", 2), ("cont", 2), ("end", 1)),
    )
    found = stroll(model.world(), model.moves, seed=seed, always=model.always, at_end=model.at_end)
    assert found.ends == 1


@pytest.mark.slow
@pytest.mark.skipif(not LONG, reason="takes minutes: make test-long")
@pytest.mark.timeout(1700)
def test_the_larger_bound() -> None:
    """The same with two signals, a stop, and two calls each."""
    model = Life(calls=2, readers=1, trouble=(("signal", 2), ("kill", 1), ("end", 1)))
    assert covered(model).states > 100_000


def _counting(
    *, upto: int
) -> tuple[World, Callable[[World], list[tuple[str, Callable[[World], None]]]]]:
    """A world with a number, which a move makes greater by one or by two."""
    world = World()
    world.extra = 0

    def by(step: int) -> Callable[[World], None]:
        return lambda other: setattr(other, "extra", other.extra + step)

    def moves(world: World) -> list[tuple[str, Callable[[World], None]]]:
        return [(f"+{step}", by(step)) for step in (1, 2) if world.extra + step <= upto]

    return world, moves


def test_all_that_fails_is_found_the_shortest_way_first() -> None:
    """With `found` the search goes on elsewhere, and each trace is as short as can be."""
    world, moves = _counting(upto=6)
    found: list[Violation] = []

    def never_four_or_five(world: World) -> None:
        assert world.extra not in (4, 5)

    covered = explore(world, moves, always=never_four_or_five, found=found)
    assert [len(one.trace) for one in found] == [2, 3]
    assert covered.states == 6  # nothing leads past them to 6


def test_what_a_depth_leaves_out_is_counted() -> None:
    """Beyond `depth` nothing is visited, and those that had more moves are told."""
    world, moves = _counting(upto=6)
    covered = explore(world, moves, depth=2)
    assert covered.states == 5
    assert covered.cut == 2
    assert explore(world, moves, depth=6).cut == 0
