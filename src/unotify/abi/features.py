"""What a kernel may or may not have, and how to find out.

Versions are never compared: distributions backport, sandboxes take away. Each
feature has a probe, which `unotify.kernel.probe` runs in a throw-away child.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["Feature"]


class Feature(Enum):
    """One probed feature.

    Attributes:
        label: Name on the command line and in ``Enforcement.missing``.
        since: The first mainline kernel with it.
        probe: How to tell, in one sentence.
    """

    label: str
    since: str
    probe: str

    USER_NOTIF = ("user-notif", "5.0", "GET_ACTION_AVAIL(USER_NOTIF) returns 0")
    NEW_LISTENER = ("new-listener", "5.0", "a real filter with NEW_LISTENER returns a descriptor")
    TSYNC = ("tsync", "3.17", "TSYNC with a NULL program is EFAULT, not EINVAL")
    LOG = ("log", "4.14", "LOG with a NULL program is EFAULT, not EINVAL")
    SPEC_ALLOW = ("spec-allow", "4.17", "SPEC_ALLOW with a NULL program is EFAULT, not EINVAL")
    TSYNC_ESRCH = ("tsync-esrch", "5.7", "TSYNC_ESRCH with a NULL program is EFAULT, not EINVAL")
    WAIT_KILLABLE_RECV = (
        "wait-killable-recv",
        "5.19",
        "NEW_LISTENER | WAIT_KILLABLE_RECV with a NULL program is EFAULT, not EINVAL",
    )
    CONTINUE = ("continue", "5.5", "SEND of an unused id with flag 1 is ENOENT, not EINVAL")
    ID_VALID = ("id-valid", "5.8", "ID_VALID by its corrected number is ENOENT, not EINVAL")
    ADDFD = ("addfd", "5.9", "ADDFD for an unused id is ENOENT, not EINVAL")
    ADDFD_SEND = ("addfd-send", "5.14", "ADDFD with flag 2 for an unused id is ENOENT, not EINVAL")
    SYNC_WAKE_UP = ("sync-wake-up", "6.6", "SET_FLAGS 0 on an idle listener is 0, not EINVAL")
    HANGUP_AT_EXIT = (
        "hangup-at-exit",
        "6.11",
        "the listener of an unreaped zombie polls as hung up (E4)",
    )
    RECV_ENDS = ("recv-ends", "6.11", "RECV without users left is ENOENT at once (E6)")
    PIDFD_THREAD = (
        "pidfd-thread",
        "6.9",
        "pidfd_open(2) of a non-leader with PIDFD_THREAD succeeds",
    )
    PIDFD_GETFD = ("pidfd-getfd", "5.6", "pidfd_getfd(2) of a child's descriptor succeeds")
    PROCESS_VM_READV = ("process-vm-readv", "3.2", "process_vm_readv(2) of a child succeeds")

    def __init__(self, label: str, since: str, probe: str) -> None:
        self.label = label
        self.since = since
        self.probe = probe

    def __repr__(self) -> str:
        return f"Feature.{self.name}"
