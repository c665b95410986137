"""Handlers that exist without a supervisor: in a module, or on an object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from unotify.calls import Call, Condition, as_where
from unotify.errors import Conflict

__all__ = ["Mark", "on", "registrations_of", "verb", "verbs_of"]

H = TypeVar("H", bound=Callable[..., Any])
_MARKS = "__unotify_marks__"
_VERBS = "__unotify_verbs__"


@dataclass(frozen=True)
class Mark:
    """What :func:`on` was given."""

    calls: tuple[type[Call] | str, ...]
    where: Condition | None
    deadline: float | None


def on(
    *calls: type[Call] | str, where: Condition | None = None, deadline: float | None = None
) -> Callable[[H], H]:
    """Mark a function or method as a handler, for :meth:`Supervisor.add` to find.

    Arguments as for :meth:`Supervisor.on`. A file of such functions is what
    ``unotify run --handlers`` takes; a class with such methods is an addon.
    """
    if where is not None:
        as_where(where)

    def decorate(handler: H) -> H:
        marks = [*getattr(handler, _MARKS, ()), Mark(calls, where, deadline)]
        setattr(handler, _MARKS, marks)
        return handler

    return decorate


def verb(name: str) -> Callable[[H], H]:
    """Mark a function or method as what a policy's verb *name* does, for :meth:`Supervisor.add`.

    It takes the call and the verb's parameters; see :meth:`Supervisor.add_verb`.
    """

    def decorate(handler: H) -> H:
        setattr(handler, _VERBS, (*getattr(handler, _VERBS, ()), name))
        return handler

    return decorate


def verbs_of(addon: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The names of verbs, and what does them, in a module or on an object."""
    for name, names in _marked(addon, _VERBS).items():
        for verb_name in names:
            yield verb_name, getattr(addon, name)


def registrations_of(addon: object) -> Iterator[tuple[Callable[..., Any], Mark]]:
    """The marked functions of a module or the marked methods of an object, as defined.

    Raises:
        Conflict: There are none, which is never what was meant.
    """
    found: dict[str, list[Mark]] = _marked(addon, _MARKS)
    for name, marks in found.items():
        # Decorators stack from the bottom up; the topmost is asked first.
        for mark in reversed(marks):
            yield getattr(addon, name), mark
    if not found and not _marked(addon, _VERBS):
        raise Conflict(
            f"{getattr(addon, '__name__', None) or type(addon).__name__} has no handlers",
            hint="mark functions with @unotify.on(...)",
        )


def _marked(addon: object, mark: str) -> dict[str, Any]:
    found = {}
    # vars() keeps the order of definition; dir() would sort.
    owners = [addon] if hasattr(addon, "__spec__") else [*reversed(type(addon).__mro__)]
    for owner in owners:
        for name, value in list(vars(owner).items()):
            if marks := getattr(value, mark, None):
                found[name] = marks  # a subclass replaces the marks with the method
    return found
