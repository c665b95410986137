from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from unotify.policy.conditions import Facts, Look, Need
from unotify.policy.likeness import likeness
from unotify.policy.where import bind


def _belongs(names: frozenset[str], facts: Facts) -> bool:
    return facts.comm in names


def closure(value: Any, *, key: str = "k") -> Callable[[Facts], bool]:
    """A check that remembers *value*, and a key."""

    def check(facts: Facts) -> bool:
        return facts.count(key, "rule") == value

    return check


def look(check: Callable[[Facts], bool], text: str = "same", need: Need = Need.CALLER) -> Look:
    """A look that reads like the others."""
    return Look(text, need, check)


@dataclass(frozen=True, eq=False)
class Holder:
    value: Any

    def check(self, facts: Facts) -> bool:
        """A method as a check."""
        return bool(facts.pid == self.value)


def test_constants_of_many_names_are_alike() -> None:
    """However many constants a mask has, the same ones are the same question, others another."""
    names = ["O_CREAT", "O_EXCL", "O_TRUNC", "O_APPEND", "O_SYNC", "O_PATH", "O_CLOEXEC"] * 2
    one, same, other = (
        bind(f"how.flags & ({' | '.join(chosen)})", ["openat2"])["openat2"]
        for chosen in (names, names, names[:6])
    )
    assert isinstance(one, Look)
    assert isinstance(same, Look)
    assert isinstance(other, Look)
    assert likeness(one) == likeness(same) != likeness(other)


def test_the_same_values_are_alike() -> None:
    """Looks that were made twice of the same are the same question."""
    for make in (
        lambda: closure(frozenset({"a", "b"})),
        lambda: closure([1, {"x": (2, 3)}]),
        lambda: partial(_belongs, frozenset({"a"})),
        lambda: Holder((1, 2)).check,
        lambda: closure(closure(1)),
    ):
        assert likeness(look(make())) == likeness(look(make()))


def test_other_values_are_not() -> None:
    """Looks that read the same, made of other values, are other questions."""
    checks = [
        closure(1),
        closure(True),
        closure((1,)),
        closure([1]),
        closure(frozenset({"a"})),
        partial(_belongs, frozenset({"a"})),
        partial(_belongs, frozenset({"b"})),
        Holder(1).check,
        Holder(2).check,
        closure(closure(2)),
    ]
    assert len({likeness(look(check)) for check in checks}) == len(checks)
    assert likeness(look(closure(1), "other")) != likeness(look(closure(1)))
    assert likeness(look(closure(1), need=Need.STATE)) != likeness(look(closure(1)))


def test_where_a_counter_stands_does_not_matter() -> None:
    """Two files with the same counter at other lines ask the same."""
    assert likeness(look(closure(3, key="a:1"))) == likeness(look(closure(3, key="b:9")))


def test_what_cannot_be_told_is_not_alike() -> None:
    """Values without an order of their own, or without an end, are never taken for the same."""
    endless: list[Any] = []
    endless.append(endless)
    for value in (object(), endless):
        assert likeness(look(closure(value))) is not None
    assert likeness(look(closure(object()))) != likeness(look(closure(object())))
