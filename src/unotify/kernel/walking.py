"""A walk along a path, one component at a time, as the kernel would walk for the target.

Theory of operation. openat2(2) with RESOLVE_IN_ROOT does most of it, but not two things: a path
that starts at a directory below the root may climb out of that directory, and ``/proc/self``
would be ourselves. So the walk is made here, on descriptors that open nothing (O_PATH):
symbolic links are read and followed by us, absolute ones from the target's root, ``..`` stops
at that root, and in a procfs ``self`` is the target. Links of procfs that are no text
(``/proc/1/fd/3``) are left to the kernel.

What is found is pinned: whoever renames it, or puts a link in its place, changes nothing for
who acts on the descriptor.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Final

from unotify.abi.types import Tid
from unotify.calls.lookups import Spot
from unotify.kernel._libc import SYS_PIDFD_OPEN, libc
from unotify.kernel.ourselves import PROC_ROOT_INO, is_proc, mount_id, require_foreign

__all__ = [
    "BENEATH",
    "IN_ROOT",
    "NO_MAGICLINKS",
    "NO_SYMLINKS",
    "NO_XDEV",
    "Walk",
    "innermost_ids",
    "openat2",
    "same",
]

_SYS_OPENAT2: Final = SYS_PIDFD_OPEN + 3

_how: Final = struct.Struct("=3Q").pack
# With its arguments' types told once: for a call as frequent as this that is half of its time.
_openat2: Final = ctypes.CFUNCTYPE(
    *(ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p),
    ctypes.c_long,
    use_errno=True,
)(("syscall", libc))

NO_XDEV: Final = 0x01
NO_MAGICLINKS: Final = 0x02
NO_SYMLINKS: Final = 0x04
BENEATH: Final = 0x08
IN_ROOT: Final = 0x10

_MOST_LINKS: Final = 40
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_ANYTHING: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_STICKY_FOR_ALL: Final = stat.S_ISVTX | stat.S_IWOTH


def openat2(dirfd: int, path: bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open *path* by RESOLVE_* rules: a descriptor, or a negative errno (openat2(2))."""
    fd = _openat2(_SYS_OPENAT2, dirfd, path, _how(flags, mode, resolve), 24)
    return -ctypes.get_errno() if fd < 0 else fd


