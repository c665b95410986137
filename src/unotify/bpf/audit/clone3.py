"""clone3 has its flags in memory, so a filter that looks at clone's flags is blind there."""

from __future__ import annotations

from collections.abc import Iterator
from errno import ENOSYS

from unotify.abi.seccomp import ACTION_MASK, Action
from unotify.bpf.answers import Kind
from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.view import View

__all__ = ["CHECK"]


def look(view: View) -> Iterator[Finding]:
    """Find clone3 open beside a restricted clone, or refused so that libcs do not fall back."""
    for arch in view.architectures:
        kinds = view.answers.kinds(arch, "clone3")
        if view.is_guarded(arch, "clone") and Kind.LETS in kinds:
            yield Finding(
                Severity.HIGH,
                "clone is restricted and clone3 is not",
                "clone3 does the same with flags in memory, which a filter cannot see",
                "let clone3 fail with ENOSYS: libcs fall back to clone",
                ("clone3",),
                (arch,),
            )
        elif kinds == {Kind.REFUSES} and Kind.LETS in view.answers.kinds(arch, "clone"):
            actions = view.actions(arch, "clone3")
            if actions != {Action.ERRNO | ENOSYS}:
                killed = any(action & ACTION_MASK != Action.ERRNO for action in actions)
                yield Finding(
                    Severity.MEDIUM,
                    "clone3 is refused so that libcs do not fall back",
                    "glibc starts threads with clone3 and tries clone only after ENOSYS: "
                    f"{'programs die' if killed else 'starting a thread fails'}",
                    "let clone3 fail with ENOSYS",
                    ("clone3",),
                    (arch,),
                )


CHECK = Check("clone3", "does clone3 get around what clone may not?", look)
