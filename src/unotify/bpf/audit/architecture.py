"""Does it look at the architecture, and what does it do with those it does not know?"""

from __future__ import annotations

from collections.abc import Iterator

from unotify.bpf.answers import Kind, kind_of
from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.view import View

__all__ = ["CHECK"]

_CURE = "test the architecture first, and kill or refuse what is none of yours"


def look(view: View) -> Iterator[Finding]:
    """Find calls of foreign architectures that go on."""
    kinds = {kind_of(region.action) for region in view.answers.regions}
    if Kind.LETS not in kinds or len(kinds) == 1:
        return  # there is nothing to get around
    if not view.answers.aware:
        yield Finding(
            Severity.HIGH,
            "the architecture is never looked at",
            "a number means another call on another architecture, and a 64-bit program can make "
            "32-bit calls too (B2): each restriction can be got around",
            _CURE,
        )
    elif any(kind_of(region.action) is Kind.LETS for region in view.answers.foreign()):
        yield Finding(
            Severity.HIGH,
            "calls of other architectures may go on",
            "a 64-bit program can make 32-bit calls (B2), and none of the restrictions holds there",
            _CURE,
        )


CHECK = Check("architecture", "is the architecture of a call looked at?", look)
