"""``socketcall`` and ``ipc``: many calls behind one number, with arguments in memory."""

from __future__ import annotations

from collections.abc import Iterator

from unotify.abi import tables
from unotify.bpf.answers import Kind, kind_of
from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.view import View
from unotify.bpf.symbolic import Region, halves

__all__ = ["CHECK"]


def look(view: View) -> Iterator[Finding]:
    """Find restricted calls that go on through a multiplexer."""
    for arch in view.architectures:
        for name, parts in tables.MULTIPLEXERS.items():
            nr = tables.number(name, arch)
            if nr is None:
                continue
            regions = view.answers.of(arch, nr)
            _, low = halves(0, little=arch.little)
            through = tuple(
                part
                for selector, part in parts.items()
                if view.is_guarded(arch, part) and _lets(regions, low, selector)
            )
            if through:
                yield Finding(
                    Severity.HIGH,
                    f"{name} does what is restricted",
                    f"a 32-bit program can make these calls through {name}, with the arguments in "
                    "memory, where no filter sees them (B6)",
                    f"let {name} fail with ENOSYS, or at least for these selectors",
                    through,
                    (arch,),
                )


def _lets(regions: list[Region], word: int, selector: int) -> bool:
    return any(
        kind_of(region.action) is Kind.LETS and selector in region.box.words[word]
        for region in regions
    )


CHECK = Check("multiplexers", "do socketcall and ipc get around restrictions?", look)
