"""Calls that never return EINTR by themselves, so that nobody tries them again."""

from __future__ import annotations

from collections.abc import Iterator

from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.view import View

__all__ = ["CHECK"]

_HARMFUL = "close fork vfork clone clone3 munmap exit exit_group"
_OTHERS = (
    "alarm brk close_range dup dup2 dup3 epoll_create epoll_create1 eventfd eventfd2 fcntl fcntl64 "
    "fstat fstat64 futex getcwd getegid geteuid getgid getpgid getpgrp getpid getppid getsid "
    "getsockname gettid getuid kill listen lseek madvise memfd_create mmap mmap2 mprotect mremap "
    "newfstatat pipe pipe2 prctl rt_sigaction rt_sigprocmask rt_sigreturn sched_yield "
    "set_robust_list set_tid_address setsockopt sigaltstack sigreturn socket socketpair stat statx "
    "tgkill umask uname"
)


def look(view: View) -> Iterator[Finding]:
    """Find such calls that ask the supervisor."""
    for arch in view.architectures:
        for calls, severity in ((_HARMFUL, Severity.MEDIUM), (_OTHERS, Severity.LOW)):
            asked = tuple(call for call in calls.split() if view.asks(arch, call))
            if asked:
                yield Finding(
                    severity,
                    "calls that are never tried again ask the supervisor",
                    "a signal ends the wait with EINTR, which these calls do not return otherwise: "
                    "callers take it for a failure, and a lost close or fork breaks them (I2). "
                    "WAIT_KILLABLE_RECV helps only from the moment of RECV on (I5)",
                    "decide them in the filter, or receive at once with WAIT_KILLABLE_RECV",
                    asked,
                    (arch,),
                )


CHECK = Check("never-retried", "can a signal lose a call that is never tried again?", look)
