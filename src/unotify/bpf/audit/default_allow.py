"""A list of what is denied does not know what comes tomorrow."""

from __future__ import annotations

from collections.abc import Iterator

from unotify.abi import tables
from unotify.bpf.answers import Kind, kind_of
from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.view import View

__all__ = ["CHECK"]


def look(view: View) -> Iterator[Finding]:
    """Find filters that let go on what they do not mention."""
    for arch in view.architectures:
        if not view.opens(arch):
            continue
        names = tables.numbers(arch)
        if all(view.is_open(arch, name) for name in names):
            continue
        future = any(kind_of(region.action) is Kind.LETS for region in view.answers.unknown(arch))
        yield Finding(
            Severity.MEDIUM if future else Severity.LOW,
            "what is not mentioned may go on",
            "a list of what is denied is complete for the calls its author knew"
            + (
                "; calls that newer kernels have are open too"
                if future
                else "; calls that newer kernels have are refused here, which is good"
            ),
            "list what is allowed and refuse the rest"
            + ("; at least let unknown numbers fail with ENOSYS" if future else ""),
            (),
            (arch,),
        )


CHECK = Check("default-allow", "may go on what nobody has thought of?", look)
