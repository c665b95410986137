"""The kernel's keyrings, which belong to users of the whole machine.

Theory of operation. Keys are not kept apart by containers, only by users, and a call is about the
caller's own keyrings, which nobody else can act on. So nothing is done here: a policy says whether
a container finds a kernel without keyrings, is refused, or gets to see one that is its own and
empty. The last is enough for what starts sessions and containers: they make a session keyring,
look at it, and set who may use it.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from typing import Any, Final

from unotify.abi.types import Address
from unotify.calls import Call
from unotify.protocol import Fail, Reply, Return
from unotify.supervisor.addons import verb

__all__ = ["emulate_keyring"]

_GET, _JOIN, _REVOKE, _CHOWN, _SETPERM, _DESCRIBE, _CLEAR = 0, 1, 3, 4, 5, 6, 7
_LINK, _UNLINK, _SEARCH, _READ, _SET_DEFAULT, _TIMEOUT, _INVALIDATE = 8, 9, 10, 11, 14, 15, 21
_DONE: Final = frozenset({_REVOKE, _CHOWN, _SETPERM, _CLEAR, _LINK, _UNLINK, _TIMEOUT, _INVALIDATE})
_NAME_MAX: Final = 4096
_SPECIAL: Final = range(-8, 0)
_SERIALS: Final = 1 << 28
_PERMISSIONS: Final = 0x3F1F0000


def emulate_keyring(call: Call, *, answer: str = "absent") -> Reply:
    """Answer keyctl(2), add_key(2) and request_key(2).

    Args:
        call: The call.
        answer: ``absent`` is ENOSYS, as of a kernel without keyrings, which programs do without.
            ``deny`` is EPERM. ``session`` shows a session keyring that is the caller's own, empty,
            and stays so: keys are not found in it (ENOKEY) and do not fit into it (EDQUOT).

    Raises:
        TargetError: EFAULT and the like, as the kernel; of ``session`` alone.
        Unsupported: The description cannot be written safely (M8).
    """
    if answer == "absent":
        return Fail(errno.ENOSYS)
    if answer == "deny":
        return Fail(errno.EPERM)
    if call.call_name == "add_key":
        return Fail(errno.EDQUOT)
    if call.call_name == "request_key":
        return Fail(errno.ENOKEY)
    operation = call.register("operation")
    if operation == _JOIN:
        return _join(call)
    if operation == _SET_DEFAULT:
        return Return(0)
    if operation not in _DONE | {_GET, _DESCRIBE, _SEARCH, _READ}:
        return Fail(errno.EOPNOTSUPP)
    serial = _signed(call.register("arg2"))
    if serial not in _SPECIAL and serial != _serial(call):
        return Fail(errno.ENOKEY)
    match operation:
        case 0:
            return Return(_serial(call))
        case 6:
            return _describe(call)
        case 10:
            return Fail(errno.ENOKEY)
    return Return(0)  # done; or nothing to be read


def _join(call: Call) -> Reply:
    name = call.register("arg2")
    if name and call.caller.read_string(Address(name), _NAME_MAX).startswith(b"."):
        return Fail(errno.EPERM)  # those are the kernel's own
    return Return(_serial(call))


def _serial(call: Call) -> int:
    # One for each process, and never a special one.
    return _SERIALS | int(call.caller.pid)


def _describe(call: Call) -> Reply:
    mine = call.caller.credentials
    told = b"keyring;%d;%d;%08x;_ses\0" % (mine.uid, mine.gid, _PERMISSIONS)
    room = call.register("arg4")
    if call.register("arg3") and room >= len(told):
        call.caller.write(Address(call.register("arg3")), told)
    return Return(len(told))


def _signed(word: int) -> int:
    return int(struct.unpack("=i", struct.pack("=I", word & 0xFFFFFFFF))[0])


@verb("emulate-keyring")
def _emulate_keyring(call: Call, parameters: Mapping[str, Any]) -> Reply:
    return emulate_keyring(call, **parameters)
