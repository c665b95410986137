"""What several checks find: calls that do the same, of which not all are restricted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from unotify.bpf.audit.finding import Finding, Severity
from unotify.bpf.audit.view import View

__all__ = ["uneven"]


def uneven(
    view: View, calls: Sequence[str], severity: Severity, *, reason: str, cure: str
) -> Iterator[Finding]:
    """A finding for each architecture where some of *calls* are restricted and others are open."""
    for arch in view.architectures:
        guarded, free = view.guarded(arch, calls), view.open(arch, calls)
        if guarded and free:
            title = f"{', '.join(guarded)} restricted, {', '.join(free)} open"
            yield Finding(severity, title, reason, cure, free, (arch,))
