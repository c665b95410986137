"""What all calls of one fake root share: the store, the processes, whose ids are root's."""

from __future__ import annotations

import errno
import threading
from functools import partial
from typing import Any, NamedTuple

from unotify.calls import Call
from unotify.calls.stats import Stat
from unotify.errors import Refused
from unotify.handlers.ownership.identities import FOWNER, Identity
from unotify.handlers.ownership.journal import Inode
from unotify.handlers.ownership.processes import Processes
from unotify.handlers.ownership.remembered import Remembered, shown
from unotify.handlers.ownership.store import Store, inode_of
from unotify.protocol import Continue

__all__ = ["Known", "World", "argument_of", "going_on"]


def going_on(call: Call) -> Continue:
    """Let *call* go on, whatever its memory says by then."""
    if not call.exchange.memory_read:
        return Continue()
    # It gains nothing by a race: it acts with its own rights on its own files, and the worst is
    # that something is remembered of a file that has gone, which no other file is taken for.
    return Continue.racy(because="nothing is remembered of the file, and nothing is protected")


def argument_of(call: Call) -> str:
    """The argument that says which file: ``path`` or ``fd``."""
    return "path" if any(arg.name == "path" for arg in call.spec.args) else "fd"


class Known(NamedTuple):
    """One file, as it is and as it is shown.

    Attributes:
        inode: What names it.
        real: What it is.
        found: What is remembered, or ``None``.
        told: What is said of it.
        unclaimed: Nobody was made its owner: whoever plays whatever user may have made it, so it
            is anybody's who asks.
    """

    inode: Inode
    real: Stat
    found: Remembered | None
    told: Stat
    unclaimed: bool

    def belongs_to(self, who: Identity) -> bool:
        """Whether *who* counts as its owner, or may do what only that one may."""
        return self.unclaimed or self.told.uid == who.uids.fs or who.has(FOWNER)


def _handle(call: Call, key: str) -> bytes:
    return bytes(_pinning(call, key).handle_of(key))


def _is_stacked(call: Call, key: str) -> bool:
    return bool(_pinning(call, key).is_stacked(key))


def _pinning(call: Call, key: str) -> Any:
    """Who makes *call*; what it names as *key* is held."""
    target = call.caller
    if any(arg.name == key for arg in call.spec.args):
        target.pin_argument(call, key)
    return target


class World:
    """What is pretended, to all processes of one run.

    Args:
        store: What is remembered of files.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.processes = Processes()
        self.guarded = store.guarded()
        self._stacked: dict[int, bool] = {}
        """Devices on which the birth of a file may change."""
        self._own: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def own(self, target: Any) -> tuple[int, int]:
        """The ids that are shown as root's: those of the first process, which none ever changes."""
        own = self._own
        if own is None:
            rights = target.credentials
            with self._lock:
                own = self._own = self._own or (rights.fsuid, rights.fsgid)
        return own

    def identity(self, target: Any) -> Identity:
        """Who *target* pretends to be."""
        return self.processes.identity(target)

    def seen(self, call: Call, raw: bytes, key: str) -> Known:
        """What is known of the file that *raw*, a ``struct statx``, tells of.

        Args:
            call: Who asks.
            raw: As `unotify.Target.look` gives it.
            key: What it is, or would be, pinned as.
        """
        target = call.caller
        real = Stat.of_statx(raw)
        inode = inode_of(real)
        stacked = self._stacked.get(inode.dev)
        if stacked is None:
            stacked = self._stacked[inode.dev] = _is_stacked(call, key)
        if stacked:
            inode = inode._replace(born=0)
        found = self.store.find(inode, partial(_handle, call, key))
        own = self._own or self.own(target)
        unclaimed = real.uid == own[0] and (found is None or found.uid is None)
        return Known(inode, real, found, shown(real, found, own), unclaimed)

    def pinned(self, call: Call, argument: str) -> Known:
        """Hold the file that *argument* names, for an act on that very one.

        Raises:
            Refused: ENOENT: there is none.
        """
        target = call.caller
        if not target.pin_argument(call, argument):
            raise Refused("there is nothing of that name", errno=errno.ENOENT)
        return self.seen(call, target.look_at(argument), argument)

    def lets_go(self, call: Call, *arguments: str) -> bool:
        """Whether nothing is remembered of what *arguments* name, so that *call* may go on.

        Never if there is a store to be guarded.
        """
        if self.guarded is not None:
            return False
        if self.store.is_empty:
            return True
        target = call.caller
        for argument in arguments:
            try:
                known = self.seen(call, target.look(call, argument), argument)
            except Refused:
                continue  # the kernel says the same
            if known.found is not None:
                return False
        return True

    def is_store(self, call: Call, key: str) -> bool:
        """Whether what is pinned as *key* is the file of the store."""
        if self.guarded is None:
            return False
        return self._is_one_of((self.guarded.file,), call, key)

    def is_guarded(self, call: Call, key: str) -> bool:
        """Whether what is pinned as *key* is the store, or a directory above it."""
        if self.guarded is None:
            return False
        return self._is_one_of((self.guarded.file, *self.guarded.above), call, key)

    def _is_one_of(self, guarded: tuple[Inode, ...], call: Call, key: str) -> bool:
        target = call.caller
        found = inode_of(Stat.of_statx(target.look_at(key)))
        if any(found[:2] == one[:2] for one in guarded):
            return True
        # Who mounts an overlay above it, in a user namespace, sees the same file by another
        # device, and by another number if it likes; but its birth is the real one's.
        if not target.is_stacked(key):
            return False
        return any(found.born == one.born and (one.born or found.ino == one.ino) for one in guarded)
