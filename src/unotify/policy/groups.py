"""Named groups of calls: ``@file-system``, ``@path``, ``@credentials`` ...

What the call model knows is taken from it: ``@path`` is every call with a path,
``@fd-making`` every call that returns a descriptor. What is a matter of purpose is
a list. systemd's names are here too and mean much the same, but not call by call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from unotify.abi import model
from unotify.abi.model import CallSpec, Role
from unotify.policy._group_lists import LISTS, PATTERNS, TOGETHER

__all__ = ["GROUPS", "UNGROUPED", "Group"]


@dataclass(frozen=True, slots=True)
class Group:
    """Some calls.

    Attributes:
        description: What they have in common.
        calls: The kernel's names, of all architectures.
    """

    description: str
    calls: frozenset[str]


_SOCKETS: Final = frozenset(
    {Role.SOCKADDR, Role.OUT_SOCKADDR, Role.MSGHDR, Role.OUT_MSGHDR, Role.MMSGHDR, Role.OUT_MMSGHDR}
)


def _any_role(spec: CallSpec, *roles: Role) -> bool:
    return any(arg.role in roles for arg in spec.args)


_DERIVED: Final[Mapping[str, tuple[str, Callable[[CallSpec], bool]]]] = {
    "@known": ("all calls that the tables know", lambda spec: True),
    "@path": ("every call that takes a path", lambda spec: _any_role(spec, Role.PATH)),
    "@fd-making": (
        "every call that returns, or writes, new descriptors",
        lambda spec: spec.returns == "fd" or _any_role(spec, Role.FD_OUT),
    ),
    "@socket-address": (
        "every call that takes or gives a socket address or a message",
        lambda spec: _any_role(spec, *_SOCKETS),
    ),
    "@other-process": (
        "every call that names another process by its id",
        lambda spec: _any_role(spec, Role.PID) or spec.name.startswith("pidfd_"),
    ),
    "@removed": ("calls that have a number but no code any more", lambda spec: spec.removed),
}
"""Groups that are questions to the call model."""


@cache
def _group(name: str) -> Group | None:
    specs = [model.spec(call) for call in model.names()]
    if name in _DERIVED:
        description, test = _DERIVED[name]
        return Group(description, frozenset(spec.name for spec in specs if test(spec)))
    if name in PATTERNS:
        description, pattern = PATTERNS[name]
        return Group(
            description,
            frozenset(spec.name for spec in specs if re.fullmatch(pattern, spec.name)),
        )
    if name in LISTS:
        description, calls = LISTS[name]
        return Group(description, frozenset(calls.split()))
    if name in TOGETHER:
        description, parts = TOGETHER[name]
        return Group(description, _composed(parts.split()))
    return None


def _composed(parts: Iterable[str]) -> frozenset[str]:
    calls: set[str] = set()
    for part in parts:
        name = part.removeprefix("-")
        found = _group(name)
        members = found.calls if found is not None else frozenset([name])
        if part.startswith("-"):
            calls -= members
        else:
            calls |= members
    return frozenset(calls)


class _Groups(Mapping[str, Group]):
    """Made when they are asked for."""

    def __init__(self) -> None:
        self._names = sorted({*_DERIVED, *PATTERNS, *LISTS, *TOGETHER})

    def __getitem__(self, name: str) -> Group:
        found = _group(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


GROUPS: Final[Mapping[str, Group]] = _Groups()
"""All groups, by name with its ``@``."""

UNGROUPED: Final = frozenset({"syscall"})
"""Calls that are in no group but ``@known``, on purpose."""
