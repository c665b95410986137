"""Does a test of an ``int`` look at the upper half of its register, which the kernel ignores?"""

from __future__ import annotations

from collections.abc import Iterator

from unotify.abi import model, tables
from unotify.abi.arch import Arch
from unotify.bpf.answers import Kind, kind_of
from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.view import View
from unotify.bpf.symbolic import Box, Region, halves
from unotify.bpf.wordsets import WORDS

__all__ = ["CHECK"]


def look(view: View) -> Iterator[Finding]:
    """Find refusals that a dirty upper half of an argument gets around."""
    for arch in view.architectures:
        found = [
            call
            for nr, call in tables.names(arch).items()
            if Kind.LETS in (kinds := view.answers.kinds(arch, call))
            and len(kinds) > 1
            and _dirty(view.answers.of(arch, nr), arch, call)
        ]
        if found:
            yield Finding(
                Severity.HIGH,
                "bits that the kernel ignores decide",
                "the kernel takes the lower half of these arguments, and the program may put "
                "anything into the upper one (B3): with it the call goes on that would be refused",
                "compare the lower half only",
                tuple(found),
                (arch,),
            )


def _dirty(regions: list[Region], arch: Arch, call: str) -> bool:
    ignored = {
        halves(arg.index, little=arch.little)[0]
        for arg in model.spec(call, arch).args
        if (arg.bits or arch.bits) <= 32
    }
    if arch.bits == 32:
        ignored = {halves(index, little=arch.little)[0] for index in range(6)}
    lets = [region.box for region in regions if kind_of(region.action) is Kind.LETS]
    others = [
        region.box
        for region in regions
        if kind_of(region.action) is not Kind.LETS
        and all(0 in region.box.words[at] for at in ignored)
    ]
    return any(
        any(0 not in box.words[at] for at in ignored) and _meet(box, other, ignored)
        for box in lets
        for other in others
    )


def _meet(one: Box, other: Box, ignored: set[int]) -> bool:
    found: Box | None = one
    for index, words in enumerate(other.words):
        if found is None:
            return False
        found = found.narrowed(index, WORDS if index in ignored else words)
    return found is not None


CHECK = Check("upper-halves", "does an ignored half of an argument decide?", look)
