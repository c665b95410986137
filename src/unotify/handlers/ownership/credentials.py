"""Ids, groups and capabilities of processes: asked, and changed, without the kernel's."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import IntEnum
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from unotify.abi import tables
from unotify.abi.arch import Arch
from unotify.abi.types import Address
from unotify.calls import Call, Condition, call_class
from unotify.errors import Refused
from unotify.handlers.ownership import identities
from unotify.handlers.ownership.identities import ALL, Identity, Ids
from unotify.handlers.ownership.world import World
from unotify.protocol import Fail, Reply, Return

__all__ = ["CALLS", "PRCTL"]

_MOST_GROUPS: Final = 65536
_OVERFLOW: Final = 65534


@cache
def _bits(call: str, arch: Arch) -> int:
    # Where there is another one with 32 bits, the old one has 16.
    return 16 if f"{call}32" in tables.numbers(arch) else 32


def _width(call: Call) -> int:
    return _bits(call.call_name, call.arch)


def _cut(number: int, bits: int) -> int:
    return _OVERFLOW if bits == 16 and number > 0xFFFF else number


def _asked(call: Call, argument: str) -> int | None:
    """The id that is asked for; ``None``: no change."""
    number = call.register(argument) & (1 << _width(call)) - 1
    return None if number == (1 << _width(call)) - 1 else number


# -- asking -----------------------------------------------------------------------------------


def _one(name: str, which: int) -> Callable[[World, Call], Reply]:
    def get(world: World, call: Call) -> Reply:
        ids: Ids = getattr(world.identity(call.caller), name)
        return Return(_cut(ids[which], _width(call)))

    return get


def _three(name: str) -> Callable[[World, Call], Reply]:
    def get(world: World, call: Call) -> Reply:
        target = call.caller
        target.require_quiet()
        ids: Ids = getattr(world.identity(target), name)
        bits = _width(call)
        for spec, number in zip(call.spec.args, ids[:3], strict=True):
            data = _cut(number, bits).to_bytes(bits // 8, _order(call))
            target.write(Address(call.register(spec.name)), data)
        return Return(0)

    return get


def _order(call: Call) -> Any:
    return "little" if call.arch.little else "big"


def _get_groups(world: World, call: Call) -> Reply:
    target = call.caller
    target.require_quiet()
    size = call.register("size")
    groups = world.identity(target).groups
    if size < 0 or 0 < size < len(groups):
        return Fail(errno.EINVAL)
    if size:
        bits = _width(call)
        data = b"".join(_cut(gid, bits).to_bytes(bits // 8, _order(call)) for gid in groups)
        target.write(Address(call.register("list")), data)
    return Return(len(groups))


# -- changing ---------------------------------------------------------------------------------


def _changer(
    name: str, capability: int, method: Callable[[Call, Ids, bool], Ids]
) -> Callable[[World, Call], Reply]:
    def change(world: World, call: Call) -> Reply:
        who = world.identity(call.caller)
        ids = method(call, getattr(who, name), who.has(capability))
        changed = who.with_uids(ids) if name == "uids" else replace(who, gids=ids)
        world.processes.become(call.caller, changed)
        return Return(0)

    return change


def _set_one(argument: str) -> Callable[[Call, Ids, bool], Ids]:
    def change(call: Call, ids: Ids, privileged: bool) -> Ids:
        new = _asked(call, argument)
        if new is None:
            raise Refused("no id", errno=errno.EINVAL)
        return ids.set(new, privileged=privileged)

    return change


def _set_two(*arguments: str) -> Callable[[Call, Ids, bool], Ids]:
    def change(call: Call, ids: Ids, privileged: bool) -> Ids:
        real, effective = (_asked(call, argument) for argument in arguments)
        return ids.set_two(real, effective, privileged=privileged)

    return change


def _set_three(*arguments: str) -> Callable[[Call, Ids, bool], Ids]:
    def change(call: Call, ids: Ids, privileged: bool) -> Ids:
        real, effective, saved = (_asked(call, argument) for argument in arguments)
        return ids.set_three(real, effective, saved, privileged=privileged)

    return change


def _set_fsuid(world: World, call: Call) -> Reply:
    who = world.identity(call.caller)
    new = _asked(call, "uid")
    if new is not None:
        ids = who.uids.set_fs(new, privileged=who.has(identities.SETUID))
        world.processes.become(call.caller, who.with_fsuid(ids))
    return Return(_cut(who.uids.fs, _width(call)))


def _set_fsgid(world: World, call: Call) -> Reply:
    who = world.identity(call.caller)
    new = _asked(call, "gid")
    if new is not None:
        ids = who.gids.set_fs(new, privileged=who.has(identities.SETGID))
        world.processes.become(call.caller, replace(who, gids=ids))
    return Return(_cut(who.gids.fs, _width(call)))


def _set_groups(world: World, call: Call) -> Reply:
    target = call.caller
    who = world.identity(target)
    who.with_groups(())  # whether it may is asked first
    size, bits = call.register("size"), _width(call)
    if not 0 <= size <= _MOST_GROUPS:
        return Fail(errno.EINVAL)
    width = bits // 8
    data = target.read(Address(call.register("list")), size * width) if size else b""
    groups = tuple(
        int.from_bytes(data[at : at + width], _order(call)) for at in range(0, len(data), width)
    )
    if (1 << 32) - 1 in groups:
        return Fail(errno.EINVAL)
    world.processes.become(target, who.with_groups(groups))
    return Return(0)


# -- capabilities -----------------------------------------------------------------------------

_HEADER: Final = 8
_WORDS: Final = {0x19980330: 1, 0x20071026: 2, 0x20080522: 2}
"""_LINUX_CAPABILITY_VERSION_1 to 3, and how many structs of three words each has."""
_PREFERRED: Final = 0x20080522


def _header(call: Call) -> tuple[int, int, int]:
    """How many structs there are, 0 for an unknown version; the process; where the header is."""
    address = call.register("header")
    version, pid = struct.unpack("=Ii", call.caller.read(Address(address), _HEADER))
    words = _WORDS.get(version, 0)
    if not words:
        call.caller.write(Address(address), struct.pack("=I", _PREFERRED))
    return words, pid, address


def _cap_get(world: World, call: Call) -> Reply:
    target = call.caller
    target.require_quiet()
    words, pid, _ = _header(call)
    data = call.register("data")
    if not words:
        return Fail(errno.EINVAL) if data else Return(0)
    if pid < 0:
        return Fail(errno.EINVAL)
    own = pid in (0, target.tid, target.credentials.own_pid)
    who = world.identity(target) if own else world.processes.of(target, pid)
    if who is None:
        return Fail(errno.ESRCH)
    if not data:
        return Return(0)
    sets = (who.effective, who.permitted, who.inheritable)
    answer = b"".join(
        struct.pack("=3I", *(bits >> 32 * word & 0xFFFFFFFF for bits in sets))
        for word in range(words)
    )
    target.write(Address(data), answer)
    return Return(0)


def _cap_set(world: World, call: Call) -> Reply:
    target = call.caller
    target.require_quiet()
    words, pid, _ = _header(call)
    if not words:
        return Fail(errno.EINVAL)
    if pid not in (0, target.tid, target.credentials.own_pid):
        return Fail(errno.EPERM)
    raw = target.read(Address(call.register("data")), 12 * words)
    sets = [0, 0, 0]
    for word, row in enumerate(struct.iter_unpack("=3I", raw)):
        sets = [bits | value << 32 * word for bits, value in zip(sets, row, strict=True)]
    changed = world.identity(target).with_capabilities(*sets)
    world.processes.become(target, changed)
    return Return(0)


# -- prctl ------------------------------------------------------------------------------------


class _Option(IntEnum):
    SET_DUMPABLE = 4
    GET_KEEPCAPS = 7
    SET_KEEPCAPS = 8
    CAPBSET_READ = 23
    CAPBSET_DROP = 24
    GET_SECUREBITS = 27
    SET_SECUREBITS = 28
    CAP_AMBIENT = 47


_IS_SET, _RAISE, _LOWER, _CLEAR_ALL = 1, 2, 3, 4  # PR_CAP_AMBIENT_*


def _prctl(world: World, call: Call) -> Reply:
    target = call.caller
    who = world.identity(target)
    option, value = call.register("option"), call.register("arg2")
    match option:
        case _Option.SET_DUMPABLE:
            # Who hides from its own user hides from the supervisor, which then could not tell it
            # of any file.
            return Return(0)
        case _Option.GET_KEEPCAPS:
            return Return(int(who.keeps))
        case _Option.GET_SECUREBITS:
            return Return(who.securebits)
        case _Option.CAPBSET_READ:
            return Return(who.bounding >> _capability(value) & 1)
        case _Option.CAP_AMBIENT if value == _IS_SET:
            return Return(who.ambient >> _capability(call.register("arg3")) & 1)
    world.processes.become(target, _changed(who, option, value, call))
    return Return(0)


def _changed(who: Identity, option: int, value: int, call: Call) -> Identity:
    if option == _Option.SET_KEEPCAPS:
        if value > 1:
            raise Refused("neither yes nor no", errno=errno.EINVAL)
        return who.keeping(bool(value))
    if option == _Option.SET_SECUREBITS:
        return who.with_securebits(value)
    if option == _Option.CAPBSET_DROP:
        return who.without_bound(1 << _capability(value))
    if value == _CLEAR_ALL:
        return replace(who, ambient=0)
    if value not in (_RAISE, _LOWER):
        raise Refused("an unknown request", errno=errno.EINVAL)
    return who.with_ambient(1 << _capability(call.register("arg3")), raised=value == _RAISE)


def _capability(number: int) -> int:
    if number >= ALL.bit_length():
        raise Refused(f"there is no capability {number}", errno=errno.EINVAL)
    return number


def _about_capabilities() -> Condition:
    option: Any = call_class("prctl").option  # type: ignore[attr-defined]
    hides: Condition = (option == _Option.SET_DUMPABLE) & (call_class("prctl").arg2 == 0)  # type: ignore[attr-defined]
    others = [number for number in _Option if number != _Option.SET_DUMPABLE]
    condition: Condition = option.in_(others) | hides
    return condition


PRCTL: Final = _about_capabilities()
"""Which prctl(2) is about capabilities, or hides a process from its own user."""


def _calls() -> dict[str, Callable[[World, Call], Reply]]:
    uids, gids = ("uids", identities.SETUID), ("gids", identities.SETGID)
    found: dict[str, Callable[[World, Call], Reply]] = {
        "getuid": _one("uids", 0),
        "geteuid": _one("uids", 1),
        "getgid": _one("gids", 0),
        "getegid": _one("gids", 1),
        "getresuid": _three("uids"),
        "getresgid": _three("gids"),
        "getgroups": _get_groups,
        "setuid": _changer(*uids, _set_one("uid")),
        "setgid": _changer(*gids, _set_one("gid")),
        "setreuid": _changer(*uids, _set_two("ruid", "euid")),
        "setregid": _changer(*gids, _set_two("rgid", "egid")),
        "setresuid": _changer(*uids, _set_three("ruid", "euid", "suid")),
        "setresgid": _changer(*gids, _set_three("rgid", "egid", "sgid")),
        "setfsuid": _set_fsuid,
        "setfsgid": _set_fsgid,
        "setgroups": _set_groups,
    }
    found |= {f"{name}32": function for name, function in found.items()}
    return found | {"capget": _cap_get, "capset": _cap_set, "prctl": _prctl}


CALLS: Final[Mapping[str, Callable[[World, Call], Reply]]] = MappingProxyType(_calls())
"""What answers each call."""
