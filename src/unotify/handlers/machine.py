"""What a program asks of the whole machine: reboot, swap, its name, quotas.

Theory of operation. A container has no machine to switch off and no disks to page to. Of each of
these calls a policy says what the answer is; the checks that the kernel makes before it does
anything, of capabilities and of arguments, are made all the same, with the caller's capability in
its container. So a program finds out what it would find out, and only the deed differs.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from unotify.abi.capabilities import Capability
from unotify.abi.types import Address
from unotify.calls import Call
from unotify.calls.lookups import spot_of
from unotify.kernel.privileged import set_node_name
from unotify.protocol import Continue, Fail, Reply, Return
from unotify.supervisor.addons import verb

__all__ = ["emulate_hostname", "emulate_quota", "emulate_reboot", "emulate_swap"]

_MAGIC: Final = 0xFEE1DEAD
_MAGIC2: Final = frozenset({0x28121969, 0x05121996, 0x16041998, 0x20112000})
_CAD: Final = frozenset({0x89ABCDEF, 0})
_ENDING: Final = frozenset({0x01234567, 0xCDEF0123, 0x4321FEDC, 0xA1B2C3D4})
_SWAP_FLAGS: Final = 0x7FFFF
_NAME_MAX: Final = 64

_Q_SYNC: Final = 0x800001
_SETTING: Final = frozenset(
    {0x800002, 0x800003, 0x800006, 0x800008, 0x5801, 0x5802, 0x5804, 0x5806}
)
_GETTING: Final = frozenset(
    {0x800004, 0x800005, 0x800007, 0x800009, 0x5803, 0x5805, 0x5808, 0x5809}
)
_OF_OTHERS: Final = frozenset({0x800007, 0x800009, 0x5803, 0x5809})
_XQUOTASYNC: Final = 0x5807
_MAX_TYPES: Final = 3


def emulate_reboot(call: Call, *, answer: str = "container") -> Reply:
    """Answer reboot(2).

    Args:
        call: The call.
        answer: ``container`` lets the kernel end the caller's pid namespace, which is what reboot
            means in one; in the supervisor's own it is EPERM. ``fake`` says that it was done.
            ``deny`` is EPERM. What Ctrl-Alt-Del does can be said always, and changes nothing.

    Raises:
        Refused: EPERM without CAP_SYS_BOOT in the container.
    """
    call.caller.around.require(Capability.CAP_SYS_BOOT)
    magic = call.register("magic") & 0xFFFFFFFF
    if magic != _MAGIC or call.register("magic2") & 0xFFFFFFFF not in _MAGIC2:
        return Fail(errno.EINVAL)
    command = call.register("cmd") & 0xFFFFFFFF
    if answer == "deny":
        return Fail(errno.EPERM)
    if command in _CAD:
        return Return(0)
    if command not in _ENDING:
        return Fail(errno.EINVAL)  # kexec and hibernation: not of a container
    if answer == "fake":
        return Return(0)
    # Decided on registers alone, and a thread's pid namespace never changes.
    return Fail(errno.EPERM) if call.caller.around.shares("pid") else Continue()


def emulate_swap(call: Call, *, answer: str = "fake") -> Reply:
    """Answer swapon(2) and swapoff(2).

    Args:
        call: The call.
        answer: ``fake`` says that it was done, of a file that is there; ``deny`` is EPERM.

    Raises:
        TargetError: EPERM without CAP_SYS_ADMIN in the container; what is wrong with the path.
    """
    call.caller.around.require(Capability.CAP_SYS_ADMIN)
    if call.call_name == "swapon" and call.register("flags") & ~_SWAP_FLAGS:
        return Fail(errno.EINVAL)
    found = call.caller.find("path", spot_of(call, "path"))
    if found.name:
        return Fail(errno.ENOENT)
    return Fail(errno.EPERM) if answer == "deny" else Return(0)


def emulate_hostname(call: Call, *, answer: str = "own", names: Iterable[str] = ("*",)) -> Reply:
    """Answer sethostname(2) and setdomainname(2).

    Args:
        call: The call.
        answer: ``own`` sets the name of the caller's UTS namespace; in the supervisor's own it is
            EPERM. ``fake`` says that it was done. ``deny`` is EPERM.
        names: Names that may be set, with ``*`` for any part of one.

    Raises:
        TargetError: EPERM without CAP_SYS_ADMIN in the container; EINVAL, EFAULT.
        KernelError: The supervisor may not enter the namespace.
    """
    caller = call.caller
    caller.around.require(Capability.CAP_SYS_ADMIN)
    size = call.register("size")
    if not 0 <= size <= _NAME_MAX:
        return Fail(errno.EINVAL)
    raw: bytes = caller.read(Address(call.register("name")), size) if size else b""
    listed = any(fnmatchcase(raw.decode("utf-8", "surrogateescape"), name) for name in names)
    if answer == "deny" or not listed:
        return Fail(errno.EPERM)
    if answer == "own":
        if caller.around.shares("uts"):
            return Fail(errno.EPERM)
        if not caller.is_waiting():
            return Fail(errno.EINTR)
        domain = call.call_name == "setdomainname"
        caller.around.within("uts", lambda: set_node_name(raw, domain=domain))
    return Return(0)


def emulate_quota(call: Call, *, answer: str = "none") -> Reply:
    """Answer quotactl(2) and quotactl_fd(2).

    Args:
        call: The call.
        answer: ``none`` is what a file system without quotas says: ESRCH, and nothing can be set.
            ``fake`` says of what is set that it was done. ``deny`` is EPERM.

    Raises:
        Refused: EPERM where the kernel wants CAP_SYS_ADMIN, without it in the container.
    """
    word = call.register("cmd") & 0xFFFFFFFF
    command = word >> 8
    if word & 0xFF >= _MAX_TYPES:
        return Fail(errno.EINVAL)
    if command in (_Q_SYNC, _XQUOTASYNC):
        return Return(0)  # anybody may, and there is nothing to write
    if command not in _SETTING | _GETTING:
        return Fail(errno.EINVAL)
    own = command in _OF_OTHERS and _is_own(call, word & 0xFF)
    if command in _SETTING or (command in _OF_OTHERS and not own):
        call.caller.around.require(Capability.CAP_SYS_ADMIN)
    if answer == "deny":
        return Fail(errno.EPERM)
    return Return(0) if answer == "fake" and command in _SETTING else Fail(errno.ESRCH)


def _is_own(call: Call, kind: int) -> bool:
    """Whether it asks about its own user or group, as its user namespace numbers them."""
    mine = call.caller.credentials
    ids = {0: (mine.uid,), 1: (mine.gid, *mine.groups)}.get(kind, ())
    number = call.register("id")
    return number in {_inside(call, kind, each) for each in ids}


def _inside(call: Call, kind: int, number: int) -> int | None:
    table: bytes = call.caller.around.id_map("uid" if kind == 0 else "gid")
    for line in table.splitlines():
        inner, outer, count = map(int, line.split())
        if outer <= number < outer + count:
            return inner + number - outer
    return None


def _registered(name: str, function: Callable[..., Reply]) -> Callable[..., Reply]:
    @verb(name)
    def carry_out(call: Call, parameters: Mapping[str, Any]) -> Reply:
        return function(call, **parameters)

    return carry_out


_reboot = _registered("emulate-reboot", emulate_reboot)
_swap = _registered("emulate-swap", emulate_swap)
_hostname = _registered("emulate-hostname", emulate_hostname)
_quota = _registered("emulate-quota", emulate_quota)
