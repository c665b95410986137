"""The protocol that `restart_model` explores: the agents' own, or with something wrong in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from tests.unit.oci.restart_memory import NAME, Agent, Modelled, Words
from unotify.oci import restart
from unotify.oci.restart import (
    AskLife,
    Begin,
    Desk,
    Finish,
    Hold,
    Put,
    Recover,
    Say,
    Settle,
    Step,
    Take,
    WriteDown,
)
from unotify.testing.facility.state import World


@dataclass(frozen=True)
class Rules:
    """The protocol; tests put something wrong in the place of a part."""

    give: Callable[..., Any] = restart.give
    ask: Callable[..., Any] = restart.ask
    leave: Callable[..., Any] = restart.leave
    restore: Callable[..., Any] = restart.restore
    keep: Callable[..., Any] = restart.keep
    desk: type[Desk[Any]] = Desk
    listener: type[Modelled] = Modelled
    alive: Callable[[World, Agent], bool] = field(
        default=lambda world, agent: not agent.before or lives(world, agent.before)
    )


RIGHT = Rules()


class Over(NamedTuple):
    """A script has returned *value*."""

    value: Any


@lru_cache(maxsize=100_000)
def step_of(rules: Rules, script: str, handed: tuple[str, ...], came: tuple[Any, ...]) -> Any:
    """The step that a script is at, after what came of those before; or `Over`."""
    arguments: dict[str, tuple[Any, ...]] = {
        "give": (handed,),
        "ask": (),
        "leave": (),
        "restore": (handed,),
        "keep": (NAME,),
    }
    running = getattr(rules, script)(*arguments[script])
    try:
        step = running.send(None)
        for each in came:
            step = running.send(dict(each.items) if isinstance(each, Words) else each)
    except StopIteration as end:
        return Over(end.value)
    return step


def lives(world: World, tid: int) -> bool:
    """Whether a process is there."""
    task = world.tasks.get(tid)
    return task is not None and not task.dead


def told(step: Step) -> str:
    """A step in a story."""
    match step:
        case Say(message):
            return "says " + ", ".join(
                key if value is True else f"{key} {value}" for key, value in message.items()
            )
        case WriteDown():
            return "makes a journal"
        case Put():
            return "puts the listener and its journal into the store"
        case Take():
            return "takes what is in the store"
        case Recover():
            return "looks what was under way"
        case Begin():
            return "begins to serve"
        case Settle():
            return "has all that it needs"
        case AskLife():
            return "looks whether the other lives"
        case Hold():
            return "takes no more containers"
        case Finish():
            return "waits no longer for calls, and closes its listener"
    return "leaves the store"
