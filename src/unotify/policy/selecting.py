"""Which calls a rule is about: names, groups, sets and patterns, added and taken away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from unotify.abi import model
from unotify.abi.arch import Arch
from unotify.abi.hints import nearest
from unotify.errors import PolicyError, UnknownName
from unotify.policy.groups import GROUPS
from unotify.policy.problems import shown

__all__ = ["ITEM", "Item", "Selector", "combine", "expand"]

ITEM: Final = r"[+-]?(@?[A-Za-z_][A-Za-z0-9_-]*|[A-Za-z0-9_]*\*[A-Za-z0-9_*]*)(@[a-z0-9_]+)?"
"""The form of an item; whether its names exist is another question."""

_ITEM: Final = re.compile(ITEM)
_DEEPEST: Final = 16

_ALIASES: Final = [("sync_file_range2", "arm_sync_file_range", Arch.ARM)]
"""Names that stand for another call's number on an architecture."""

_LABELS: Final = {arch.label: arch for arch in Arch}


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a list of calls.

    Attributes:
        calls: What it names.
        remove: Whether it takes them away.
        arch: The only architecture that it is about, or ``None``.
    """

    calls: frozenset[str]
    remove: bool = False
    arch: Arch | None = None


class Selector:
    """Reads items; knows the policy's own sets.

    Attributes:
        used: The own sets that were asked for.
    """

    def __init__(self, sets: Mapping[str, Sequence[object]] | None = None) -> None:
        self._sets = sets or {}
        self._members: dict[str, frozenset[str]] = {}
        self.used: set[str] = set()

    def item(self, text: str) -> Item:
        """Read ``openat``, ``@group``, ``@own-set``, ``get*``; with ``-``, and ``@x86_64``.

        Raises:
            UnknownName: No such call, group, set or architecture; the hint is the nearest one.
            PolicyError: It has another form, or its set is not one of calls.
        """
        return self._item(text, ())

    def _item(self, text: str, within: tuple[str, ...]) -> Item:
        found = _ITEM.fullmatch(text)
        if found is None:
            raise PolicyError(
                f"{shown(text)} is not the name of a call",
                hint='write "openat", "@file-system", "get*", "-mount", or "open@x86_64"',
            )
        name, suffix = found[1], found[2]
        arch = None
        if suffix:
            arch = _LABELS.get(suffix[1:])
            if arch is None:
                raise UnknownName(
                    f"no architecture is named {shown(suffix[1:])}",
                    hint=nearest(suffix[1:], _LABELS) or "'unotify calls openat' lists them",
                )
        return Item(self._calls(name, within), text.startswith("-"), arch)

    def _calls(self, name: str, within: tuple[str, ...]) -> frozenset[str]:
        if name in GROUPS:
            return GROUPS[name].calls
        if name.startswith("@"):
            return self._own(name[1:], within)
        if "*" in name:
            calls = frozenset(call for call in model.names() if fnmatchcase(call, name))
            if not calls:
                raise UnknownName(
                    f"no call matches {shown(name)}", hint="'unotify calls' lists all"
                )
            return calls
        if name in model.names():
            return frozenset([name])
        if name in self._sets or f"@{name}" in GROUPS:
            hint = f'a group or set is written with an @: "@{name}"'
        else:
            hint = nearest(name, model.names()) or "'unotify calls' lists all"
        raise UnknownName(f"no system call is named {shown(name)}", hint=hint)

    def _own(self, name: str, within: tuple[str, ...]) -> frozenset[str]:
        known = self._members.get(name)
        if known is not None:
            return known
        if name not in self._sets:
            names = [*GROUPS, *(f"@{own}" for own in self._sets)]
            raise UnknownName(
                f"no group or set is named {shown('@' + name)}",
                hint=nearest(f"@{name}", names) or "'unotify check --groups' lists the groups",
            )
        self.used.add(name)
        if name in within or len(within) >= _DEEPEST:
            raise PolicyError(
                f"the set {shown(name)} holds itself"
                if name in within
                else f"more than {_DEEPEST} sets in each other"
            )
        try:
            parts = [self._part(name, part, (*within, name)) for part in self._sets[name]]
        except PolicyError as error:
            if within:
                raise
            raise type(error)(f"{error}, in the set {shown(name)}", hint=error.hint) from None
        self._members[name] = frozenset(combine(parts))
        return self._members[name]

    def _part(self, name: str, part: object, within: tuple[str, ...]) -> Item:
        if not isinstance(part, str):
            raise PolicyError(f"{shown(part)} is not the name of a call")
        found = self._item(part, within)
        if found.arch is not None:
            raise PolicyError(
                f"{shown(part)} is about one architecture",
                hint=f'say that where the set is used: "@{name}@{found.arch.label}"',
            )
        return found


def combine(items: Iterable[Item]) -> dict[str, frozenset[Arch] | None]:
    """Add and take away, in order; each call with the architectures where, ``None`` for all."""
    every = frozenset(Arch)
    found: dict[str, frozenset[Arch]] = {}
    for part in items:
        archs = every if part.arch is None else frozenset([part.arch])
        for call in sorted(part.calls):
            before = found.get(call, frozenset())
            after = before - archs if part.remove else before | archs
            if after:
                found[call] = after
            else:
                found.pop(call, None)
    for alias, call, arch in _ALIASES:
        if arch in found.get(alias, frozenset()):
            found[call] = found.get(call, frozenset()) | {arch}
    return {call: None if archs == every else archs for call, archs in found.items()}


def expand(
    items: Sequence[str], sets: Mapping[str, Sequence[object]] | None = None
) -> dict[str, frozenset[Arch] | None]:
    """All calls of a list, each with the architectures where; ``None`` for all.

    Args:
        items: As a rule's ``calls``.
        sets: The policy's own sets.

    Raises:
        PolicyError: See `Selector.item`.
    """
    selector = Selector(sets)
    return combine(selector.item(text) for text in items)
