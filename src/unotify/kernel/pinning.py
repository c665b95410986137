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
from collections.abc import Callable
from typing import Final

from unotify.abi.types import Tid
from unotify.calls.lookups import AT_FDCWD, Spot
from unotify.errors import KernelError, Refused, TargetGone
from unotify.kernel.ourselves import is_proc
from unotify.kernel.walking import (
    BENEATH,
    IN_ROOT,
    NO_MAGICLINKS,
    NO_SYMLINKS,
    Walk,
    openat2,
    same,
)

__all__ = ["Pin", "Place", "below", "path_of", "pin", "reach", "seen_from"]

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
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


class Place:
    """Where a target stands: its root, its directory, its descriptors; opened when needed.

    Each is opened first, and the target asked then whether it still waits (P8).

    Args:
        tid: The thread.
        tgid: Tells its process.
        still_valid: Tells whether it still waits.
        home: A descriptor of its directory in ``/proc``, if there is one.
    """

    __slots__ = (
        "_home",
        "_opened",
        "_still_valid",
        "_tgid",
        "file_limit",
        "fsuid",
        "is_alike",
        "tid",
    )

    def __init__(
        self,
        tid: Tid,
        tgid: Callable[[], int],
        still_valid: Callable[[], bool] = lambda: True,
        *,
        home: int | None = None,
    ) -> None:
        self._home = home
        self.tid = tid
        self._tgid = tgid
        self._still_valid = still_valid
        self._opened: dict[str, int] = {}
        self.fsuid = os.geteuid()
        """Who walks, for the protection of links in sticky directories."""
        self.is_alike: Callable[[], bool] = lambda: True
        """Whether devices and files of namespaces are to the target what they are to us."""
        self.file_limit: Callable[[], int] = lambda: -1
        """The target's RLIMIT_FSIZE; -1 for none."""

    @property
    def tgid(self) -> int:
        """Its process."""
        return self._tgid()

    @property
    def root(self) -> int:
        """Its root directory."""
        return self._open("root", _DIRECTORY)

    def start(self, dirfd: int) -> int:
        """Where a path that is relative to *dirfd* starts."""
        if dirfd == AT_FDCWD:
            return self._open("cwd", _DIRECTORY)
        if dirfd < 0:
            raise Refused(f"the target has no descriptor {dirfd}", errno=errno.EBADF)
        return self._open(f"fd/{dirfd}", os.O_PATH | os.O_CLOEXEC)

    def held(self, fd: int) -> int | None:
        """What `start` gave for the target's descriptor *fd*, if it was asked."""
        return self._opened.get(f"fd/{fd}")

    def prepare(self, spot: Spot) -> None:
        """Open what a look-up of *spot* may need: afterwards other rights will do."""
        self.root  # noqa: B018 - opened
        if not spot.path and not spot.empty:
            return  # such a path is refused, whatever the descriptor is
        if not spot.path.startswith(b"/") or spot.resolve & (IN_ROOT | BENEATH):
            self.start(spot.dirfd)

    def shares_root(self) -> bool:
        """Whether our own root is the very same: then ``..`` ends where it should."""
        ours = os.open("/", _DIRECTORY)
        try:
            return same(ours, self.root)
        finally:
            os.close(ours)

    def close(self) -> None:
        """Close what was opened."""
        opened, self._opened = self._opened, {}
        for fd in opened.values():
            os.close(fd)

    def _open(self, name: str, flags: int) -> int:
        fd = self._opened.get(name)
        if fd is None:
            fd = _open_of(self.tid, name, flags, home=self._home)
            if not self._still_valid():
                os.close(fd)
                raise TargetGone(f"thread {self.tid} does not wait for this call any more")
            self._opened[name] = fd
        return fd


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


def _pin_name(place: Place, spot: Spot) -> Pin:
    path = spot.path.rstrip(b"/")
    head, slash, name = path.rpartition(b"/")
    if name in (b"", b".", b"..") or not path:
        return _walked(place, spot)
    directory = spot._replace(path=head + slash or b".", follow=True, parent=False)
    fd = reach(place, directory, _DIRECTORY)
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


def seen_from(root: int, fd: int) -> bytes:
    """The path of *fd* as it is seen from the directory *root*."""
    base, path = path_of(root), path_of(fd)
    if not path.startswith(b"/"):
        return path
    found = below(base, path)
    return b"(unreachable)" + path if found is None else found


def below(base: bytes, path: bytes) -> bytes | None:
    """*path* as it is seen from *base*, or ``None``: it is not below."""
    if base == b"/":
        return path
    if path == base:
        return b"/"
    return path[len(base) :] if path.startswith(base + b"/") else None


def _open_of(tid: Tid, name: str, flags: int, *, home: int | None = None) -> int:
    """Open ``/proc/TID/name``, by a descriptor of that directory if there is one.

    Raises:
        TargetGone: There is no such thread.
        Refused: EBADF, ENOTDIR: the target named a descriptor that will not do.
        KernelError: We may not look into the thread.
    """
    try:
        if home is not None:
            return os.open(name, flags, dir_fd=home)
        return os.open(f"/proc/{tid}/{name}", flags)
    except (FileNotFoundError, ProcessLookupError):
        if name.startswith("fd/") and os.path.exists(f"/proc/{tid}"):
            raise Refused(f"the target has no descriptor {name[3:]}", errno=errno.EBADF) from None
        raise TargetGone(f"thread {tid} has ended") from None
    except NotADirectoryError:
        raise Refused("the path starts at what is no directory", errno=errno.ENOTDIR) from None
    except OSError as error:
        raise KernelError(
            error.errno or errno.EACCES,
            "open(2)",
            f"no look into /proc/{tid}/{name}: {error.strerror}",
            hint="it takes ptrace rights over the target",
        ) from error


def path_of(fd: int) -> bytes:
    """What our descriptor *fd* is open on, as ``/proc`` says."""
    return os.readlink(b"/proc/thread-self/fd/%d" % fd)
