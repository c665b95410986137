"""Mounts for targets that may not mount: mount(2).

Theory of operation. The one call has many meanings; only those that make a file system, and bind
mounts if the policy says so, are carried out here. A target in a user namespace of its own may
mount some file systems by itself: what is not listed is left to the kernel then, which lets it have
no more than its own rights, whatever it writes to its memory meanwhile.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from unotify.abi.capabilities import Capability
from unotify.abi.constants import MountFlags
from unotify.calls import Call
from unotify.calls.lookups import Spot, spot_of
from unotify.errors import PathTooLong, Refused
from unotify.handlers.answers import find_there, passing_errors, put, put_copy
from unotify.handlers.contexts import Mounting
from unotify.handlers.filesystems import Rules, attributes_of, finish, make, rules_of
from unotify.handlers.options import parse_options
from unotify.kernel.attaching import change
from unotify.protocol import Continue, Fail, Reply, Return
from unotify.supervisor.addons import verb

__all__ = ["LEFT_TO_THE_KERNEL", "emulate_mount", "may_mount", "not_ours"]

LEFT_TO_THE_KERNEL: Final = "the kernel lets it mount only what its own user namespace may"

_MAGIC: Final = 0xC0ED0000
_MAGIC_BITS: Final = 0xFFFF0000
_CHANGES: Final = (
    MountFlags.MS_REMOUNT
    | MountFlags.MS_MOVE
    | MountFlags.MS_SHARED
    | MountFlags.MS_PRIVATE
    | MountFlags.MS_SLAVE
    | MountFlags.MS_UNBINDABLE
)
_PAGE: Final = 4096


def emulate_mount(
    call: Call,
    *,
    file_systems: Iterable[str] | Mapping[str, Sequence[str]] = (),
    devices: Iterable[str] = (),
    size: str | None = None,
    force: Iterable[str] = ("nosuid", "nodev"),
    ids: str = "mapped",
    fuse: Mapping[str, Sequence[str]] = MappingProxyType({}),
    binds: bool = False,
    capable: bool = True,
    others: str = "kernel",
) -> Reply | None:
    """Mount a file system for a target that may not; for mount(2) and the mount API.

    Args:
        call: The call.
        file_systems: The types that may be mounted; as a table, with options for each
            (``name``, ``name=value`` or ``name=*``) besides those that are harmless.
        devices: Block devices that may be mounted, as ``b:MAJOR:MINOR`` with ranges or ``*``.
        size: The most that a tmpfs may have, such as ``64m``.
        force: Attributes that each mount gets: ``ro``, ``nosuid``, ``nodev``, ``noexec``,
            ``nosymfollow``.
        ids: ``mapped``: files have the ids of the caller's user namespace; ``nobody``: where the
            file system cannot do that they are nobody's.
        fuse: Programs of the host that serve a type, instead of the kernel, with their options;
            ``{uid}`` and ``{gid}`` in these are the caller's ids.
        binds: Whether bind mounts are made too, and get further restrictions.
        capable: Whether the caller needs CAP_SYS_ADMIN in its container.
        others: What happens to what is not listed if the caller has a user namespace of its own:
            ``kernel``: the kernel decides, with the caller's rights; ``refuse``: EPERM.

    Returns:
        ``None`` for what is no new file system, and no bind mount.

    Raises:
        TargetError: As mount(2); EPERM for what may not be.
        KernelError: The supervisor lacks the rights for it.
    """
    rules = rules_of(
        {
            "file_systems": file_systems,
            "devices": devices,
            "size": size,
            "force": force,
            "ids": ids,
            "fuse": fuse,
        }
    )
    if call.call_name != "mount":
        return Mounting(
            call,
            rules,
            allowed=may_mount(call.caller, capable=capable),
            binds=binds,
            otherwise=lambda: not_ours(call.caller, others),
        ).answer()
    flags = _flags(call)
    is_bind = bool(flags & MountFlags.MS_BIND)
    if not binds if is_bind else flags & _CHANGES:
        return None
    if is_bind:
        return _bind(call, flags, rules, capable=capable, others=others)
    fstype = _text(call, "fstype")
    if fstype is None:
        return Fail(errno.EINVAL)
    if fstype not in rules.file_systems:
        return not_ours(call.caller, others)
    return _mount(call, fstype, flags, rules, capable=capable)


def not_ours(caller: Any, others: str) -> Reply:
    """The answer to what is not listed; see *others* of `emulate_mount`."""
    if others == "kernel" and not caller.around.shares("user"):
        return Continue.racy(because=LEFT_TO_THE_KERNEL)
    return Fail(errno.EPERM)


def may_mount(caller: Any, *, capable: bool) -> bool:
    """Whether the caller may mount at all, and in the mount namespace that it is in."""
    around = caller.around
    if capable and not around.may(Capability.CAP_SYS_ADMIN):
        return False
    return bool(around.shares("user") or around.owns_mounts())


def _flags(call: Call) -> int:
    flags = call.register("flags")
    # Once there was a magic number in them, and all bits of that meant nothing else.
    return flags & ~_MAGIC_BITS if flags & _MAGIC_BITS == _MAGIC else flags & 0xFFFFFFFF


def _text(call: Call, name: str) -> str | None:
    try:
        found: str | None = getattr(call, name)
    except PathTooLong:
        raise Refused(f"{name} is too long", errno=errno.EINVAL) from None
    if found is not None and len(os.fsencode(found)) >= _PAGE:
        raise Refused(f"{name} is too long", errno=errno.EINVAL)
    return found


def _source(call: Call) -> Spot | None:
    return spot_of(call, "source") if call.register("source") else None


def _mount(call: Call, fstype: str, flags: int, rules: Rules, *, capable: bool) -> Reply:
    caller = call.caller
    data = _text(call, "data") or ""
    source = _source(call)
    allowed = may_mount(caller, capable=capable)
    place = find_there(caller, "target", spot_of(call, "target"), allowed=allowed)
    if not allowed:
        return Fail(errno.EPERM)
    if flags & MountFlags.MS_NOUSER:
        return Fail(errno.EINVAL)
    with passing_errors():
        made = make(caller, fstype, source, parse_options(data), rules, flags=flags)
        with made.mount, finish(caller, made, rules) as mount:
            put(caller, mount, place)
    return Return(0)


def _bind(call: Call, flags: int, rules: Rules, *, capable: bool, others: str) -> Reply:
    caller = call.caller
    if others == "kernel" and not caller.around.shares("user"):
        return not_ours(caller, others)
    with caller.at_one_moment():
        return _bound(call, flags, rules, capable=capable)


def _bound(call: Call, flags: int, rules: Rules, *, capable: bool) -> Reply:
    caller = call.caller
    again = bool(flags & MountFlags.MS_REMOUNT)
    allowed = may_mount(caller, capable=capable)
    place = find_there(caller, "target", spot_of(call, "target"), allowed=allowed)
    if not allowed:
        return Fail(errno.EPERM)
    if flags & MountFlags.MS_NOUSER or not (again or call.register("source")):
        return Fail(errno.EINVAL)
    attributes = attributes_of(flags) | rules.forced
    with passing_errors():
        if again:
            namespace = caller.open_namespace("mnt")
            caller.afterwards(lambda taken: os.close(namespace))
            if not caller.is_waiting():
                return Fail(errno.EINTR)
            # Only further restrictions: nobody may take off what others have put on.
            change(namespace, place.fd, set=attributes)
            return Return(0)
        source = find_there(caller, "source", spot_of(call, "source"))
        recursive = bool(flags & MountFlags.MS_REC)
        put_copy(caller, source, place, recursive=recursive, attributes=attributes)
    return Return(0)


@verb("emulate-mount")
def _emulate_mount(call: Call, parameters: Mapping[str, Any]) -> Reply | None:
    return emulate_mount(
        call, **{key.replace("-", "_"): value for key, value in parameters.items()}
    )
