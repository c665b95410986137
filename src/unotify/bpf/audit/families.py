"""Calls that do the same under names that do not tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.uneven import uneven
from unotify.bpf.audit.view import View

__all__ = ["CHECK", "in_family"]


class _Family(NamedTuple):
    calls: str
    what: str
    severity: Severity = Severity.HIGH


_MEDIUM, _LOW = Severity.MEDIUM, Severity.LOW

_FAMILIES: Final = (
    _Family("open creat openat openat2", "opens or creates a file"),
    _Family("rmdir unlinkat", "removes a directory"),
    _Family("umount umount2", "unmounts"),
    _Family("init_module finit_module", "loads a module"),
    _Family("kexec_load kexec_file_load", "loads another kernel"),
    _Family("chmod fchmod fchmodat fchmodat2", "changes permissions"),
    _Family(
        "chown lchown fchown fchownat chown32 lchown32 fchown32", "changes the owner of a file"
    ),
    _Family("setxattr lsetxattr fsetxattr setxattrat", "sets attributes, capabilities too"),
    _Family("removexattr lremovexattr fremovexattr removexattrat", "removes attributes", _MEDIUM),
    _Family("utime utimes futimesat utimensat utimensat_time64", "changes file times", _MEDIUM),
    _Family("mount move_mount", "mounts: fsopen, fsmount and move_mount do the work of mount"),
    _Family("unshare clone", "makes namespaces", _MEDIUM),
    _Family(
        "settimeofday stime clock_settime clock_settime64 adjtimex clock_adjtime clock_adjtime64",
        "sets the clock",
        _MEDIUM,
    ),
    _Family("setuid setreuid setresuid setuid32 setreuid32 setresuid32", "changes user ids"),
    _Family("setgid setregid setresgid setgid32 setregid32 setresgid32", "changes group ids"),
    _Family("setrlimit prlimit64", "sets resource limits", _MEDIUM),
    _Family(
        "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal",
        "sends signals",
        _MEDIUM,
    ),
    _Family("process_vm_writev ptrace", "writes to other processes", _MEDIUM),
    _Family("sched_setscheduler sched_setattr", "sets the scheduler", _LOW),
)


def in_family(calls: Iterable[str]) -> bool:
    """Whether all *calls* are in one family, so that this check speaks of them."""
    wanted = set(calls)
    return any(wanted <= set(family.calls.split()) for family in _FAMILIES)


def look(view: View) -> Iterator[Finding]:
    """Find families of which one is restricted and another one open."""
    for family in _FAMILIES:
        yield from uneven(
            view,
            family.calls.split(),
            family.severity,
            reason=f"each of them {family.what}",
            cure="restrict all of them alike, or let those fail with ENOSYS that are not needed",
        )


CHECK = Check("families", "is there another call that does the same?", look)
