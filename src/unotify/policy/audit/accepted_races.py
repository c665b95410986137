"""Races that the author has accepted: worth a second look."""

from __future__ import annotations

from collections.abc import Iterator

from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.policy.model import Policy

__all__ = ["CHECK"]


def look(policy: Policy) -> Iterator[Finding]:
    """Find rules with ``racy = true``."""
    for rule in policy.rules:
        if rule.racy:
            yield Finding(
                Severity.INFO,
                f"{rule} accepts a race",
                "the call may go on after its memory was looked at, and another thread can change "
                f"it in between (C2). Its author says: {rule.because or 'nothing'}",
                "nothing, if that is still true",
                tuple(sorted(rule.calls)),
                place=str(rule.place),
            )


CHECK = Check("accepted-races", "which races has the author accepted?", look)
