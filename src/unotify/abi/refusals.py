"""Which errno a program expects when a call is refused.

Programs handle the errors that their manual pages name. A refused connect that
gives EPERM ends many of them; ECONNREFUSED they know.
"""

from __future__ import annotations

from errno import EACCES, EADDRNOTAVAIL, ECONNREFUSED, ENOENT, EPERM, EROFS
from typing import Final

from unotify.abi import model
from unotify.abi.model import Role

__all__ = ["REASONS", "refusal"]

REASONS: Final = {"hidden": ENOENT, "read-only": EROFS}
"""Why something is refused, where that decides more than the call does."""

_CALLS: Final = {
    "connect": ECONNREFUSED,
    "bind": EADDRNOTAVAIL,
    "socket": EACCES,
    "socketpair": EACCES,
    "sendto": EACCES,
    "sendmsg": EACCES,
    "sendmmsg": EACCES,
    "listen": EACCES,
    "execve": EACCES,
    "execveat": EACCES,
}

# These need a privilege; the manual pages say EPERM for those who lack it, path or not.
_PRIVILEGED: Final = frozenset(
    [
        "acct",
        "chroot",
        "fsconfig",
        "fsmount",
        "fsopen",
        "fspick",
        "link",
        "linkat",
        "mknod",
        "mknodat",
        "mount",
        "mount_setattr",
        "move_mount",
        "open_tree",
        "open_tree_attr",
        "pivot_root",
        "quotactl",
        "swapoff",
        "swapon",
        "umount",
        "umount2",
        "setxattr",
        "lsetxattr",
        "setxattrat",
        "removexattr",
        "lremovexattr",
        "removexattrat",
        "chown",
        "lchown",
        "fchownat",
        "chmod",
        "fchmodat",
        "fchmodat2",
        "utime",
        "utimes",
        "utimensat",
        "futimesat",
        "name_to_handle_at",
        "open_by_handle_at",
    ]
)


def refusal(call: str | None, why: str | None = None) -> int:
    """The errno for refusing *call*.

    Args:
        call: The kernel's name, or ``None`` for a number that no table knows.
        why: A key of `REASONS`, or ``None``.
    """
    if why is not None:
        return REASONS[why]
    if call is None:
        return EPERM
    found = _CALLS.get(call)
    if found is not None:
        return found
    takes_path = any(arg.role is Role.PATH for arg in model.spec(call).args)
    return EACCES if takes_path and call not in _PRIVILEGED else EPERM
