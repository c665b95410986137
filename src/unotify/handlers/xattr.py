"""Extended attributes that only the host's root may have: ``trusted.*``, by a list of names.

Theory of operation. The kernel gives ``trusted.*`` to whoever has CAP_SYS_ADMIN in the *initial*
user namespace. Here it is asked for in the caller's container, the name has to be on a list, and
the file on a mount of the caller's; then the call is done on what the path was found to name, as
the caller but with that capability lent for it. All other attributes are left to the
kernel: the call is performed with the caller's own rights, so none is let in by accident.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Final

from unotify.abi.capabilities import Capability
from unotify.calls import Call
from unotify.calls.acts import Act, plan
from unotify.errors import Refused
from unotify.handlers.descriptors import taken
from unotify.protocol import Fail, Reply, Return
from unotify.supervisor.addons import verb

__all__ = ["OVERLAY", "emulate_xattr"]

OVERLAY: Final = ("trusted.overlay.*",)
"""What overlay file systems keep on the files of their upper layers."""


def emulate_xattr(call: Call, *, names: Iterable[str] = OVERLAY) -> Reply:
    """Set, read or remove a ``trusted.*`` attribute for a target that may not.

    Args:
        call: setxattr, getxattr, removexattr, or one of their kin.
        names: Attributes, with ``*`` for any part of a name. ``NAME=VALUE`` may be set to that
            value alone, which may be empty.

    Raises:
        TargetError: As the kernel refuses the arguments; EPERM: the caller has no CAP_SYS_ADMIN
            in its container, or the file is none of its own.
        KernelError: The supervisor has no CAP_SYS_ADMIN itself.
    """
    act = plan(call)
    name = act.values.get("name")
    if not isinstance(name, bytes) or not _is_listed(name, act, names):
        done: Reply = call.perform()
        return done
    caller = call.caller
    caller.around.require(Capability.CAP_SYS_ADMIN)
    if "path" in act.spots:
        held = caller.find("path", act.spots["path"])
        if held.name:
            return Fail(errno.ENOENT)
        _require_own(caller, held.fd)
    else:
        caller.fd_kind(call.register("fd"))  # from now on it is that one, or none
        with taken(call, "fd") as fd:
            _require_own(caller, fd)
    return _reply(caller, act, caller.act(_lent(act), pinned=["path"]))


def _lent(act: Act) -> Act:
    return replace(act, lent=1 << Capability.CAP_SYS_ADMIN)


def _reply(caller: Any, act: Act, done: Any) -> Reply:
    if done.value < 0:
        return Fail(-done.value)
    for name, data in done.outs.items():
        caller.write(act.outs[name].address, data)
    return Return(done.value)


def _is_listed(name: bytes, act: Act, names: Iterable[str]) -> bool:
    text = os.fsdecode(name)
    value = act.values.get("value", b"") if act.name.endswith("setxattr") else None
    for entry in names:
        pattern, equals, wanted = entry.partition("=")
        fits = not equals or value is None or os.fsencode(wanted) == (value or b"")
        if fits and fnmatchcase(text, pattern) and text.startswith("trusted."):
            return True
    return False


def _require_own(caller: Any, fd: int) -> None:
    found = os.fstat(fd)
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise Refused("neither a file nor a directory", errno=errno.EPERM)
    if not caller.around.has_mount(fd):
        raise Refused("a file of somebody else's mounts", errno=errno.EPERM)


@verb("emulate-xattr")
def _emulate_xattr(call: Call, parameters: Mapping[str, Any]) -> Reply:
    return emulate_xattr(call, **parameters)
