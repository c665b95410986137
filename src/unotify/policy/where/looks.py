"""Values that only the supervisor can see, and tests of them."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from posixpath import basename as base_of
from typing import Any, Final

from unotify.calls import TargetPath
from unotify.policy.conditions import Facts, Look, Need, PathTest
from unotify.policy.where.kinds import NUMBERS, Takes
from unotify.policy.where.numbers import Number

__all__ = [
    "Seen",
    "argument",
    "compare",
    "components",
    "contains",
    "glob_pattern",
    "is_below",
    "matches",
    "text",
    "under",
]

Network = IPv4Network | IPv6Network

OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_LONGEST: Final = 4096
"""A pattern is not tried on longer texts: the time it takes may grow faster than they do."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A value as the supervisor sees it.

    Attributes:
        text: As written.
        kind: ``text``, ``path``, ``number``, ``ip``, ``texts``, ``address`` or ``struct``.
        need: What it takes to see it.
        get: Looks; ``None`` where there is no such thing (a NULL path, a port of a unix socket).
        parts: The fields of a struct.
        takes: Which constants belong to it, where it is a number.
        given: The path argument that it is, as given; empty if it is something else.
    """

    text: str
    kind: str
    need: Need
    get: Callable[[Facts], Any]
    parts: tuple[str, ...] = ()
    takes: Takes = NUMBERS
    given: str = ""

    def __str__(self) -> str:
        return self.text

    def then(
        self, text: str, kind: str, change: Callable[[Any], Any], *, takes: Takes = NUMBERS
    ) -> Seen:
        """What *change* makes of it, ``None`` of ``None``."""

        def get(facts: Facts) -> Any:
            value = self.get(facts)
            return None if value is None else change(value)

        return replace(self, text=text, kind=kind, get=get, takes=takes, given="")

    def masked(self, text: str, mask: Number) -> Seen:
        """A number of which only the bits of *mask* are left."""
        bits = _native(mask, mask=True)

        def get(facts: Facts) -> Any:
            value = self.get(facts)
            return None if value is None else value & bits(facts)

        return replace(self, text=text, get=get, given="")


def text(value: Any) -> Any:
    """Paths and bytes as strings, also in a tuple; other things as they are."""
    if type(value) is tuple:
        return tuple(map(text, value))
    if isinstance(value, TargetPath):
        value = value.raw
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value


def _native(value: Number, *, mask: bool = False) -> Callable[[Facts], int]:
    """What *value* is for the architecture of a call."""
    if value.uniform:
        same = value.value
        return lambda facts: same
    return lambda facts: value.on(facts.call.arch, mask=mask)


def argument(name: str, kind: str, parts: tuple[str, ...] = ()) -> Seen:
    """An argument that points to something."""

    def get(facts: Facts) -> Any:
        return text(getattr(facts.call, name))

    return Seen(name, kind, Need.MEMORY, get, parts, given=name if kind == "path" else "")


def compare(seen: Seen, op: str, value: Any, written: str) -> Look:
    """``seen op value``; false where there is nothing to compare."""
    test = OPERATORS[op]
    native = _native(value) if isinstance(value, Number) else None

    def check(facts: Facts) -> bool:
        found = seen.get(facts)
        return found is not None and test(found, value if native is None else native(facts))

    plain = seen.given and op == "==" and isinstance(value, str)
    return Look(written, seen.need, check, PathTest(seen.given, False, (value,)) if plain else None)


def under(seen: Seen, directories: tuple[str, ...], written: str) -> Look:
    """Whether a path lies below one of *directories*; false where there is no path."""

    def check(facts: Facts) -> bool:
        found = seen.get(facts)
        return found is not None and any(is_below(found, directory) for directory in directories)

    path = PathTest(seen.given, True, directories) if seen.given else None
    return Look(written, seen.need, check, path, directories)


def contains(
    seen: Seen,
    values: frozenset[Any],
    networks: tuple[Network, ...],
    written: str,
    *,
    wanted: bool = True,
) -> Look:
    """Whether it is one of *values*, numbers or texts, or an address in one of *networks*.

    Without *wanted* whether it is none of them. Either is false where there is nothing.
    """
    natives = tuple(_native(value) for value in values if isinstance(value, Number))

    def check(facts: Facts) -> bool:
        found = seen.get(facts)
        if found is None:
            return False
        among = found in values or any(found == native(facts) for native in natives)
        return (among or (bool(networks) and _within(found, networks))) is wanted

    plain = seen.given and wanted and not networks and all(isinstance(v, str) for v in values)
    path = PathTest(seen.given, False, tuple(sorted(values))) if plain else None
    plainly = {str(v.value) if isinstance(v, Number) else str(v) for v in (*values, *networks)}
    return Look(written, seen.need, check, path, tuple(sorted(plainly)))


def _within(found: Any, networks: tuple[Network, ...]) -> bool:
    address = ip_address(found) if isinstance(found, str) else found
    # An IPv6 socket reaches IPv4 hosts by mapped addresses.
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address.version == network.version and address in network for network in networks)


def is_below(path: str, directory: str) -> bool:
    """Whether *path*, as written, lies below *directory* or is it; never through a ``..``."""
    if not path.startswith("/"):
        return False
    # Not normpath: it keeps two slashes in front, which mean no more than one to Linux.
    parts, above = components(path), components(directory)
    return ".." not in parts and parts[: len(above)] == above


def components(path: str) -> list[str]:
    """The names that a path goes through."""
    return [part for part in path.split("/") if part not in ("", ".")]


def basename(path: str) -> str:
    """The last component."""
    return base_of(path.rstrip("/"))


def glob_pattern(pattern: str) -> re.Pattern[str]:
    """A shell pattern: ``*`` and ``?`` stop at a slash, ``**`` does not."""
    made = []
    for part in re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]/]+\])", pattern):
        match part:
            case "**/":
                made.append("(?:[^/]*/)*")
            case "**":
                made.append(".*")
            case "*":
                made.append("[^/]*")
            case "?":
                made.append("[^/]")
            case _ if part.startswith("[") and part.endswith("]"):
                negated = part[1] in "!^"
                body = re.escape(part[2 if negated else 1 : -1]).replace(r"\-", "-")
                made.append(f"[{'^/' if negated else ''}{body}]")
            case _:
                made.append(re.escape(part))
    return re.compile("".join(made), re.DOTALL)


def matches(
    seen: Seen,
    patterns: tuple[re.Pattern[str], ...],
    written: str,
    compared: tuple[str, ...] = (),
) -> Look:
    """Whether all of it matches one of *patterns*; more than 4096 characters do not.

    *compared* has them as their author wrote them.
    """

    def check(facts: Facts) -> bool:
        found = seen.get(facts)
        if found is None or len(found) > _LONGEST:
            return False
        return any(pattern.fullmatch(found) for pattern in patterns)

    return Look(written, seen.need, check, None, compared)
