"""The seccomp interface of ``include/uapi/linux/seccomp.h``: all of its numbers.

Complete as of Linux 7.2; each value's docstring names the kernel that brought
it. How to find out at run time whether it is there is in :mod:`.features`:
versions are never compared, since distributions backport.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

__all__ = [
    "ACTION_MASK",
    "BPF_MAXINSNS",
    "DATA_MASK",
    "MAX_CHAIN_INSTRUCTIONS",
    "MAX_ERRNO",
    "PR_GET_NO_NEW_PRIVS",
    "PR_GET_SECCOMP",
    "PR_SET_NO_NEW_PRIVS",
    "PR_SET_SECCOMP",
    "Action",
    "AddFdFlag",
    "FilterFlag",
    "ListenerFlag",
    "Mode",
    "Operation",
    "ResponseFlag",
]


class Operation(IntEnum):
    """The first argument of seccomp(2)."""

    SET_MODE_STRICT = 0
    """Since 3.17. Flags and arguments must be zero."""
    SET_MODE_FILTER = 1
    """Since 3.17. The argument is a ``struct sock_fprog *``."""
    GET_ACTION_AVAIL = 2
    """Since 4.14. The argument is a ``u32 *``; EOPNOTSUPP for an unknown action."""
    GET_NOTIF_SIZES = 3
    """Since 5.0. The argument is a ``struct seccomp_notif_sizes *``."""


class Mode(IntEnum):
    """Modes of prctl(PR_SET_SECCOMP) and the ``Seccomp:`` line of /proc/PID/status."""

    DISABLED = 0
    STRICT = 1
    FILTER = 2


class FilterFlag(IntFlag):
    """Flags of SET_MODE_FILTER. Unknown bits are EINVAL."""

    TSYNC = 1 << 0
    """Since 3.17. All threads of the process take the caller's chain."""
    LOG = 1 << 1
    """Since 4.14. Audit every action but ALLOW."""
    SPEC_ALLOW = 1 << 2
    """Since 4.17. Do not force the speculative store bypass mitigation."""
    NEW_LISTENER = 1 << 3
    """Since 5.0. Return a listener."""
    TSYNC_ESRCH = 1 << 4
    """Since 5.7. TSYNC fails with ESRCH, not with a thread id; needed beside NEW_LISTENER (S1)."""
    WAIT_KILLABLE_RECV = 1 << 5
    """Since 5.19. After RECV only fatal signals end the wait (I5-I8). Needs NEW_LISTENER."""


class Action(IntEnum):
    """What a filter returns; in the order of the kernel's precedence, the strongest first.

    The upper 16 bits, compared as a signed number, are the action; the lower
    16 are its data (`DATA_MASK`), which never reach a listener (N14).
    """

    KILL_PROCESS = 0x80000000
    """Since 4.14."""
    KILL_THREAD = 0x00000000
    """Since 3.5."""
    TRAP = 0x00030000
    """Since 3.5. SIGSYS; the data is ``si_errno``."""
    ERRNO = 0x00050000
    """Since 3.5. The data is the errno, capped at 4095."""
    USER_NOTIF = 0x7FC00000
    """Since 5.0. Ask the listener; ENOSYS where there is none (F6)."""
    TRACE = 0x7FF00000
    """Since 3.5. Ask a ptracer; ENOSYS where there is none."""
    LOG = 0x7FFC0000
    """Since 4.14. Audit, then run the call."""
    ALLOW = 0x7FFF0000
    """Since 3.5."""


ACTION_MASK: Final = 0xFFFF0000
DATA_MASK: Final = 0x0000FFFF


class ResponseFlag(IntFlag):
    """``seccomp_notif_resp.flags``."""

    CONTINUE = 1 << 0
    """Since 5.5. Run the call in the target; value and error must be zero (C1)."""


class AddFdFlag(IntFlag):
    """``seccomp_notif_addfd.flags``."""

    SETFD = 1 << 0
    """Since 5.9. Install at exactly ``newfd``, replacing what is open there."""
    SEND = 1 << 1
    """Since 5.14. Answer with the new descriptor in the same step. Broken on 6.18 and 7.2 (A14)."""


class ListenerFlag(IntFlag):
    """Flags of the SET_FLAGS ioctl."""

    SYNC_WAKE_UP = 1 << 0
    """Since 6.6. Wake the other side on the same processor (W1-W3)."""


MAX_ERRNO: Final = 4095
"""The largest number that is an errno to libc and to the kernel."""

BPF_MAXINSNS: Final = 4096
"""The most instructions of one filter."""

MAX_CHAIN_INSTRUCTIONS: Final = 32768
"""The most instructions of a chain, 4 added for each earlier filter (ENOMEM)."""

PR_GET_SECCOMP: Final = 21
PR_SET_SECCOMP: Final = 22
PR_SET_NO_NEW_PRIVS: Final = 38
PR_GET_NO_NEW_PRIVS: Final = 39
