"""Whether two looks are the same question: by what they are made of, not by how they read.

``resolved in secrets`` reads the same in two policies whose sets differ. So a look
is known by its code and by all values that it has been made with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final

from unotify.policy.conditions import Look
from unotify.policy.where.numbers import Number

__all__ = ["likeness"]

_DEEPEST: Final = 12
_NAMES: Final = frozenset({"key"})
"""Of a counter: where it stands in its file."""


def likeness(look: Look) -> object:
    """A hashable value, equal for looks that are certainly the same question."""
    return look.text, look.need, _frozen(look.check, 0)


def _frozen(value: Any, depth: int) -> object:
    if depth > _DEEPEST:
        return id(value)
    match value:
        case FunctionType():
            return _function(value, depth)
        case partial():
            named = tuple(sorted((key, _frozen(v, depth + 1)) for key, v in value.keywords.items()))
            return "partial", _frozen(value.func, depth), _all(value.args, depth), named
        case MethodType():
            return "method", _frozen(value.__func__, depth), _frozen(value.__self__, depth + 1)
        case Number():
            return Number, value  # however deep it is
        case tuple() | list():
            return type(value), _all(value, depth)
        case set() | frozenset():
            return frozenset(_frozen(item, depth + 1) for item in value)
        case dict():
            return frozenset((key, _frozen(item, depth + 1)) for key, item in value.items())
        case _ if is_dataclass(value) and not isinstance(value, type):
            parts = [getattr(value, field.name) for field in fields(value)]
            return type(value), _all(parts, depth)
    try:
        hash(value)
    except TypeError:
        return id(value)
    return type(value), value  # 1 and True are two things


def _function(function: Callable[..., Any], depth: int) -> object:
    code = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    held = tuple(
        (name, _frozen(cell.cell_contents, depth + 1)) for name, cell in cells if name not in _NAMES
    )
    return code, held, _all(function.__defaults__ or (), depth)


def _all(values: Any, depth: int) -> tuple[object, ...]:
    return tuple(_frozen(value, depth + 1) for value in values)
