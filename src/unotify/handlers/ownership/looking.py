"""The stat family: what a file is, told as it is remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from unotify.abi.model import ArgSpec, CallSpec
from unotify.abi.types import Address
from unotify.calls import Call
from unotify.calls.acts import act_of
from unotify.calls.checks import require_sane
from unotify.handlers.ownership.world import World, argument_of
from unotify.protocol import Reply, Return

__all__ = ["CALLS"]

_HOW: Final = 0x6800
"""AT_STATX_SYNC_TYPE and AT_NO_AUTOMOUNT: the flags that do not say which file."""


def _stat(world: World, call: Call) -> Reply:
    target = call.caller
    target.require_quiet()
    require_sane(call, act_of(call.call_name) or "")
    # One look gives device and inode, by which it is remembered, and all the rest.
    argument = argument_of(call)
    flags, mask, buffer = _shape(call.spec)
    how = call.register("flags") & _HOW if flags else 0
    more = call.register("mask") if mask else 0
    known = world.seen(call, target.look(call, argument, flags=how, mask=more), argument)
    answer = known.told.encode(buffer.struct or "", call.arch)
    target.write(Address(call.register(buffer.name)), answer)
    return Return(0)


@cache
def _shape(spec: CallSpec) -> tuple[bool, bool, ArgSpec]:
    """Whether it has flags, and a mask; and the argument that the answer goes to."""
    names = {arg.name: arg for arg in spec.args}
    buffer = names["statxbuf"] if "statxbuf" in names else names["statbuf"]
    return "flags" in names, "mask" in names, buffer


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
