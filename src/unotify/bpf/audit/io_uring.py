"""What a ring does is not seen by any filter."""

from __future__ import annotations

from collections.abc import Iterator

from unotify.bpf.audit.finding import Check, Finding, Severity
from unotify.bpf.audit.view import View

__all__ = ["CHECK"]

_DONE_BY_RINGS = (
    "accept accept4 bind close connect creat epoll_ctl fallocate fgetxattr fsetxattr fsync "
    "ftruncate getxattr link linkat listen mkdir mkdirat open openat openat2 pipe pipe2 read readv "
    "recv recvfrom recvmsg rename renameat renameat2 rmdir send sendmsg sendto setsockopt setxattr "
    "shutdown socket splice stat statx symlink symlinkat tee unlink unlinkat write writev"
)
_REST = ("io_uring_enter", "io_uring_register")


def look(view: View) -> Iterator[Finding]:
    """Find rings that do what calls may not."""
    for arch in view.architectures:
        guarded = view.guarded(arch, _DONE_BY_RINGS.split())
        if not guarded:
            continue
        if view.is_open(arch, "io_uring_setup"):
            yield Finding(
                Severity.HIGH,
                "io_uring is open while files or sockets are restricted",
                "the operations of a ring are not calls: no filter sees them (B9). It does the "
                f"work of {', '.join(guarded[:6])}{' ...' if len(guarded) > 6 else ''}",
                "let io_uring_setup fail with ENOSYS or EPERM; programs fall back",
                ("io_uring_setup",),
                (arch,),
            )
        elif rest := view.open(arch, _REST):
            yield Finding(
                Severity.INFO,
                "an inherited ring could be used",
                "io_uring_setup is closed, but these work on a ring that the program inherits (B9)",
                "close all three",
                rest,
                (arch,),
            )


CHECK = Check("io-uring", "can a ring do what calls may not?", look)
