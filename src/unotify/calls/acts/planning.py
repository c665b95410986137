"""From a call to the act that it asks for; reads all that it points to, once."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from unotify.abi import model
from unotify.abi.constants import OpenFlags
from unotify.abi.model import Role
from unotify.abi.types import Address
from unotify.calls.acts.act import Act, Out
from unotify.calls.acts.copies import attribute, out, replaced_by, spot, value
from unotify.calls.acts.spellings import FIXED, act_of
from unotify.calls.call import Call
from unotify.calls.checks import require_sane
from unotify.calls.layouts import Answer
from unotify.calls.lookups import Spot
from unotify.calls.messages import Message, address_of, messages_of
from unotify.calls.times import times_of
from unotify.errors import NotExpressible, Refused

__all__ = ["plan"]

# Of an act's flags those that say how a path is looked up are in its spots.
_LOOKUP_FLAGS: Final = 0x100 | 0x1000  # AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH
_KEEPS_FLAGS: Final = frozenset({"unlinkat", "renameat2", "openat", "setxattr", "fsetxattr"})
_LOOKS: Final = {"linkat": 0x1000}  # it has no AT_SYMLINK_NOFOLLOW
_OMIT: Final = ((1 << 30) - 2).to_bytes(8, sys.byteorder)  # UTIME_OMIT


def plan(call: Call, replaced: Mapping[str, Any] = MappingProxyType({})) -> Act:
    """Make the act that *call* asks for; reads all that it points to, once.

    Args:
        call: What the target wants.
        replaced: Other values for some arguments: bytes for paths, and for addresses too, or
            a function of the address that was given.

    Raises:
        NotExpressible: It cannot be done for somebody else.
        TargetError: What it points to cannot be read, or is nonsense.
    """
    name = act_of(call.call_name)
    if name is None:
        raise NotExpressible(f"{call.call_name or 'an unknown call'} cannot be performed")
    require_sane(call, name)
    planner = _PLANNERS.get(name, _plan)
    return planner(call, name, replaced)


def _plan(call: Call, name: str, replaced: Mapping[str, Any]) -> Act:
    if name in ("setxattr", "fsetxattr") and call.register("size") > 1 << 16:
        raise Refused("an attribute of more than 64 KiB", errno=errno.E2BIG)
    values: dict[str, int | bytes | None] = {}
    spots: dict[str, Spot] = {}
    fds: dict[str, int] = {}
    outs: dict[str, Out] = {}
    have = {spec.name: spec for spec in call.spec.args}
    fixed = FIXED.get(call.call_name, {})
    if name == "utimensat":
        values["times"] = times_of(call)  # the kernel, too, asks for them before any path
    for spec in model.spec(name).args:
        key = spec.name
        theirs = have.get(key)
        if key in values:
            continue
        if key in fixed:
            values[key] = fixed[key]
        elif spec.role is Role.PATH:
            spots[key] = spot(call, key, replaced)
        elif spec.role is Role.DIRFD:
            continue
        elif spec.role is Role.FD:
            fds[key] = call.register(key)
        elif key in replaced:
            values[key] = replaced[key]
        elif spec.role in (Role.OUT_STRUCT, Role.OUT_BUFFER):
            outs[key] = out(call, theirs or spec)
        else:
            values[key] = value(call, spec, theirs)
    if "flags" in values and name not in _KEEPS_FLAGS:
        given = int(values["flags"] or 0)
        values["flags"] = given & ~(_LOOKUP_FLAGS & _LOOKS.get(name, _LOOKUP_FLAGS))
    if name == "utimensat" and _changes_nothing(values["times"]):
        spots = {"path": Spot(b"", empty=True)}  # no path is looked at
    real_ids = name == "faccessat2" and not int(values["flags"] or 0) & 0x200  # AT_EACCESS
    return Act(name, call.call_name, values, spots, fds, outs, real_ids=real_ids)


def _changes_nothing(times: int | bytes | None) -> bool:
    return isinstance(times, bytes) and times[8:16] == times[24:32] == _OMIT


# VALID_OPEN_FLAGS: architectures give them other names, not other bits.
_OPEN_FLAGS: Final = 0o37777703


def _plan_open(call: Call, name: str, replaced: Mapping[str, Any]) -> Act:
    if call.call_name == "openat2":
        how: Any = call.how  # type: ignore[attr-defined]
        if any(how.extra):
            raise Refused("fields of open_how that are not known", errno=errno.E2BIG)
        if call.register("size") < 24:
            raise Refused("a short open_how", errno=errno.EINVAL)
        flags, mode = how.flags, how.mode
    else:
        # open(2) ignores what it does not know, and a mode that it does not need.
        fixed = FIXED.get(call.call_name, {})
        flags = fixed["flags"] if fixed else call.register("flags") & _OPEN_FLAGS
        mode = call.register("mode") & 0o7777 if flags & (0o100 | 0o20000000) else 0
        if flags & 0o10000000:  # O_PATH
            flags &= 0o10000000 | 0o200000 | 0o400000 | 0o2000000
    small = call.arch.bits == 32 and call.call_name in ("open", "openat")
    small = small and not call.flags & OpenFlags.O_LARGEFILE  # type: ignore[attr-defined]
    return Act(
        name,
        call.call_name,
        {"flags": flags, "mode": mode},
        {"path": spot(call, "path", replaced)},
        returns_fd=True,
        small=small,
    )


def _plan_name(call: Call, name: str, replaced: Mapping[str, Any]) -> Act:
    values: dict[str, int | bytes | None] = {"mode": call.register("mode")}
    if name == "mknodat":
        values["dev"] = call.register("dev")
    return Act(name, call.call_name, values, {"path": spot(call, "path", replaced)})


def _plan_xattr(call: Call, name: str, replaced: Mapping[str, Any]) -> Act:
    if not call.call_name.endswith("xattrat"):
        return _plan(call, name, replaced)
    spots = {"path": spot(call, "path", replaced)}
    values: dict[str, int | bytes | None] = {}
    outs: dict[str, Out] = {}
    if name == "listxattr":
        outs["list"] = out(call, call.spec.arg("list"))
        return Act(name, call.call_name, values, spots, outs=outs)
    values["name"] = attribute(call)
    if name != "removexattr":
        args: Any = call.args  # type: ignore[attr-defined]
        if args.size > 1 << 16:
            if name == "setxattr":
                raise Refused("an attribute of more than 64 KiB", errno=errno.E2BIG)
            args = args._replace(size=1 << 16)
        if name == "getxattr":
            if args.flags:
                raise Refused("getxattrat has no flags", errno=errno.EINVAL)
            outs["value"] = Out(Address(args.value), args.size, Answer())
        else:
            content = call.caller.read(Address(args.value), args.size) if args.size else b""
            values |= {"value": content, "size": args.size, "flags": args.flags}
    return Act(name, call.call_name, values, spots, outs=outs)


def _plan_socket(call: Call, name: str, replaced: Mapping[str, Any]) -> Act:
    address = replaced_by(replaced.get("address"), lambda: address_of(call))
    return Act(name, call.call_name, {"address": address}, fds={"fd": call.register("fd")})


def _plan_send(call: Call, name: str, replaced: Mapping[str, Any]) -> Act:
    messages, outs = messages_of(call)
    if "address" in replaced:
        messages = tuple(_elsewhere(message, replaced["address"]) for message in messages)
    return Act(
        name,
        call.call_name,
        {"flags": call.register("flags")},
        fds={"fd": call.register("fd")},
        messages=messages,
        outs={f"length {at}": Out(address, 4, Answer()) for at, address in enumerate(outs)},
    )


def _elsewhere(message: Message, value: Any) -> Message:
    if not message.address:
        return message  # of a connected socket
    return replace(message, address=replaced_by(value, lambda: message.address))


_PLANNERS: Final[Mapping[str, Callable[[Call, str, Mapping[str, Any]], Act]]] = MappingProxyType(
    {
        "openat": _plan_open,
        "mkdirat": _plan_name,
        "mknodat": _plan_name,
        "setxattr": _plan_xattr,
        "getxattr": _plan_xattr,
        "listxattr": _plan_xattr,
        "removexattr": _plan_xattr,
        "connect": _plan_socket,
        "bind": _plan_socket,
        "sendmsg": _plan_send,
    }
)
