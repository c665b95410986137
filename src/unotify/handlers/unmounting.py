"""Mounts that stay: umount and pivot_root, decided on the mounts themselves.

Theory of operation. A path says little about what is unmounted: it can be a link, relative, or be
swapped after it was looked at. So the path is looked up as the caller, and what counts is the id of
the mount that it leads to. What is protected is named by paths from the root of the mount
namespace, wherever the caller's own root is.

Who may write there can rename a directory above what is protected, or mount something over it, and
put another mount in its place. A mount point itself keeps its name as long as something is mounted
there. So of the mounts whose place has the same last name, those that are older than what is found
at the path, or all if nothing is mounted there any more, stay too.

The kernel lets who may mount unmount everything in its namespace that it could see made. That right
is asked for here, and then the supervisor does it. What was unmounted cannot be mounted again for a
caller that has gone meanwhile.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from unotify.abi.constants import UmountFlags
from unotify.calls import Call
from unotify.calls.lookups import Spot, spot_of
from unotify.handlers.answers import find_there, name_of, passing_errors
from unotify.kernel.attaching import is_mounted, mount_id, pivot, unmount, unmount_name
from unotify.kernel.mount_tables import Attached, mounts_of, mounts_on_the_way
from unotify.protocol import Fail, Reply, Return
from unotify.supervisor.addons import verb

__all__ = ["emulate_pivot_root", "emulate_umount"]

_KNOWN: Final = (
    UmountFlags.MNT_FORCE
    | UmountFlags.MNT_DETACH
    | UmountFlags.MNT_EXPIRE
    | UmountFlags.UMOUNT_NOFOLLOW
)


def emulate_umount(call: Call, *, protected: Iterable[str] = ()) -> Reply:
    """Unmount what is not protected; for umount(2) and umount2(2).

    Args:
        call: The call.
        protected: Paths from the root of the caller's mount namespace: what is mounted there
            stays, and so does what is above it if all that is below would go too (MNT_DETACH). A
            path should have no links in it. What it was mounted on may be renamed; see above.

    Raises:
        TargetError: As umount2(2); EPERM for what is protected.
        KernelError: The supervisor lacks the rights for it.
    """
    caller = call.caller
    flags = call.register("flags") if call.call_name == "umount2" else 0
    if flags & ~int(_KNOWN):
        return Fail(errno.EINVAL)
    allowed = caller.around.may_mount()
    place = find_there(caller, "target", spot_of(call, "target"), allowed=allowed)
    if not allowed:
        return Fail(errno.EPERM)
    with passing_errors():
        if not is_mounted(place.fd):
            return Fail(errno.EINVAL)
        namespace = caller.open_namespace("mnt")
        caller.afterwards(lambda taken: os.close(namespace))
        mount = mount_id(place.fd)
        if _is_protected(namespace, mount, protected, tree=bool(flags & UmountFlags.MNT_DETACH)):
            return Fail(errno.EPERM)
        if flags & UmountFlags.MNT_FORCE and not caller.around.shares("user"):
            return Fail(errno.EPERM)  # which is not for user namespaces (umount(2))
        above = name_of(caller, place) if not flags & UmountFlags.MNT_DETACH else None
        if not caller.is_waiting():
            return Fail(errno.EINTR)
        if above is None:
            unmount(namespace, place.fd, flags)
        else:
            caller.let_go("target")
            unmount_name(namespace, above.fd, above.name, mount, flags)
    return Return(0)


def _is_protected(namespace: int, mount: int, protected: Iterable[str], *, tree: bool) -> bool:
    paths = [os.fsencode(path) for path in protected]
    table = mounts_of(namespace) if paths else []
    above = {known.id: known.above for known in table}
    for path in paths:
        found = mounts_on_the_way(namespace, path)
        if mount in (found if tree else found[:1]):
            return True
        for hidden in _perhaps(table, path, found[0] if found else -1):
            if mount in (_upwards(hidden, above) if tree else [hidden]):
                return True
    return False


def _perhaps(table: list[Attached], path: bytes, there: int) -> Iterator[int]:
    """Mounts that may be what was at *path* before somebody put what is *there* in their place."""
    last = path.rstrip(b"/").rpartition(b"/")[2]
    for known in table:  # the oldest first
        if last and known.path.rpartition(b"/")[2] == last:
            if known.id == there:
                return
            yield known.id


def _upwards(mount: int, above: Mapping[int, int]) -> list[int]:
    found: list[int] = []
    while mount in above and mount not in found:
        found.append(mount)
        mount = above[mount]
    return found


def emulate_pivot_root(call: Call) -> Reply:
    """Change the root of the caller's mount namespace, as pivot_root(2).

    What a policy has looked at is what is done, with the paths that it saw.

    Raises:
        TargetError: As pivot_root(2).
        KernelError: The supervisor lacks the rights for it.
    """
    caller = call.caller
    allowed = caller.around.may_mount()
    if not allowed:
        return Fail(errno.EPERM)
    new_root = find_there(caller, "new_root", spot_of(call, "new_root"))
    put_old = find_there(caller, "put_old", spot_of(call, "put_old"))
    root = find_there(caller, "root", Spot(b"/"))
    with passing_errors():
        namespace = caller.open_namespace("mnt")
        caller.afterwards(lambda taken: os.close(namespace))
        if not caller.is_waiting():
            return Fail(errno.EINTR)
        pivot(namespace, root.fd, new_root.fd, put_old.fd)
    return Return(0)


@verb("emulate-umount")
def _emulate_umount(call: Call, parameters: Mapping[str, Any]) -> Reply:
    return emulate_umount(call, protected=parameters.get("protected", ()))


@verb("emulate-pivot-root")
def _emulate_pivot_root(call: Call, parameters: Mapping[str, Any]) -> Reply:
    return emulate_pivot_root(call)
