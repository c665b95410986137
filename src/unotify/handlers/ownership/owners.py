"""chown, chmod, mknod and mkdir: remembered, and done as far as whoever plays root really may."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from unotify.calls import Call
from unotify.calls.acts import Act, act_of, plan
from unotify.calls.checks import require_sane
from unotify.calls.lookups import spot_of
from unotify.handlers.ownership import identities
from unotify.handlers.ownership.acl import with_mode
from unotify.handlers.ownership.identities import Identity, denied
from unotify.handlers.ownership.remembered import (
    Remembered,
    chmodded,
    chowned,
    usable,
)
from unotify.handlers.ownership.world import Known, World, argument_of, going_on
from unotify.kernel.nodes import remove
from unotify.protocol import Fail, Reply, Return

__all__ = ["CALLS", "remember", "touch"]

_log = logging.getLogger("unotify")

_NO_CHANGE: Final = 0xFFFFFFFF
_SPECIAL: Final = 0o7000
_FIXED: Final = 0x10 | 0x20
"""STATX_ATTR_IMMUTABLE and STATX_ATTR_APPEND: root may not change these either."""
_NEW: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW


def touch(call: Call, known: Known, argument: str) -> int:
    """Change nothing of a pinned file but its time, to hear whether it can be changed at all.

    Returns:
        0, or the negative errno that root would get too, such as that of a read-only file system.
    """
    if argument == "fd":
        act = Act("fchown", call.call_name, dict(_NOBODY), fds={"fd": call.register("fd")})
    else:
        act = Act("fchownat", call.call_name, {**_NOBODY, "flags": 0}, {"path": _spot(call)})
    return _really(call, known, act, argument)


_NOBODY: Final[Mapping[str, int]] = {"owner": _NO_CHANGE, "group": _NO_CHANGE}


def _spot(call: Call) -> Any:
    return spot_of(call, "path")


def _really(call: Call, known: Known, act: Act, argument: str) -> int:
    done: int = call.caller.act(act, pinned=(argument,)).value
    if done == -errno.EPERM and not known.real.attributes & _FIXED:
        return 0  # it is somebody else's, which would not stop root
    return min(done, 0)


def remember(
    world: World,
    call: Call,
    known: Known,
    argument: str,
    change: Callable[[Remembered], Remembered],
) -> None:
    """Remember something else of a pinned file.

    Raises:
        Refused: The store cannot be written.
    """
    world.store.change(
        known.inode,
        change,
        lambda: bytes(call.caller.handle_of(argument)),
        nameless=known.real.nlink == 0,
    )


def _chown(world: World, call: Call) -> Reply:
    require_sane(call, act_of(call.call_name) or "")
    argument = argument_of(call)
    act = plan(call)
    owner, group = (int(act.values[name] or 0) for name in ("owner", "group"))
    uid, gid = (None if number == _NO_CHANGE else number for number in (owner, group))
    known = world.pinned(call, argument)
    _require_chown(world.identity(call.caller), known, uid, gid)
    done = touch(call, known, argument)
    if done < 0:
        return Fail(-done)
    own = world.own(call.caller)

    def change(found: Remembered) -> Remembered:
        changed = chowned(found, known.told, uid, gid)
        # What is shown anyway need not be remembered.
        if changed.uid == 0 and known.real.uid in (0, own[0]):
            changed = replace(changed, uid=None)
        if changed.gid == 0 and known.real.gid in (0, own[1]):
            changed = replace(changed, gid=None)
        return changed

    remember(world, call, known, argument, change)
    return Return(0)


def _require_chown(who: Identity, known: Known, uid: int | None, gid: int | None) -> None:
    if who.has(identities.CHOWN):
        return
    told = known.told
    owner = known.unclaimed or told.uid == who.uids.fs
    if uid is not None and not (owner and uid in (told.uid, who.uids.fs)):
        raise denied("chown to another user")
    if gid is not None and not (owner and (gid == told.gid or who.in_group(gid))):
        raise denied("chown to another group")


def _chmod(world: World, call: Call) -> Reply:
    require_sane(call, act_of(call.call_name) or "")
    argument = argument_of(call)
    target = call.caller
    if _is_plain(world, call, argument):
        return going_on(call)
    known = world.pinned(call, argument)
    if world.is_store(call, argument):
        return Fail(errno.EPERM)
    who = world.identity(target)
    told = known.told
    if not known.belongs_to(who):
        raise denied("chmod of somebody else's file")
    mode = call.register("mode") & 0o7777
    if not (told.is_directory or who.in_group(told.gid) or who.has(identities.FSETID)):
        mode &= ~stat.S_ISGID
    real = usable(mode, directory=told.is_directory)
    act = plan(call)
    act = replace(act, values={**act.values, "mode": real})
    done: int = target.act(act, pinned=(argument,)).value
    foreign = done == -errno.EPERM and not known.real.attributes & _FIXED
    if done < 0 and not foreign:
        return Fail(-done)

    def change(found: Remembered) -> Remembered:
        changed = with_mode(chmodded(found, mode), mode)
        # Of the other bits the kernel may drop one without a word.
        if not foreign and real == mode and not mode & _SPECIAL and found.device is None:
            changed = replace(changed, mode=None)  # the file says it itself
        return changed

    remember(world, call, known, argument, change)
    return Return(0)


def _is_plain(world: World, call: Call, argument: str) -> bool:
    """Whether the file itself can say what it is set to, and nothing is remembered of it."""
    mode = call.register("mode") & 0o7777
    if mode & _SPECIAL or usable(mode, directory=False) != mode or world.guarded is not None:
        return False
    known = world.seen(call, call.caller.look(call, argument), argument)
    told = known.told
    return (
        known.found is None
        and known.unclaimed
        and usable(mode, directory=told.is_directory) == mode
        and not known.real.attributes & _FIXED
    )


def _mknod(world: World, call: Call) -> Reply:
    require_sane(call, "mknodat")
    target = call.caller
    mode = call.register("mode")
    kind = stat.S_IFMT(mode)
    if kind not in (stat.S_IFCHR, stat.S_IFBLK):
        done: Reply = call.perform()
        return done
    who = world.identity(target)
    spot = spot_of(call, "path")
    place = target.find("path", spot)
    if not place.name or target.pin_named("path", "node"):
        return Fail(errno.EEXIST)
    if spot.path.endswith(b"/"):
        return Fail(errno.ENOENT)
    if not who.has(identities.MKNOD):
        return Fail(errno.EPERM)
    permissions = mode & 0o7777 & ~target.umask
    placeholder = Act(
        *("openat", call.call_name, {"flags": _NEW, "mode": 0o600}, {"path": spot}),
        returns_fd=True,
    )
    made = target.act(placeholder, pinned=("path",))
    if made.value < 0:
        return Fail(-made.value)
    target.afterwards(lambda taken: os.close(made.fd))
    status, rights = os.fstat(made.fd), target.credentials
    target.afterwards(
        lambda taken: None if taken else _unmake(place.fd, place.name, status, rights)
    )
    if not target.pin_named("path", "node"):
        return Fail(errno.ENOENT)  # another thread has removed it already
    inode = world.seen(call, target.look_at_fd(made.fd), "node").inode
    uid, gid = (None if number == 0 else number for number in (who.uids.fs, who.gids.fs))
    found = Remembered(uid, gid, permissions, (kind, _device(call.register("dev"))))
    world.store.change(inode, lambda _: found, bytes)
    target.afterwards(lambda taken: None if taken else world.store.bury(inode, bytes))
    return Return(0)


def _unmake(directory: int, name: bytes, status: os.stat_result, rights: Any) -> None:
    if not remove(directory, name, (status.st_dev, status.st_ino), rights):
        _log.warning("%r was made for a target that had gone, and stays", name)


def _mkdir(world: World, call: Call) -> Reply:
    # Of a mode that its owner could not use; root makes files in such a directory.
    target = call.caller
    mode = call.register("mode") & 0o1777 & ~target.umask
    target.pin_argument(call, "path")
    act = plan(call)
    act = replace(act, values={**act.values, "mode": usable(mode, directory=True)})
    done: int = target.act(act, pinned=("path",)).value
    if done < 0:
        return Fail(-done)
    if target.pin_named("path", "made"):
        known = world.seen(call, target.look_at("made"), "made")
        inherited = known.real.mode & stat.S_ISGID
        if known.real.is_directory:
            remember(world, call, known, "made", lambda found: chmodded(found, inherited | mode))
    return Return(0)


def _device(number: int) -> int:
    # As the kernel packs them: 12 bits of major, 20 of minor.
    return os.makedev(number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00)


CALLS: Final[Mapping[str, Callable[[World, Call], Reply]]] = MappingProxyType(
    dict.fromkeys(
        ("chown", "lchown", "fchown", "fchownat", "chown32", "lchown32", "fchown32"), _chown
    )
    | dict.fromkeys(("chmod", "fchmod", "fchmodat", "fchmodat2"), _chmod)
    | dict.fromkeys(("mknod", "mknodat"), _mknod)
    | dict.fromkeys(("mkdir", "mkdirat"), _mkdir)
)
"""What answers each call."""
