"""Calls that reach into other processes, beside decisions that rest on what these do."""

from __future__ import annotations

from collections.abc import Iterator

from unotify.abi import tables
from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.view import View

__all__ = ["CHECK"]

_DOORS = ("ptrace", "process_vm_writev", "pidfd_getfd")


def look(view: View) -> Iterator[Finding]:
    """Find such calls open where a supervisor decides."""
    for arch in view.architectures:
        free = view.open(arch, _DOORS)
        asked = [call for call in tables.numbers(arch) if view.asks(arch, call)]
        if free and asked:
            yield Finding(
                Severity.MEDIUM,
                f"{', '.join(free)} open beside calls that the supervisor decides",
                "one target can change the memory and registers of another while it is looked at, "
                "or take its descriptors (C2)",
                "refuse them",
                free,
                (arch,),
            )


CHECK = Check("doors", "can targets reach into each other?", look)
