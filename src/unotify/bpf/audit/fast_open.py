"""A TCP connection that begins with data needs no connect."""

from __future__ import annotations

from collections.abc import Iterator

from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.view import View

__all__ = ["CHECK"]

_SENDERS = ("sendto", "sendmsg", "sendmmsg")


def look(view: View) -> Iterator[Finding]:
    """Find senders that connect."""
    for arch in view.architectures:
        free = view.open(arch, _SENDERS)
        if view.is_guarded(arch, "connect") and free:
            yield Finding(
                Severity.MEDIUM,
                f"connect restricted, {', '.join(free)} open",
                "with MSG_FASTOPEN they connect a TCP socket, and they send datagrams to any "
                "address without a connect",
                "refuse flags & MSG_FASTOPEN there, and restrict socket to the types that are "
                "needed",
                free,
                (arch,),
            )


CHECK = Check("fast-open", "can a program connect without connect?", look)
