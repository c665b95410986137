"""``restart_syscall`` continues what a signal has interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from errno import ENOSYS

from unotify.abi.seccomp import ACTION_MASK, Action
from unotify.bpf.answers import Kind
from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.view import View

__all__ = ["CHECK"]

_SLEEPERS = ("nanosleep", "clock_nanosleep", "clock_nanosleep_time64", "poll", "futex", "ppoll")


def look(view: View) -> Iterator[Finding]:
    """Find restart_syscall refused or asked about, where what it continues may go on."""
    for arch in view.architectures:
        kinds = view.answers.kinds(arch, "restart_syscall")
        sleepers = any(view.answers.may_go_on(arch, call) for call in _SLEEPERS)
        if not kinds or kinds == {Kind.LETS} or not sleepers:
            continue
        actions = view.actions(arch, "restart_syscall")
        fatal = any(
            action & ACTION_MASK in (Action.KILL_PROCESS, Action.KILL_THREAD, Action.TRAP)
            for action in actions
        )
        what = "asks the supervisor" if Kind.ASKS in kinds else "is refused"
        effect = (
            "the program dies when it is stopped and continued in a sleep"
            if fatal
            else "each stop and continue in a sleep is another notification"
            if Kind.ASKS in kinds
            else "a sleep fails with "
            f"{'ENOSYS' if actions == {Action.ERRNO | ENOSYS} else 'an errno that nobody expects'} "
            "when the program is stopped and continued"
        )
        yield Finding(
            Severity.MEDIUM,
            f"restart_syscall {what}",
            f"the kernel makes this call when a stopped sleep or poll goes on (C3): {effect}",
            "allow restart_syscall: it only goes on with what was allowed before",
            ("restart_syscall",),
            (arch,),
        )


CHECK = Check("restart", "can interrupted sleeps go on?", look)
