"""Whether any arguments at all meet several conditions on registers at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.seccomp import Action
from unotify.bpf import Always, And, Never, RegisterPredicate, compile_filter
from unotify.bpf.symbolic import regions

__all__ = ["possible"]

_HIT: Final = int(Action.LOG)


def possible(terms: Iterable[RegisterPredicate], arch: Arch) -> bool:
    """Whether arguments exist for which all of *terms* hold; exact."""
    wanted = [term for term in dict.fromkeys(terms) if not isinstance(term, Always)]
    if any(isinstance(term, Never) for term in wanted):
        return False
    if not wanted:
        return True
    # A program that answers only what meets them has a region there, or none does.
    nr = next(iter(tables.names(arch)))
    program = compile_filter(
        {arch: {nr: [(And(tuple(wanted)), _HIT), int(Action.ALLOW)]}}, default=int(Action.ALLOW)
    )
    return any(region.action == _HIT for region in regions(program))
