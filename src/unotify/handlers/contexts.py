"""Mounts for targets that may not mount: the calls of Linux 5.2, which mount(8) uses now.

Theory of operation. With these a mount is made in steps, by descriptors. Were each step left to the
kernel, or done on what the target holds too, another thread or another process could change it
between the check and the use. So nothing that the target holds is ever mounted. What it gets is a
stand-in (`unotify.kernel.standins`): for fsopen a real context of that type, which takes options
and tells errors, but becomes nothing; for fsmount and open_tree an empty directory. What the target
says is written down, checked, and done by the supervisor with things of its own, once it knows the
stand-in again.

A descriptor that is none of ours is the kernel's affair, if the target has a user namespace of its
own; another may be put in its place meanwhile, but at worst a stand-in is changed.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from unotify.abi.constants import MountAttr, OpenTreeFlags
from unotify.abi.types import Address
from unotify.calls.lookups import Spot, spot_of
from unotify.errors import KernelError, PathTooLong, Refused
from unotify.handlers.answers import find_there, passing_errors, put
from unotify.handlers.filesystems import Made, Rules, finish, make
from unotify.handlers.keeping import KEPT, Detached, Pending
from unotify.handlers.options import Option
from unotify.handlers.overlays import LAYERS
from unotify.kernel.attaching import change, copy
from unotify.kernel.mounting import Context, open_context
from unotify.kernel.standins import empty_directory
from unotify.protocol import Fail, InstallFd, Reply, Return

__all__ = ["NEW_CALLS", "Mounting"]

_CLOEXEC: Final = 0x1
_SET_FLAG, _SET_STRING, _CREATE, _RECONFIGURE, _CREATE_EXCL = 0, 1, 6, 7, 8
_VALUE: Final = 256
_F_EMPTY_PATH, _T_EMPTY_PATH, _T_SYMLINKS, _KNOWN_MOVES = 0x4, 0x40, 0x10, 0x77
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_ATTR_SIZE: Final = 32
_ATIME: Final = int(MountAttr.MOUNT_ATTR__ATIME)
_SETTABLE: Final = int(
    MountAttr.MOUNT_ATTR_RDONLY
    | MountAttr.MOUNT_ATTR_NOSUID
    | MountAttr.MOUNT_ATTR_NODEV
    | MountAttr.MOUNT_ATTR_NOEXEC
    | MountAttr.MOUNT_ATTR__ATIME
    | MountAttr.MOUNT_ATTR_NODIRATIME
    | MountAttr.MOUNT_ATTR_NOSYMFOLLOW
)
_PROPAGATIONS: Final = (0, 1 << 17, 1 << 18, 1 << 19, 1 << 20)


class Mounting:
    """One call of the mount API, and what the policy says.

    Args:
        call: The call.
        rules: What may be mounted.
        allowed: Whether the caller may mount at all.
        binds: Whether bind mounts are made too.
        otherwise: What becomes of what is none of ours.
    """

    def __init__(
        self,
        call: Any,
        rules: Rules,
        *,
        allowed: bool,
        binds: bool,
        otherwise: Callable[[], Reply],
    ) -> None:
        self.call = call
        self.caller = call.caller
        self.rules = rules
        self.allowed = allowed
        self.binds = binds
        self.otherwise = otherwise

    def answer(self) -> Reply:
        """Carry it out; raises as `unotify.handlers.mounts.emulate_mount`."""
        with passing_errors():
            return _STEPS[self.call.call_name](self)

    # -- fsopen, fsconfig, fsmount -------------------------------------------

    def open(self) -> Reply:
        """fsopen: write down the type."""
        flags = self.call.register("flags")
        if flags & ~_CLOEXEC:
            return Fail(errno.EINVAL)
        fstype = self._string(self.call.register("fsname"), 4096)
        if fstype is None or fstype not in self.rules.file_systems:
            return self.otherwise()
        if not self.allowed:
            return Fail(errno.EPERM)
        with open_context("fuse" if fstype in self.rules.fuse else fstype) as context:
            return self._stand_in(context.fd, Pending(fstype), cloexec=bool(flags))

    def configure(self) -> Reply:
        """fsconfig: check and write down, or make the file system."""
        call = self.call
        command, aux = call.register("cmd"), call.register("aux")
        with _Stolen(self.caller, call.register("fd")) as file:
            pending = KEPT.find(file, Pending)
            if pending is None:
                return self.otherwise()
            with pending.lock:
                if command in (_CREATE, _CREATE_EXCL):
                    if call.register("key") or call.register("value") or aux:
                        return Fail(errno.EINVAL)
                    return self._create(pending)
                if command == _RECONFIGURE:
                    return Fail(errno.EPERM)
                if command not in (_SET_FLAG, _SET_STRING):
                    return Fail(errno.EOPNOTSUPP)
                key = self._string(call.register("key"), _VALUE)
                value = None
                if command == _SET_STRING:
                    value = self._string(call.register("value"), _VALUE)
                if key is None or aux or (value is None) != (command == _SET_FLAG):
                    return Fail(errno.EINVAL)
                if command == _SET_FLAG and call.register("value"):
                    return Fail(errno.EINVAL)
                return self._set(pending, Option(key, value), file)

    def _set(self, pending: Pending, option: Option, file: int) -> Reply:
        if pending.made is not None or pending.over:
            return Fail(errno.EBUSY)
        if option.key == "source":
            if pending.source is not None or option.value is None:
                return Fail(errno.EINVAL)
            pending.source = Spot(os.fsencode(option.value))
            return Return(0)
        if len(pending.options) >= _VALUE:
            return Fail(errno.ENOMEM)
        self.rules.file_systems.require(pending.fstype, option)
        if option.key not in LAYERS and pending.fstype not in self.rules.fuse:
            # What is wrong with it says the file system itself, in the stand-in. A path it would
            # look up, as the supervisor.
            Context(file).set(option.key, option.value)
        pending.options.append(option)
        return Return(0)

    def _create(self, pending: Pending) -> Reply:
        if pending.made is not None or pending.over:
            return Fail(errno.EBUSY)
        if not self.allowed:
            return Fail(errno.EPERM)
        made = make(self.caller, pending.fstype, pending.source, pending.options, self.rules)
        pending.made = made

        def undo(taken: bool) -> None:
            if not taken:
                with pending.lock:
                    pending.close()

        self.caller.afterwards(undo)
        return Return(0)

    def mount(self) -> Reply:
        """fsmount: note the attributes."""
        flags, attributes = self.call.register("flags"), self.call.register("attr_flags")
        with _Stolen(self.caller, self.call.register("fsfd")) as file:
            pending = KEPT.find(file, Pending)
        if pending is None:
            return self.otherwise()
        if flags & ~_CLOEXEC or attributes & ~_SETTABLE:
            return Fail(errno.EINVAL)
        with pending.lock:
            made = pending.made
            if made is None:
                return Fail(errno.EINVAL)
            if not self.allowed:
                return Fail(errno.EPERM)
            made.mount.change(set=attributes)
            pending.made, pending.over = None, True
        return self._stand_in_directory(Detached(made), cloexec=bool(flags))

    # -- open_tree, move_mount, mount_setattr ----------------------------------

    def tree(self) -> Reply:
        """open_tree: a copy of a mount, to be bound."""
        flags = self.call.register("flags")
        if not flags & OpenTreeFlags.OPEN_TREE_CLONE or not self.binds:
            return self.otherwise()
        if not self.caller.around.shares("user"):
            return self.otherwise()
        if not self.allowed:
            return Fail(errno.EPERM)
        spot = spot_of(self.call, "path")
        if flags & _AT_EMPTY_PATH:
            spot = spot._replace(empty=True)
        source = find_there(self.caller, "path", spot)
        namespace = self.caller.open_namespace("mnt")
        try:
            made = copy(
                namespace,
                source.fd,
                recursive=bool(flags & _AT_RECURSIVE),
                set=self.rules.forced,
            )
        finally:
            os.close(namespace)
        what = Detached(Made(made, owned=False, kept=self.rules.forced), is_new=False)
        return self._stand_in_directory(what, cloexec=bool(flags & os.O_CLOEXEC))

    def move(self) -> Reply:
        """move_mount: attach what a stand-in stands for."""
        call, caller = self.call, self.caller
        flags = call.register("flags")
        detached = self._meant("from_dirfd", "from_path", empty=bool(flags & _F_EMPTY_PATH))
        if detached is None:
            return self.otherwise()
        if flags & ~_KNOWN_MOVES:
            return Fail(errno.EINVAL)
        spot = spot_of(call, "to_path")
        if flags & _T_EMPTY_PATH:
            spot = spot._replace(empty=True)
        place = find_there(caller, "to_path", spot, allowed=self.allowed)
        if not self.allowed:
            return Fail(errno.EPERM)
        with detached.lock:
            if detached.made.mount.fd < 0:
                return Fail(errno.EINVAL)  # another thread was quicker
            if detached.is_new and not detached.finished:
                mount = finish(caller, detached.made, self.rules)
                detached.finished = True
                if mount is not detached.made.mount:
                    detached.made.mount.close()
                    detached.made = replace(detached.made, mount=mount)
            put(caller, detached.made.mount, place)
        KEPT.drop(detached)
        return Return(0)

    def change(self) -> Reply:
        """mount_setattr: of what a stand-in stands for, or of a mount that is there."""
        call = self.call
        size, flags = call.register("size"), call.register("flags")
        if size < _ATTR_SIZE:
            return Fail(errno.EINVAL)
        if size > _PAGE:
            return Fail(errno.E2BIG)
        detached = self._meant("dirfd", "path", empty=bool(flags & _AT_EMPTY_PATH))
        if detached is None and not (self.binds and self.caller.around.shares("user")):
            return self.otherwise()
        raw = self.caller.read(Address(call.register("attr")), size)
        words = [int.from_bytes(raw[at : at + 8], sys.byteorder) for at in range(0, _ATTR_SIZE, 8)]
        set_, clear, propagation, _ = words
        if any(raw[_ATTR_SIZE:]):
            return Fail(errno.E2BIG)
        if (set_ | clear) & ~_SETTABLE or propagation not in _PROPAGATIONS:
            return Fail(errno.EINVAL if propagation not in _PROPAGATIONS else errno.EPERM)
        if not self.allowed:
            return Fail(errno.EPERM)
        if (set_ | clear) & _ATIME and clear & _ATIME != _ATIME:
            return Fail(errno.EINVAL)
        if detached is None:
            return self._restrict(set_, clear, propagation)
        with detached.lock:
            detached.made.mount.change(
                set=set_,
                clear=clear & ~detached.made.kept,
                propagation=propagation,
                recursive=bool(flags & _AT_RECURSIVE),
            )
        return Return(0)

    def _restrict(self, set_: int, clear: int, propagation: int) -> Reply:
        """Further restrictions of a mount that is attached: nobody may take off those of others."""
        if clear & ~_ATIME or propagation:
            return Fail(errno.EPERM)
        spot = spot_of(self.call, "path")
        place = find_there(self.caller, "path", spot)
        namespace = self.caller.open_namespace("mnt")
        try:
            change(namespace, place.fd, set=set_)
        finally:
            os.close(namespace)
        return Return(0)

    def pick(self) -> Reply:
        """fspick, open_tree_attr: nothing here has to do with them."""
        return self.otherwise()

    # -- what they share -----------------------------------------------------

    def _string(self, address: int, limit: int) -> str | None:
        if not address:
            return None
        try:
            found: bytes = self.caller.read_string(Address(address), limit)
        except PathTooLong:
            raise Refused("a string that is too long", errno=errno.EINVAL) from None
        return os.fsdecode(found)

    def _meant(self, dirfd: str, path: str, *, empty: bool) -> Detached | None:
        """What the stand-in *dirfd* stands for, if it is meant itself."""
        number = self.call.register(dirfd)
        address = self.call.register(path)
        if not empty or number < 0 or not address:
            return None
        if self.caller.read_string(Address(address), 4096):
            return None
        with _Stolen(self.caller, number) as file:
            return KEPT.find(file, Detached)

    def _stand_in_directory(self, what: Detached, *, cloexec: bool) -> Reply:
        try:
            file = empty_directory()
        except BaseException:
            what.close()
            raise
        try:
            return self._stand_in(file, what, cloexec=cloexec)
        finally:
            os.close(file)

    def _stand_in(self, file: int, what: Pending | Detached, *, cloexec: bool) -> Reply:
        KEPT.add(self.caller, file, what)
        self.caller.afterwards(lambda taken: None if taken else KEPT.drop(what))
        return InstallFd(os.dup(file), cloexec=cloexec, owned=True)


class _Stolen:
    """A duplicate of a target's descriptor, for a while."""

    def __init__(self, caller: Any, number: int) -> None:
        self._caller = caller
        self._number = number
        self._fd = -1

    def __enter__(self) -> int:
        try:
            self._fd = self._caller.steal_fd(self._number)
        except KernelError as error:
            if error.errno in (errno.EBADF, errno.EINVAL):
                raise Refused("it has no such descriptor", errno=errno.EBADF) from None
            raise
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


_PAGE: Final = 4096
_STEPS: Final[dict[str, Callable[[Mounting], Reply]]] = {
    "fsopen": Mounting.open,
    "fsconfig": Mounting.configure,
    "fsmount": Mounting.mount,
    "fspick": Mounting.pick,
    "open_tree": Mounting.tree,
    "open_tree_attr": Mounting.pick,
    "move_mount": Mounting.move,
    "mount_setattr": Mounting.change,
}

NEW_CALLS: Final = tuple(_STEPS)
"""What is carried out here."""
