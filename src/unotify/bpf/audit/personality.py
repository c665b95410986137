"""``personality`` switches protections off."""

from __future__ import annotations

from collections.abc import Iterator

from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.view import View

__all__ = ["CHECK"]


def look(view: View) -> Iterator[Finding]:
    """Find personality open for any argument."""
    for arch in view.architectures:
        if view.is_open(arch, "personality"):
            yield Finding(
                Severity.INFO if view.opens(arch) else Severity.LOW,
                "personality is open for any argument",
                "it switches off address randomisation and makes readable memory executable "
                "(ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC), which helps exploits",
                "allow 0x0, 0x8, 0x20000, 0x20008 and 0xffffffff (which only asks), as engines do",
                ("personality",),
                (arch,),
            )


CHECK = Check("personality", "can protections be switched off?", look)