class Walk:
    """A position in a tree of files; `here` is its descriptor.

    Args:
        tid: Whose `self` is meant.
        tgid: Its process.
        root: Where absolute paths begin and ``..`` ends; borrowed.
        here: Where to begin; taken over.
        fsuid: Who walks, for the kernel's protection of links in sticky directories.
        resolve: ``RESOLVE_*`` of openat2(2) that hold.
    """

    def __init__(
        self, tid: Tid, tgid: int, root: int, here: int, *, fsuid: int = 0, resolve: int = 0
    ) -> None:
        self._tid, self._tgid, self._root, self._fsuid = tid, tgid, root, fsuid
        self._resolve = resolve
        self._mount = mount_id(here) if resolve & NO_XDEV else b""
        self.here = here
        self._links = 0

    def close(self) -> None:
        """Close `here`, unless it was taken."""
        if self.here >= 0:
            os.close(self.here)
            self.here = -1

    def take(self) -> int:
        """`here`, which is the caller's from now on."""
        fd, self.here = self.here, -1
        return fd

    def go(self, spot: Spot) -> bytes:
        """Walk along *spot*.

        Returns:
            A last name that is left, since it does not exist or is not to be looked at;
            empty if `here` is the thing itself.

        Raises:
            OSError: As the kernel would refuse the path.
        """
        path = spot.path
        if not path:
            if not spot.empty:
                raise FileNotFoundError(errno.ENOENT, "")
            return b""
        slash = path.endswith(b"/")
        left = _parts(path)
        if path.startswith(b"/"):
            self._to_root()
        while left:
            name = left.pop()
            if spot.parent and not left:
                self._require_directory()
                return name + b"/" if slash else name
            if name == b".":
                self._require_directory()
            elif name == b"..":
                self._up()
            else:
                link = self._enter(name, follow=spot.follow or slash or bool(left), last=not left)
                if link is None:
                    return name + b"/" if slash else name
                if link.startswith(b"/"):
                    self._to_root()
                slash = slash or (not left and link.endswith(b"/"))
                left += _parts(link)
        if slash:
            self._require_directory()
        return b"/" if spot.parent else b""  # all of it was slashes

    def _enter(self, name: bytes, *, follow: bool, last: bool) -> bytes | None:
        """Go to *name*; returns a link's text to go on with, or b""; ``None``: it is missing."""
        try:
            child = os.open(name, _ANYTHING, dir_fd=self.here)
        except FileNotFoundError:
            if not last:
                raise
            return None
        if not stat.S_ISLNK(os.fstat(child).st_mode) or not follow:
            self._move(child)
            return b""
        with ExitStack() as stack:
            stack.callback(os.close, child)
            self._links += 1
            if self._links > _MOST_LINKS or self._resolve & NO_SYMLINKS:
                raise OSError(errno.ELOOP, "")
            self._require_safe(child)
            if is_proc(child):
                told = self._proc_link(name)
                if told is not None:
                    return told
            text = os.readlink(b"", dir_fd=child)
        if not text:
            raise FileNotFoundError(errno.ENOENT, "")
        return text

    def _require_safe(self, link: int) -> None:
        # fs.protected_symlinks: in a directory such as /tmp others' links are not followed.
        if not _links_protected():
            return
        directory = os.fstat(self.here)
        if directory.st_mode & _STICKY_FOR_ALL != _STICKY_FOR_ALL:
            return
        owner = os.fstat(link).st_uid
        if owner not in (self._fsuid, directory.st_uid):
            raise PermissionError(errno.EACCES, "")

    def _proc_link(self, name: bytes) -> bytes | None:
        """What a link of procfs means to the target; ``None`` for one that is text."""
        if os.fstat(self.here).st_ino == PROC_ROOT_INO and name in (b"self", b"thread-self"):
            tgid, tid = self._ids()
            return b"%d" % tgid if name == b"self" else b"%d/task/%d" % (tgid, tid)
        fd = openat2(self.here, name, os.O_PATH | os.O_CLOEXEC, 0, NO_MAGICLINKS)
        if fd >= 0:
            os.close(fd)
        if fd not in (-errno.ELOOP, -errno.ENOSYS, -errno.EPERM):
            return None
        if self._resolve & NO_MAGICLINKS:
            raise OSError(errno.ELOOP, "")
        if self._resolve & (BENEATH | IN_ROOT):
            raise OSError(errno.EXDEV, "")
        require_foreign(self.here, self._tid, name)
        self._move(os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=self.here))
        return b""

    def _ids(self) -> tuple[int, int]:
        """Process and thread id, as the procfs we are in numbers them."""
        with suppress(OSError):
            if os.readlink(b"self", dir_fd=self.here) == b"%d" % os.getpid():
                return self._tgid, self._tid
        return innermost_ids(self._tid, self._tgid)

    def _to_root(self) -> None:
        if self._resolve & BENEATH:
            raise OSError(errno.EXDEV, "")
        self._move(os.dup(self._root))

    def _up(self) -> None:
        self._require_directory()
        if not same(self.here, self._root):
            self._move(os.open(b"..", _DIRECTORY, dir_fd=self.here))
        elif self._resolve & BENEATH:
            raise OSError(errno.EXDEV, "")

    def _require_directory(self) -> None:
        if not stat.S_ISDIR(os.fstat(self.here).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "")

    def _move(self, fd: int) -> None:
        os.close(self.here)
        self.here = fd
        if self._resolve & NO_XDEV and mount_id(fd) != self._mount:
            raise OSError(errno.EXDEV, "")


def innermost_ids(tid: int, tgid: int) -> tuple[int, int]:
    """Process and thread id of thread *tid*, as its own pid namespace numbers them.

    That is what a procfs means that we have no number in, in nearly all cases.
    """
    with open(f"/proc/{tid}/status", "rb") as status:
        for line in status:
            if line.startswith(b"NStgid:"):
                tgid = int(line.split()[-1])
            elif line.startswith(b"NSpid:"):
                tid = int(line.split()[-1])
    return tgid, tid


@cache
def _links_protected() -> bool:
    try:
        return Path("/proc/sys/fs/protected_symlinks").read_text().strip() == "1"
    except OSError:
        return True


def _parts(path: bytes) -> list[bytes]:
    # The last comes first, to be popped.
    return [part for part in path.split(b"/") if part][::-1]


def same(one: int, other: int) -> bool:
    """Whether two descriptors are one directory, of one mount of it."""
    first, second = os.fstat(one), os.fstat(other)
    if (first.st_dev, first.st_ino) != (second.st_dev, second.st_ino):
        return False
    return mount_id(one) == mount_id(other)
