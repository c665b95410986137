"""Who goes next: all steps that a world can make, and ways to choose among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from unotify.testing.facility.entering import enter, wake, would_wake
from unotify.testing.facility.listening import caller_would_wake, wake_caller
from unotify.testing.facility.state import Task, World

__all__ = ["advance", "is_free", "movable", "settle", "wake_sleeper"]

_CALLERS = ("receiving", "giving", "reading")


def movable(world: World) -> list[int]:
    """The threads that can make a step, by id."""
    return [
        task.tid
        for task in world.tasks.values()
        if (task.doing and task.doing[0] in _CALLERS and caller_would_wake(world, task))
        or would_wake(world, task)
        or (task.script and is_free(task))
    ]


def is_free(task: Task) -> bool:
    """Whether it runs, and may make a call."""
    return not task.dead and not task.doing and task.result is not None


def advance(world: World, tid: int) -> None:
    """Let one thread make its step."""
    task = world.tasks[tid]
    if task.doing and task.doing[0] in _CALLERS:
        wake_caller(world, task)
        if not task.doing and would_wake(world, task):
            wake(world, task)  # its signals are delivered on the way back
    elif would_wake(world, task):
        wake(world, task)
    elif task.script and is_free(task):
        call, task.script = task.script[0], task.script[1:]
        enter(world, task, call)


def wake_sleeper(world: World, task: Task) -> None:
    """The time that it sleeps for is over."""
    if task.doing and task.doing[0] == "sleeping":
        task.doing, task.result = (), 0


def settle(world: World, choose: Callable[[Sequence[int]], int] = min) -> int:
    """Make steps until nobody can; returns how many."""
    steps = 0
    while tids := movable(world):
        advance(world, choose(tids))
        steps += 1
    return steps
