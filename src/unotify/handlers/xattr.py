"""Extended attributes that only the host's root may have: ``trusted.*``, by a list of names.

Theory of operation. The kernel gives ``trusted.*`` to whoever has CAP_SYS_ADMIN in the *initial*
user namespace, and asks for nothing else. Here it is asked for in the caller's container, the name
has to be on a list, and the file on a mount of the caller's and somebody's of its user namespace:
root of a container has no rights over the files of others. Then the call is done on what the path
was found to name, as the caller but with that capability lent for it. All else is left to the
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
        own = _is_own(caller, held.fd)
    else:
        caller.fd_kind(call.register("fd"))  # from now on it is that one, or none
        with taken(call, "fd") as fd:
            own = _is_own(caller, fd)
    wanted = _lent(act) if own else act
    return _reply(caller, act, caller.act(wanted, pinned=["path"]))


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


def _is_own(caller: Any, fd: int) -> bool:
    """Whether its owner and group exist in the caller's user namespace.

    Raises:
        Refused: EPERM: it is no file or directory, or on none of the caller's mounts.
    """
    found = os.fstat(fd)
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise Refused("neither a file nor a directory", errno=errno.EPERM)
    around = caller.around
    if not around.has_mount(fd):
        raise Refused("a file of somebody else's mounts", errno=errno.EPERM)
    ids = {"uid": found.st_uid, "gid": found.st_gid}
    return all(_has(around.id_map(kind), number) for kind, number in ids.items())


def _has(table: bytes, number: int) -> bool:
    for line in table.splitlines():
        _, outer, count = map(int, line.split())
        if outer <= number < outer + count:
            return True
    return False


@verb("emulate-xattr")
def _emulate_xattr(call: Call, parameters: Mapping[str, Any]) -> Reply:
    return emulate_xattr(call, **parameters)
