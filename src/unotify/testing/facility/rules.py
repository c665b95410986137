"""The rules of the facility by name, each with the numbers of the facts that it states.

A rule is one small function. A *check* returns an errno, or 0 where it has nothing against
what is asked; an *effect* does or tells one thing. Any of them can be taken away for a
moment (`without`), which is how the tests prove that each is looked at by one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

__all__ = ["RULES", "Rule", "check", "effect", "first", "without"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: The function's.
        facts: Numbers of statements, as in ``docs/kernel-facts.md``.
        text: What it says, in one sentence.
    """

    name: str
    facts: tuple[str, ...]
    text: str


RULES: Final[dict[str, Rule]] = {}
"""All rules, by name."""

_removed: Final[set[str]] = set()


def effect(*facts: str, otherwise: Any = None) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make a function the rule that states *facts*; taken away it gives *otherwise*."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        name = function.__name__
        assert name not in RULES, f"there are two rules {name}"
        RULES[name] = Rule(name, facts, (function.__doc__ or "").partition("\n")[0])

        @wraps(function)
        def apply(*args: P.args, **kwargs: P.kwargs) -> T:
            if name in _removed:
                nothing: T = otherwise
                return nothing
            return function(*args, **kwargs)

        return apply

    return decorate


def check(*facts: str) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Make a function that returns an errno, or 0, the rule that states *facts*."""
    return effect(*facts, otherwise=0)


def first(checks: Sequence[Callable[P, int]], *args: P.args, **kwargs: P.kwargs) -> int:
    """The first objection as a negative errno; 0 if there is none."""
    for one in checks:
        number = one(*args, **kwargs)
        if number:
            return -number
    return 0


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Take rules away for the time of a ``with``; for tests of tests."""
    for name in names:
        if name not in RULES:
            raise KeyError(name)
    _removed.update(names)
    try:
        yield
    finally:
        _removed.difference_update(names)
