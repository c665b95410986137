"""One argument of a call as a part of an act: a number, a copy, a spot, or room for an answer."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from unotify.abi.model import ArgSpec, Role
from unotify.abi.types import Address
from unotify.calls.acts.act import Out
from unotify.calls.call import Call
from unotify.calls.layouts import Answer, answer_of
from unotify.calls.lookups import Spot, spot_of
from unotify.errors import BadAddress, PathTooLong, Refused

__all__ = ["attribute", "out", "replaced_by", "spot", "value"]

_NO_CHANGE: Final = 0xFFFFFFFF
_XATTR_NAME_MAX: Final = 255
_COPIED: Final = frozenset({Role.STRING, Role.IN_BUFFER})
_OLD_NO_CHANGE: Final = frozenset({("old_uid_t", 0xFFFF), ("old_gid_t", 0xFFFF)})
_STATFS64_SIZE: Final = 84  # of i386, the only one whose layout is known here


def spot(call: Call, argument: str, replaced: Mapping[str, Any]) -> Spot:
    """Where a path argument leads, or what was put in its place."""
    found = spot_of(call, argument)
    if argument in replaced:
        return found._replace(path=bytes(replaced[argument]))
    return found


def value(call: Call, spec: ArgSpec, theirs: ArgSpec | None) -> int | bytes | None:
    """What the act is given for *spec*, a number or a copy; *theirs* is the call's own argument."""
    if not hasattr(type(call), spec.name):
        return 0  # an older spelling, without flags
    if spec.name == "name" and spec.role is Role.STRING:
        return attribute(call)
    if theirs is not None and theirs.role not in _COPIED:
        number = call.register(spec.name)
        # A 16-bit id of all ones means no change, too.
        return _NO_CHANGE if (theirs.ctype, number) in _OLD_NO_CHANGE else number
    found: Any = getattr(call, spec.name)
    if isinstance(found, str):
        return found.encode("utf-8", "surrogateescape")
    return found if found is None or isinstance(found, bytes) else int(found)


def attribute(call: Call) -> bytes:
    """The name of an extended attribute."""
    try:
        name: Any = call.name  # type: ignore[attr-defined]
    except PathTooLong:
        name = ""
    if name is None:
        raise BadAddress("the name of an attribute is NULL")
    raw = os.fsencode(name)
    if not 0 < len(raw) <= _XATTR_NAME_MAX:
        raise Refused("the length of an attribute's name", errno=errno.ERANGE)
    return raw


def replaced_by(value: Any, given: Callable[[], bytes]) -> bytes:
    """What goes in the place of an address."""
    if isinstance(value, bytes):
        return value
    address = given()
    return value(address) if callable(value) else address


def out(call: Call, spec: ArgSpec) -> Out:
    """Room for what the act writes; no more than it can write."""
    address = Address(call.register(spec.name))
    if spec.role is Role.OUT_BUFFER:
        size = call.register(spec.length or "size")
        if size < 0:
            raise Refused(f"a buffer of {size} bytes", errno=errno.EINVAL)
        # No name, no link and no attribute is longer.
        return Out(address, min(size, 1 << 16), Answer())
    answer = answer_of(spec.struct or "", call.arch)
    if spec.struct == "statfs64" and call.register("size") != _STATFS64_SIZE:
        raise Refused("the size of a struct statfs64", errno=errno.EINVAL)
    return Out(address, answer.size, answer)
