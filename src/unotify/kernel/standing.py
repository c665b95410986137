"""Where a thread stands: its directory in ``/proc``, its root, its descriptors.

Each is opened when it is asked for first, and then is what all else about this call is told of
and done to.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Final

from unotify.abi.types import Tid
from unotify.calls.lookups import AT_FDCWD
from unotify.errors import KernelError, Refused, TargetGone
from unotify.kernel.entries import link, unseen
from unotify.kernel.home import Home, Homes
from unotify.kernel.identity import Identity
from unotify.kernel.places import Place, seen_from
from unotify.kernel.rights import Rights

__all__ = ["Standing"]

_KINDS: Final = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "pipe",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}


class Standing(Identity):
    """A thread of which some things are held open until it is closed.

    Args:
        tid: From the notification.
        still_valid: Tells whether the notification still waits.
        homes: Directories in ``/proc`` that are kept from call to call, if they are.
    """

    __slots__ = ("_home", "_homes", "_place", "_status")

    def __init__(
        self, tid: Tid, still_valid: Callable[[], bool], *, homes: Homes | None = None
    ) -> None:
        super().__init__(tid, still_valid)
        self._homes = homes
        self._home: Home | None = None
        self._place: Place | None = None
        self._status = b""

    @property
    def home(self) -> Home:
        """Its directory in ``/proc``."""
        if self._home is None:
            self._require_open()
            home = Home.of(self.tid) if self._homes is None else self._homes.take(self.tid)
            if not self._still_valid():
                self._leave(home)
                raise self._gone()
            self._home = home
        return self._home

    @property
    def place(self) -> Place:
        """Its root, its directory and its descriptors."""
        self._require_open()
        if self._place is None:
            self._place = Place(
                self.tid, lambda: self.tgid, self._still_valid, home=self.home.directory
            )
        return self._place

    def user_namespace(self) -> str:
        """What ``/proc/PID/ns/user`` links to; as long as it waits it enters no other."""
        return self.home.user_namespace

    def status(self) -> bytes:
        """What ``/proc/TID/status`` tells; read once, for as long as it waits that holds."""
        if not self._status:
            try:
                self._status = self._checked(self.home.status())
            except (FileNotFoundError, ProcessLookupError):
                raise TargetGone(f"thread {self.tid} has ended") from None
            except OSError as error:
                if isinstance(error, KernelError):
                    raise
                raise unseen(error, self.tid, "status") from error
            if b"\nUmask:" not in self._status:
                self._status = b""
                raise self._gone()  # whoever exits has lost it already
        return self._status

    def rights(self) -> Rights:
        """Its credentials and umask."""
        return Rights.parse(self.status())

    def directory(self, name: str) -> str:
        """Its ``cwd`` as seen from its root, or its ``root`` as seen from ours."""
        if name == "root":
            self._require_open()
            return self._checked(link(self.tid, "root"))
        place = self.place
        return self._checked(os.fsdecode(seen_from(place.root, place.start(AT_FDCWD))))

    def fd_kind(self, fd: int) -> str:
        """One of file, directory, socket, pipe, char, block, anon (no type), none (not open)."""
        held = self._held(fd)
        if held < 0:
            return self._checked("none")
        # What is opened is an inode without a type, or with one that tells nothing.
        if _path(held).startswith(("anon_inode:", "pidfd:")):
            return self._checked("anon")
        return self._checked(_KINDS.get(stat.S_IFMT(os.fstat(held).st_mode), "anon"))

    def fd_path(self, fd: int) -> str:
        """What its descriptor *fd* is open on, as ``/proc/PID/fd`` says; empty if it is not."""
        held = self._held(fd)
        return self._checked(_path(held) if held >= 0 else "")

    def close(self) -> None:
        """Free what is open; later use raises :exc:`TargetGone`."""
        super().close()
        self._status = b""
        home, self._home = self._home, None
        if home is not None:
            self._leave(home)
        place, self._place = self._place, None
        if place is not None:
            place.close()

    def _leave(self, home: Home) -> None:
        if self._homes is None:
            home.close()
        else:
            self._homes.give(home)

    def _held(self, fd: int) -> int:
        """What its descriptor *fd* is now, for as long as this is open; -1 if it is not open.

        Another thread may put something else there: what is told about it, and what is acted
        on, are one thing.
        """
        try:
            return self.place.start(fd)
        except Refused:
            return -1


def _path(fd: int) -> str:
    return os.readlink(f"/proc/thread-self/fd/{fd}")
