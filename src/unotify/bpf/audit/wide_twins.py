"""``stat`` and ``stat64``, ``futex`` and ``futex_time64``, ``dup2`` and ``dup3``: newer forms.

Generated from names: a suffix that says only how wide an argument is, or that
there is one more of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Final

from unotify.abi import model
from unotify.bpf.audit.at_twins import at_twins
from unotify.bpf.audit.families import in_family
from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.uneven import uneven
from unotify.bpf.audit.view import View

__all__ = ["CHECK", "wide_twins"]

_FORMS: Final = re.compile(
    r"(?:(?P<old>_?new|oldold|old|rt_)(?P<a>\w+)|(?P<b>\w*?[a-z_])(?:_time64|64|32|\d))"
)
_NO_TWINS: Final = frozenset(
    # clone3 has a check of its own; the others only sound alike.
    ["clone3", "newfstatat", "rt_sigreturn", "wait4", "sync_file_range2", "mmap2"]
)


@cache
def wide_twins() -> dict[str, tuple[str, ...]]:
    """For each call its other forms."""
    names = frozenset(model.names())
    found: dict[str, list[str]] = {}
    for name in model.names():
        match = _FORMS.fullmatch(name)
        base = match and (match["a"] or match["b"])
        if base in names and base is not None and name not in _NO_TWINS and not _relic(base, name):
            found.setdefault(base, []).append(name)
    return {base: tuple(forms) for base, forms in found.items()}


def _relic(*names: str) -> bool:
    return any(model.spec(name).removed for name in names)


def look(view: View) -> Iterator[Finding]:
    """Find forms of one call of which one is restricted and another open."""
    paths = at_twins().items()
    for base, forms in wide_twins().items():
        calls = (base, *forms)
        if in_family(calls) or any(set(calls) <= {twin, *others} for twin, others in paths):
            continue
        yield from uneven(
            view,
            calls,
            Severity.MEDIUM,
            reason="they are forms of one call; libcs pick one by version and architecture",
            cure="restrict all of them alike",
        )


CHECK = Check("wide-twins", "is a call open in its *64, *time64 or numbered form?", look)
