"""What a path of a target names, held by a descriptor.

Theory of operation. Nearly all paths have no symbolic link in them. For those openat2(2) with
RESOLVE_NO_SYMLINKS is exact: no link is met, so neither ``self`` nor a root is asked for, and
what it says, a descriptor or an errno, is what the target would have got. ELOOP says that there
is a link. Then links are let, but none of those that are more than text; what is found is the
target's unless it lies in a procfs, where ``self`` was us. All else is walked by hand
(`unotify.kernel.walking`).

Absolute paths begin at a descriptor of the target's root, so neither a chroot nor a mount
namespace has to be entered.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from unotify.calls.lookups import Spot
from unotify.errors import KernelError, Refused
from unotify.kernel.ourselves import is_proc
from unotify.kernel.places import DIRECTORY, Place, seen_from
from unotify.kernel.walking import (
    BENEATH,
    IN_ROOT,
    NO_MAGICLINKS,
    NO_SYMLINKS,
    Walk,
    openat2,
)

__all__ = ["Pin", "pin", "reach"]

_RETRIES: Final = 4


class Pin:
    """What a path names: `fd` itself, or `name` in the directory `fd`.

    Attributes:
        fd: An O_PATH descriptor.
        name: Empty, or a last component that does not exist or is not to be looked at.
        out_of_reach: It was found with rights that the target does not have.
    """

    __slots__ = ("_root", "fd", "name", "out_of_reach")

    def __init__(self, fd: int, name: bytes, root: int) -> None:
        self.fd = fd
        self.name = name
        self._root = root
        self.out_of_reach = False

    def require_reached(self) -> None:
        """Raise `Refused`, EACCES, if the target could not have come there."""
        if self.out_of_reach:
            raise Refused("a directory on the way is closed to the target", errno=errno.EACCES)

    @property
    def text(self) -> str:
        """Its path, as seen from the target's root; old at once."""
        base = seen_from(self._root, self.fd)
        name = self.name.rstrip(b"/")
        if not name:
            return os.fsdecode(base)
        return os.fsdecode(base.rstrip(b"/") + b"/" + name)

    def look(self, *, flags: int = 0, mask: int = 0) -> bytes:
        """``struct statx`` of it; see `unotify.kernel.looking.look_at`."""
        from unotify.kernel.looking import look_at

        return look_at(self, flags=flags, mask=mask)

    def named(self) -> Pin | None:
        """Hold what the name stands for now; see `unotify.kernel.looking.named`."""
        from unotify.kernel.looking import named

        return named(self)

    def is_stacked(self) -> bool:
        """See `unotify.kernel.looking.is_stacked`."""
        from unotify.kernel.looking import is_stacked

        return is_stacked(self)

    def handle(self) -> bytes:
        """See `unotify.kernel.looking.file_handle`."""
        from unotify.kernel.looking import file_handle

        return file_handle(self)

    def close(self) -> None:
        """Close the descriptor."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def pin(place: Place, spot: Spot) -> Pin:
    """Find out what *spot* names, and hold it.

    Raises:
        TargetGone: There is no such thread.
        Refused: The kernel would refuse the path too; has its errno.
        KernelError: We may not look into the thread.
    """
    if not spot.path and not spot.empty:
        raise _refusal(spot, errno.ENOENT)
    if spot.parent:
        return _pin_name(place, spot)
    flags = os.O_PATH | os.O_CLOEXEC | (0 if spot.follow else os.O_NOFOLLOW)
    fd = reach(place, spot, flags)
    if fd is not None and fd >= 0:
        return Pin(fd, b"", place.root)
    if fd is None or fd == -errno.ENOENT:  # the last part may be a name to be made
        return _walked(place, spot)
    raise _refusal(spot, -fd)


def reach(place: Place, spot: Spot, flags: int, mode: int = 0) -> int | None:
    """Open what *spot* names, if that can be done in one step.

    Returns:
        A descriptor, a negative errno, or ``None``: it has to be walked.
    """
    path = spot.path
    if not path:
        return None
    theirs = spot.resolve
    absolute = path.startswith(b"/") and not theirs & (IN_ROOT | BENEATH)
    if absolute:
        return _attempt(place.root, path, flags, mode, theirs | IN_ROOT, links=True)
    start = place.start(spot.dirfd)
    if theirs & (IN_ROOT | BENEATH):
        return _attempt(start, path, flags, mode, theirs, links=True)
    if b".." not in path:
        found = _attempt(start, path, flags, mode, theirs, links=False)
        if found is not None:
            return found
    return _attempt(start, path, flags, mode, theirs, links=True) if place.shares_root() else None


def _attempt(
    start: int, path: bytes, flags: int, mode: int, resolve: int, *, links: bool
) -> int | None:
    fd = -errno.EAGAIN
    for _ in range(_RETRIES):  # somebody renames a directory while `..` is followed
        fd = openat2(start, path, flags, mode, resolve | NO_SYMLINKS)
        if fd != -errno.EAGAIN:
            break
    if fd == -errno.ELOOP and resolve & NO_SYMLINKS:
        return fd  # the target wants it so
    if fd in (-errno.EAGAIN, -errno.ENOSYS):
        return None
    if fd != -errno.ELOOP:
        return fd
    # With O_CREAT or O_TRUNC an attempt that goes astray would leave traces.
    if not links or flags & (os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_WRONLY):
        return None
    fd = openat2(start, path, flags, mode, resolve | NO_MAGICLINKS)
    if fd < 0:
        return None  # perhaps it was `self` that is not there for us
    if is_proc(fd):
        os.close(fd)
        return None
    return fd


def _pin_name(place: Place, spot: Spot) -> Pin:
    path = spot.path.rstrip(b"/")
    head, slash, name = path.rpartition(b"/")
    if name in (b"", b".", b"..") or not path:
        return _walked(place, spot)
    directory = spot._replace(path=head + slash or b".", follow=True, parent=False)
    fd = reach(place, directory, DIRECTORY)
    if fd is None:
        return _walked(place, spot)
    if fd < 0:
        raise _refusal(spot, -fd)
    return Pin(fd, name + spot.path[len(path) :][:1], place.root)


def _walked(place: Place, spot: Spot) -> Pin:
    root = place.root
    if spot.path.startswith(b"/") and not spot.resolve & (IN_ROOT | BENEATH):
        start = os.dup(root)
    else:
        start = os.dup(place.start(spot.dirfd))
    top = os.dup(start) if spot.resolve & (IN_ROOT | BENEATH) else os.dup(root)
    walk = Walk(place.tid, place.tgid, top, start, fsuid=place.fsuid, resolve=spot.resolve)
    try:
        name = walk.go(spot)
        return Pin(walk.take(), name, root)
    except OSError as error:
        if isinstance(error, KernelError):
            raise
        raise _refusal(spot, error.errno or errno.EIO) from None
    finally:
        walk.close()
        os.close(top)


def _refusal(spot: Spot, number: int) -> Refused:
    """What the target is told of a path that leads nowhere."""
    return Refused(f"{os.fsdecode(spot.path)}: {os.strerror(number)}", errno=number)
