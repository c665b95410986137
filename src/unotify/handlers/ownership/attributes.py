"""Extended attributes that only root may set: remembered.

``trusted.*`` and ``security.*``, file capabilities among them, and POSIX access control lists,
whose numbers would mean other users really. All others, ``user.*`` above all, are the file's own.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from unotify.abi.types import Address
from unotify.calls import Call
from unotify.calls.acts import Act, Out, act_of, plan
from unotify.calls.checks import require_sane
from unotify.calls.layouts import Answer
from unotify.handlers.ownership import acl, identities
from unotify.handlers.ownership.identities import Identity, denied
from unotify.handlers.ownership.owners import remember, touch
from unotify.handlers.ownership.remembered import CAPABILITY, Remembered
from unotify.handlers.ownership.world import Known, World, argument_of, going_on
from unotify.protocol import Fail, Reply, Return

__all__ = ["CALLS", "is_remembered"]

_CREATE, _REPLACE = 1, 2
_LARGEST: Final = 1 << 16
"""What a list of names may have, and what all attributes of a file may have together."""
_ACLS: Final = (acl.ACCESS, acl.DEFAULT)
_CAPABILITY_SIZES: Final = {0x01000000: 12, 0x02000000: 20, 0x03000000: 24}
"""VFS_CAP_REVISION_*, and how long such a value is."""


def is_remembered(name: str) -> bool:
    """Whether an attribute of that name is remembered instead of set."""
    return name.startswith(("trusted.", "security.")) or name in _ACLS


def _name(call: Call) -> tuple[Act, str]:
    act = plan(call)
    return act, os.fsdecode(_bytes(act, "name"))


def _bytes(act: Act, argument: str) -> bytes:
    value = act.values[argument]
    return value if isinstance(value, bytes) else b""


def _set(world: World, call: Call) -> Reply:
    require_sane(call, act_of(call.call_name) or "")
    act, name = _name(call)
    if not is_remembered(name):
        return _perform(call)
    argument = argument_of(call)
    value, flags = _bytes(act, "value"), int(act.values["flags"] or 0)
    known = world.pinned(call, argument)
    _require(world.identity(call.caller), known, name)
    mode: int | None = None
    kept = True
    if name in _ACLS:
        entries = acl.parse(value)
        if name == acl.DEFAULT and entries and not known.told.is_directory:
            return Fail(errno.EACCES)
        kept = bool(entries)
        if name == acl.ACCESS and entries:
            mode, plain = acl.mode_of(entries)
            kept = not plain
    elif name == CAPABILITY and not _is_capability(value):
        return Fail(errno.EINVAL)
    others = {} if known.found is None else {**known.found.attributes, name: b""}
    if sum(map(len, others)) + sum(map(len, others.values())) + len(value) > _LARGEST:
        return Fail(errno.ENOSPC)
    there = known.found is not None and name in known.found.attributes
    if flags & _CREATE and there:
        return Fail(errno.EEXIST)
    if flags & _REPLACE and not there:
        return Fail(errno.ENODATA)
    done = touch(call, known, argument)
    if done < 0:
        return Fail(-done)

    def change(found: Remembered) -> Remembered:
        changed = found.having(name, value) if kept else found.without(name)
        if mode is not None:
            changed = replace(changed, mode=known.told.mode & 0o7000 | mode)
        return changed

    remember(world, call, known, argument, change)
    return Return(0)


def _is_capability(value: bytes) -> bool:
    magic = int.from_bytes(value[:4], "little")
    return _CAPABILITY_SIZES.get(magic & 0xFF000000) == len(value)


def _require(who: Identity, known: Known, name: str) -> None:
    if name in _ACLS:
        allowed = known.belongs_to(who)
    elif name == CAPABILITY:
        allowed = who.has(identities.SETFCAP)
    else:
        allowed = who.has(identities.SYS_ADMIN)
    if not allowed:
        raise denied(f"to change {name}")


def _get(world: World, call: Call) -> Reply:
    require_sane(call, act_of(call.call_name) or "")
    call.caller.require_quiet()
    if world.lets_go(call, argument_of(call)):
        return going_on(call)
    act, name = _name(call)
    if not is_remembered(name):
        return _perform(call)
    known = world.pinned(call, argument_of(call))
    value = None if known.found is None else known.found.attributes.get(name)
    if value is None:
        return _perform(call)
    if name.startswith("trusted.") and not world.identity(call.caller).has(identities.SYS_ADMIN):
        return Fail(errno.ENODATA)
    return _written(call, act.outs["value"], value)


def _written(call: Call, out: Out, value: bytes) -> Reply:
    if out.size == 0:
        return Return(len(value))
    if len(value) > out.size:
        return Fail(errno.ERANGE)
    call.caller.write(out.address, value)
    return Return(len(value))


def _list(world: World, call: Call) -> Reply:
    require_sane(call, act_of(call.call_name) or "")
    target = call.caller
    target.require_quiet()
    argument = argument_of(call)
    if world.lets_go(call, argument):
        return going_on(call)
    known = world.pinned(call, argument)
    found = {} if known.found is None else known.found.attributes
    if not found:
        return _perform(call)
    act = plan(call)
    wanted = act.outs["list"]
    all_of_it = {"list": Out(Address(0), _LARGEST, Answer())}
    done = target.act(replace(act, outs=all_of_it), pinned=(argument,))
    if done.value < 0 and done.value != -errno.EOPNOTSUPP:
        return Fail(-done.value)
    names = done.outs.get("list", b"").split(b"\0")[:-1] if done.value > 0 else []
    may = world.identity(target).has(identities.SYS_ADMIN)
    names += [
        os.fsencode(name)
        for name in found
        if os.fsencode(name) not in names and (may or not name.startswith("trusted."))
    ]
    return _written(call, wanted, b"".join(name + b"\0" for name in names))


def _remove(world: World, call: Call) -> Reply:
    require_sane(call, act_of(call.call_name) or "")
    _, name = _name(call)
    if not is_remembered(name):
        return _perform(call)
    argument = argument_of(call)
    known = world.pinned(call, argument)
    if known.found is None or name not in known.found.attributes:
        reply = _perform(call)
        if reply != Fail(errno.EPERM):
            return reply
        _require(world.identity(call.caller), known, name)
        return Fail(errno.ENODATA)  # what root would hear of one that is not there
    _require(world.identity(call.caller), known, name)
    done = touch(call, known, argument)
    if done < 0:
        return Fail(-done)
    remember(world, call, known, argument, lambda found: found.without(name))
    return Return(0)


def _perform(call: Call) -> Reply:
    done: Any = call.perform()
    reply: Reply = done
    return reply


def _family(act: str) -> tuple[str, ...]:
    return (f"{act}xattr", f"l{act}xattr", f"f{act}xattr", f"{act}xattrat")


CALLS: Final[Mapping[str, Callable[[World, Call], Reply]]] = MappingProxyType(
    dict.fromkeys(_family("set"), _set)
    | dict.fromkeys(_family("get"), _get)
    | dict.fromkeys(_family("list"), _list)
    | dict.fromkeys(_family("remove"), _remove)
)
"""What answers each call."""
