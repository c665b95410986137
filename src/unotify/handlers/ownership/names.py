"""Names that are removed and moved: what is remembered dies with the inode, and the store stays.

Theory of operation. A file is remembered by its inode, so a link or another name of it needs
nothing. What its last name leaves is forgotten: after the act the inode itself tells how many
names it has, so it does not matter whether somebody renamed it meanwhile.

The store is a file of the user that plays root, like all others here. So that no target writes to
it, neither it nor a directory above it can be removed, moved or replaced, it gets no other name,
and nobody opens it to write (`unotify.handlers.ownership.guard`). Since it cannot move, a name
that is not the store's when it is looked at does not become so before the act.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from unotify.calls import Call
from unotify.calls.acts import plan
from unotify.calls.checks import require_sane
from unotify.handlers.ownership.world import World, going_on
from unotify.protocol import Fail, Reply, Return

__all__ = ["CALLS", "GUARDING"]


def _remove(world: World, call: Call) -> Reply:
    if world.lets_go(call, "path"):
        return going_on(call)
    require_sane(call, "unlinkat")
    target = call.caller
    target.pin_argument(call, "path")
    there = target.pin_named("path", "victim")
    if there and world.is_guarded(call, "victim"):
        return Fail(errno.EBUSY)
    done = target.act(plan(call), pinned=("path",))
    if done.value < 0:
        return Fail(-done.value)
    if there:
        _bury(world, call)
    return Return(0)


def _bury(world: World, call: Call) -> None:
    target = call.caller
    known = world.seen(call, target.look_at("victim"), "victim")
    if known.real.nlink == 0:
        world.store.bury(known.inode, lambda: bytes(target.handle_of("victim")))


def _rename(world: World, call: Call) -> Reply:
    # What is moved keeps what is remembered of it; only what it replaces may end.
    if world.lets_go(call, "newpath"):
        return going_on(call)
    require_sane(call, "renameat2")
    target = call.caller
    target.pin_argument(call, "oldpath")
    target.pin_argument(call, "newpath")
    moved = target.pin_named("oldpath", "moved")
    there = target.pin_named("newpath", "victim")
    for key in ("moved",) * moved + ("victim",) * there:
        if world.is_guarded(call, key):
            return Fail(errno.EBUSY)
    done = target.act(plan(call), pinned=("oldpath", "newpath"))
    if done.value < 0:
        return Fail(-done.value)
    if there:
        _bury(world, call)
    return Return(0)


def _link(world: World, call: Call) -> Reply:
    require_sane(call, "linkat")
    target = call.caller
    if target.pin_argument(call, "oldpath"):
        guarded = world.is_store(call, "oldpath")
    else:
        there = target.pin_named("oldpath", "linked")
        guarded = there and world.is_store(call, "linked")
    if guarded:
        return Fail(errno.EPERM)
    done: Reply = call.perform()
    if isinstance(done, Return) and target.pin_argument(call, "oldpath"):
        # A file that had no name yet (O_TMPFILE) is remembered for good from now on.
        known = world.seen(call, target.look_at("oldpath"), "oldpath")
        if known.found is not None:
            handle = partial(target.handle_of, "oldpath")
            world.store.change(known.inode, lambda found: found, handle)
    return done


CALLS: Final[Mapping[str, Callable[[World, Call], Reply]]] = MappingProxyType(
    dict.fromkeys(("unlink", "unlinkat", "rmdir"), _remove)
    | dict.fromkeys(("rename", "renameat", "renameat2"), _rename)
)
"""What answers each call."""

GUARDING: Final[Mapping[str, Callable[[World, Call], Reply]]] = MappingProxyType(
    dict.fromkeys(("link", "linkat"), _link)
)
"""What is asked only if there is a store to be guarded."""
