"""Handlers that exist without a supervisor: in a module, or on an object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from unotify.calls import Call, Condition, as_where
from unotify.errors import Conflict
from unotify.kernel.interface import Making

__all__ = ["Mark", "NativeForm", "native_form", "on", "registrations_of", "verb", "verbs_of"]

H = TypeVar("H", bound=Callable[..., Any])
_MARKS = "__unotify_marks__"
_VERBS = "__unotify_verbs__"
_NATIVE = "__unotify_native__"

NativeForm: TypeAlias = Callable[[str, Mapping[str, Any]], Making | None]
"""What takes the name of a call and a verb's parameters, and tells what that comes to."""


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


def verb(name: str, *, native: NativeForm | None = None) -> Callable[[H], H]:
    """Mark a function or method as what a policy's verb *name* does, for :meth:`Supervisor.add`.

    It takes the call and the verb's parameters; see :meth:`Supervisor.add_verb`.

    Args:
        name: As it stands after ``do``.
        native: For a function: tells which device nodes it would make for a call, of mknod(2) or
            mknodat(2), with such parameters. Those of which that is all there is to do are then
            made by the native part, without asking the function. ``None`` of it: ask.
    """

    def decorate(handler: H) -> H:
        if native is not None:
            setattr(handler, _NATIVE, (handler, native))
        setattr(handler, _VERBS, (*getattr(handler, _VERBS, ()), name))
        return handler

    return decorate


def native_form(function: Callable[..., Any]) -> NativeForm | None:
    """What *function* was marked with; not what it has been copied from one that it wraps."""
    of, form = getattr(function, _NATIVE, (None, None))
    return form if of is function else None


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
