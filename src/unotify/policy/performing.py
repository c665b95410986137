"""Which calls the supervisor can do for a target, and why it cannot do the others."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from unotify.abi import model
from unotify.calls.acts import act_of
from unotify.policy.groups import GROUPS

__all__ = ["unperformable"]

_SELF: Final = "it changes the calling process itself"
_MEMORY: Final = "it changes the memory of the calling process"
_TABLE: Final = "it acts on the table of descriptors of the calling process"
_WAITS: Final = "it waits for, or handles, what concerns the calling process alone"
_DRIVER: Final = "only the driver behind the descriptor knows what its argument means"
_DATA: Final = "it moves the data of the calling process, which is better left to the kernel"

# Where two reasons name a call, the later one counts.
_REASONS: Final[Mapping[str, str]] = {
    _SELF: "@setuid @sandbox @thread @namespace execve execveat fork vfork exit exit_group chdir "
    "fchdir chroot umask capset prctl arch_prctl personality setpgid setsid nice uselib "
    "set_mempolicy vhangup ptrace seccomp",
    _MEMORY: "@memory shmat shmdt userfaultfd modify_ldt io_setup",
    _WAITS: "@signal @timer @io-event wait4 waitid waitpid",
    _DRIVER: "ioctl",
    _DATA: "@basic-io @copying @io-uring @aio",
    _TABLE: "close close_range dup dup2 dup3 fcntl fcntl64",
}


def _named(text: str) -> set[str]:
    calls: set[str] = set()
    for name in text.split():
        calls |= GROUPS[name].calls if name.startswith("@") else {name}
    return calls


@cache
def _refused() -> Mapping[str, str]:
    return {call: reason for reason, text in _REASONS.items() for call in _named(text)}


@cache
def unperformable(call: str) -> str | None:
    """Why the supervisor cannot do *call* for its caller, or ``None`` if it can."""
    if act_of(call) is None and (reason := _refused().get(call)) is not None:
        return reason
    if model.spec(call).removed:
        return "the kernel has no code for it any more"
    if act_of(call) is not None:
        return None
    if call in GROUPS["@mount"].calls:
        return "it wants a handler that knows file systems, not a mere copy of its arguments"
    return "its effect, or its answer, belongs to the calling process"
