"""``mkdir`` and ``mkdirat``: the same with and without a directory descriptor.

The pairs come from the call model: a call that takes a path relative to a
descriptor, and one of its name without ``at`` that takes a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Final

from unotify.abi import model
from unotify.abi.model import Role
from unotify.bpf.audit.families import in_family
from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.uneven import uneven
from unotify.bpf.audit.view import View

__all__ = ["CHECK", "at_twins"]

_AT: Final = re.compile(r"(?:new)?(f?)(\w+?)at(?:\d+)?(?:_time64)?")


@cache
def at_twins() -> dict[str, tuple[str, ...]]:
    """For each path call the calls that do the same relative to a descriptor."""
    found: dict[str, list[str]] = {}
    names = frozenset(model.names())
    for name in model.names():
        args = model.spec(name).args
        if not any(arg.role is Role.DIRFD for arg in args):
            continue
        match = _AT.fullmatch(name)
        if match is None:
            continue
        for base in (match[1] + match[2], match[2]):
            if base in names and any(arg.role is Role.PATH for arg in model.spec(base).args):
                found.setdefault(base, []).append(name)
                break
    return {base: tuple(others) for base, others in found.items()}


def look(view: View) -> Iterator[Finding]:
    """Find pairs of which one is restricted and the other open."""
    for base, others in at_twins().items():
        calls = (base, *others)
        if in_family(calls):
            continue
        # Those that only read are worth less.
        writes = not base.startswith(("read", "get", "list", "access", "stat"))
        yield from uneven(
            view,
            calls,
            Severity.HIGH if writes else Severity.MEDIUM,
            reason="they do the same, with and without a directory descriptor",
            cure="restrict all of them alike, or let those fail with ENOSYS that are not needed",
        )


CHECK = Check("at-twins", "is a path call open by its *at twin?", look)
