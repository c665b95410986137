"""The supervisor's own entries in ``/proc``, which are no target's.

Theory of operation. Who looks into ``/proc/PID`` has to have ptrace rights over that process,
but for one of its own threads, which may always. The thread that acts for a target is one of
ours. So what the kernel lets it do there, down to writing into our memory, says nothing about the
target, and is refused here, but for what all the world may read.

Which process an entry belongs to nothing tells but its path; one below a bind mount has a part of
that in the root of its mount.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import cache
from typing import Final

from unotify.kernel._libc import libc

__all__ = [
    "PROC_ROOT_INO",
    "depends_on_opener",
    "forbids",
    "is_proc",
    "mount_id",
    "require_foreign",
]

PROC_ROOT_INO: Final = 1
_PROC_MAGIC: Final = 0x9FA0

_fstatfs = libc.fstatfs

_PUBLIC: Final = frozenset(
    (
        *(b"cgroup", b"cmdline", b"comm", b"cpuset", b"limits", b"loginuid", b"oom_adj"),
        *(b"oom_score", b"oom_score_adj", b"sched", b"schedstat", b"sessionid", b"stat"),
        *(b"statm", b"status", b"task", b"wchan"),
    )
)
"""What is told of any process, but for those that hide (``hidepid``)."""


def require_foreign(directory: int, tid: int, name: bytes) -> None:
    """Raise `PermissionError` if *name* in *directory*, in a procfs, is ours and not public."""
    if forbids(directory, tid, name):
        raise PermissionError(errno.EACCES, "this is of the supervisor's own process")


def forbids(fd: int, tid: int, name: bytes = b"") -> bool:
    """Whether a target may not have what *fd* is, or *name* in it.

    Args:
        fd: Anything; only entries of ours in a procfs are forbidden.
        tid: The target, whose mounts are looked at.
        name: A name in the directory *fd*.
    """
    if os.major(os.fstat(fd).st_dev) or not is_proc(fd) or _is_ours(b"%d" % tid):
        return False
    parts = _parts(fd, tid)
    if parts is None:
        return True  # a mount that the target does not see: nobody knows what it is of
    parts += [name] if name else []
    ours = [at for at, part in enumerate(parts) if part.isdigit() and _is_ours(part)]
    if not ours:
        return False
    rest = parts[ours[-1] + 1 :]
    return len(rest) > 1 or any(part not in _PUBLIC for part in rest)


def depends_on_opener(fd: int, tid: int) -> bool:
    """Whether *fd*, of a procfs, tells of the namespaces of whoever opened it."""
    if os.major(os.fstat(fd).st_dev) or not is_proc(fd):
        return False
    parts = _parts(fd, tid)
    return parts is None or any(part in _OF_OPENER for part in parts)


_OF_OPENER: Final = frozenset((b"sys", b"sysvipc", b"keys", b"key-users"))


def _is_ours(number: bytes) -> bool:
    # In another pid namespace that may be somebody else: refused, then, for safety's sake.
    return os.path.exists(b"/proc/self/task/%s" % number)


def _parts(fd: int, tid: int) -> list[bytes] | None:
    """Components of the path of *fd*, those that a bind mount hides among them."""
    parts = os.readlink(b"/proc/thread-self/fd/%d" % fd).split(b"/")
    mount = mount_id(fd)
    if mount == _whole_proc():
        return parts
    try:
        with open(f"/proc/{tid}/mountinfo", "rb") as table:
            for line in table:
                number, _, _, root = line.split(maxsplit=4)[:4]
                if number == mount:
                    return root.split(b"/") + parts
    except OSError:
        pass
    return None


@cache
def _whole_proc() -> bytes:
    """The mount that is our ``/proc``, if nothing of it is hidden by its root."""
    fd = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
    try:
        return mount_id(fd) if os.fstat(fd).st_ino == PROC_ROOT_INO else b"-"
    finally:
        os.close(fd)


def mount_id(fd: int) -> bytes:
    """The number of the mount that *fd* is on, as ``/proc/PID/mountinfo`` has it."""
    with open(f"/proc/thread-self/fdinfo/{fd}", "rb") as info:
        return next((line.split()[1] for line in info if line.startswith(b"mnt_id:")), b"")


def is_proc(fd: int) -> bool:
    """Whether *fd* is of a procfs."""
    buffer = ctypes.create_string_buffer(512)
    if _fstatfs(fd, buffer):
        return False
    # A long, but on s390x an int.
    form = "=I" if os.uname().machine == "s390x" else "@l"
    kind: int = struct.unpack_from(form, buffer)[0]
    return kind == _PROC_MAGIC
