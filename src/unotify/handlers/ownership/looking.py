"""The stat family: what a file is, told as it is remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Final, NamedTuple

from unotify.abi import model
from unotify.abi.arch import Arch
from unotify.abi.model import ArgSpec
from unotify.abi.types import Address
from unotify.calls import Call
from unotify.calls.acts import act_of
from unotify.calls.checks import require_sane
from unotify.handlers.ownership.world import World
from unotify.protocol import Reply, Return

__all__ = ["CALLS"]

_HOW: Final = 0x6800
"""AT_STATX_SYNC_TYPE and AT_NO_AUTOMOUNT: the flags that do not say which file."""


class _Shape(NamedTuple):
    act: str
    argument: str
    flags: bool
    mask: bool
    buffer: ArgSpec


@cache
def _shape(name: str, arch: Arch) -> _Shape:
    """What there is to know of a call before it is made."""
    spec = model.spec(name, arch)
    names = {arg.name: arg for arg in spec.args}
    buffer = names["statxbuf"] if "statxbuf" in names else names["statbuf"]
    argument = "path" if "path" in names else "fd"
    return _Shape(act_of(name) or "", argument, "flags" in names, "mask" in names, buffer)


def _stat(world: World, call: Call) -> Reply:
    target = call.caller
    target.require_quiet()
    act, argument, flags, mask, buffer = _shape(call.call_name, call.arch)
    how = more = 0
    if flags:
        require_sane(call, act)
        how = call.register("flags") & _HOW
    if mask:
        more = call.register("mask")
    # One look gives device and inode, by which it is remembered, and all the rest.
    known = world.seen(call, target.look(call, argument, flags=how, mask=more), argument)
    answer = known.told.encode(buffer.struct or "", call.arch)
    target.write(Address(call.register(buffer.name)), answer)
    return Return(0)


CALLS: Final[Mapping[str, Callable[[World, Call], Reply]]] = MappingProxyType(
    dict.fromkeys(
        [
            *("stat", "lstat", "fstat", "newfstatat", "statx"),
            *("stat64", "lstat64", "fstat64", "fstatat64"),
        ],
        _stat,
    )
)
"""What answers each call."""
