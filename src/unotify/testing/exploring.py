"""Model checking: all orders in which things can happen, up to a bound, or random ones beyond.

A move is a name and a function that changes a world. The explorer makes each move in each world
that it has come to, and asks whether what must always hold does. Worlds that are alike are visited
once: they are compared by a hash of 64 bits, so of a million worlds two are taken for the same
with a probability of about 1 to 40 million.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from unotify.testing.facility.state import World
from unotify.testing.facility.stepping import advance, movable

__all__ = ["Exploration", "Move", "Violation", "explore", "steps", "stroll"]

Move: TypeAlias = tuple[str, Callable[[World], None]]
"""What can happen next: its name, and how."""


class Violation(AssertionError):
    """Something that must hold did not.

    Attributes:
        trace: The moves that led there, in order.
    """

    def __init__(self, message: str, trace: tuple[str, ...]) -> None:
        self.trace = trace
        super().__init__("\n".join([f"{message}, after {len(trace)} moves:", *trace]))


@dataclass(frozen=True)
class Exploration:
    """What was covered.

    Attributes:
        states: How many different worlds were visited.
        moves: How many moves were made.
        ends: How many of the worlds had no further move.
        cut: How many had further moves that *depth* left out.
    """

    states: int
    moves: int
    ends: int
    cut: int = 0

    def __str__(self) -> str:
        return f"{self.states} states, {self.moves} moves, {self.ends} ends"


def steps(world: World) -> list[Move]:
    """The kernel's own moves: each thread that can go on does."""
    return [
        (f"{world.tasks[tid].comm} {tid} goes on", lambda other, tid=tid: advance(other, tid))  # type: ignore[misc]
        for tid in movable(world)
    ]


def explore(
    world: World,
    moves: Callable[[World], Iterable[Move]],
    *,
    always: Callable[[World], None] = lambda world: None,
    at_end: Callable[[World], None] = lambda world: None,
    most: int = 1_000_000,
    depth: int | None = None,
    found: list[Violation] | None = None,
) -> Exploration:
    """Visit all worlds that *moves* lead to.

    With *depth* or *found* those first that the fewest moves lead to; else in the order that
    comes to an end of the moves soonest.

    Args:
        world: Where it begins; it is not changed.
        moves: What can happen in a world.
        always: Asserts what must hold in each world.
        at_end: Asserts what must hold in a world without moves.
        most: The most worlds to visit.
        depth: The most moves in a row; what is further is not visited.
        found: Takes all that fails, in the order of the moves that it takes, and the search goes
            on elsewhere; without it the first one is raised.

    Raises:
        Violation: An assertion failed, and there is no *found*; it has the moves that led there.
        OverflowError: There are more worlds than *most*.
    """
    start = world.freeze()
    parents: dict[int, tuple[int, str]] = {hash(start): (0, "")}
    todo = deque([(start, 0)])
    made = ends = cut = 0
    deep = depth is None and found is None
    while todo:
        frozen, far = todo.pop() if deep else todo.popleft()
        here = hash(frozen)
        current = world.thaw(frozen)
        following = list(moves(current))
        try:
            always(current)
            if not following:
                ends += 1
                at_end(current)
        except AssertionError as error:
            violation = Violation(str(error) or "an assertion fails", _trace(parents, here))
            if found is None:
                raise violation from error
            found.append(violation)
            continue
        if depth is not None and far >= depth:
            cut += bool(following)
            continue
        for name, make in following:
            other = world.thaw(frozen)
            make(other)
            made += 1
            after = other.freeze()
            key = hash(after)
            if key not in parents:
                if len(parents) >= most:
                    raise OverflowError(f"more than {most} states")
                parents[key] = (here, name)
                todo.append((after, far + 1))
    return Exploration(len(parents), made, ends, cut)


def _trace(parents: dict[int, tuple[int, str]], here: int) -> tuple[str, ...]:
    names = []
    while here:
        here, name = parents[here]
        if name:
            names.append(name)
    return tuple(reversed(names))


def stroll(
    world: World,
    moves: Callable[[World], Iterable[Move]],
    *,
    seed: int,
    always: Callable[[World], None] = lambda world: None,
    at_end: Callable[[World], None] = lambda world: None,
    most: int = 10_000,
) -> Exploration:
    """Make random moves until there are none, where there are too many worlds to visit all.

    Args:
        world: Where it begins; it is not changed.
        moves: As of `explore`.
        seed: The same seed gives the same way.
        always: As of `explore`.
        at_end: As of `explore`.
        most: The most moves.

    Raises:
        Violation: An assertion failed; it has the moves that led there.
    """
    chance = random.Random(seed)
    current = world.thaw(world.freeze())
    trace: list[str] = []
    try:
        while True:
            always(current)
            found = list(moves(current))
            if not found:
                at_end(current)
                return Exploration(len(trace) + 1, len(trace), 1)
            if len(trace) >= most:
                return Exploration(len(trace) + 1, len(trace), 0)
            name, make = chance.choice(found)
            trace.append(name)
            make(current)
    except AssertionError as error:
        raise Violation(str(error) or "an assertion fails", tuple(trace)) from error
