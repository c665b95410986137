"""Whoever installs a filter must hand its listener over, by calls that the filter sees."""

from __future__ import annotations

from collections.abc import Iterator

from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.view import View

__all__ = ["CHECK"]

_NEEDED = ("sendmsg", "sendto", "write", "close", "read", "recvmsg", "futex")


def look(view: View) -> Iterator[Finding]:
    """Find calls that wait for a supervisor that waits for them."""
    for arch in view.architectures:
        asked = tuple(call for call in _NEEDED if view.asks(arch, call))
        if not asked:
            continue
        worst = {"sendmsg", "write"} & set(asked)
        yield Finding(
            Severity.MEDIUM if worst else Severity.LOW,
            f"{', '.join(asked)} {'asks' if len(asked) == 1 else 'ask'} the supervisor",
            "launchers that hand the listener over from inside the filter wait for a supervisor "
            "that waits for the listener: a deadlock. runc refuses NOTIFY on write; unotify's own "
            "launcher fetches the listener from outside and is safe",
            "decide these calls in the filter if other launchers or runtimes shall use it",
            asked,
            (arch,),
        )


CHECK = Check("hand-over", "do launchers deadlock before the supervisor is there?", look)
