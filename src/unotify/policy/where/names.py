"""The kernel's constants by name, as an expression may use them."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from unotify.abi import constants

__all__ = ["constant_of", "known"]


@cache
def known() -> Mapping[str, int]:
    """All constants that mean the same wherever they are named."""
    found: dict[str, int] = {
        name: value
        for name, value in vars(stat).items()
        if name.startswith("S_I") and isinstance(value, int)
    }
    # A descriptor that is none, and masks of fields: members of no set.
    found |= {"AT_FDCWD": -100, "O_ACCMODE": 3, "S_IFMT": 0o170000, "SOCK_TYPE_MASK": 0xF}
    ambiguous: set[str] = set()
    for kind in dir(constants):
        members: Any = getattr(getattr(constants, kind), "__members__", {})
        for name, member in members.items():
            if found.setdefault(name, int(member)) != int(member):
                ambiguous.add(name)
    return MappingProxyType({name: value for name, value in found.items() if name not in ambiguous})


def constant_of(name: str, kind: Any) -> int | None:
    """The value of *name*, first of all in *kind*, the constants that belong to an argument."""
    member = getattr(kind, "__members__", {}).get(name) if kind is not None else None
    return int(member) if member is not None else known().get(name)
