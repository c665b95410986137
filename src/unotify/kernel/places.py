"""Where a target stands: what its paths begin at, and how they read from there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from unotify.abi.types import Tid
from unotify.calls.lookups import AT_FDCWD, Spot
from unotify.errors import KernelError, Refused, TargetGone
from unotify.kernel.walking import BENEATH, IN_ROOT, same

__all__ = ["DIRECTORY", "Place", "below", "path_of", "seen_from"]

DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
"""How a directory is opened that is only walked from."""


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
        return self._open("root", DIRECTORY)

    def start(self, dirfd: int) -> int:
        """Where a path that is relative to *dirfd* starts."""
        if dirfd == AT_FDCWD:
            return self._open("cwd", DIRECTORY)
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
        ours = os.open("/", DIRECTORY)
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


def path_of(fd: int) -> bytes:
    """What our descriptor *fd* is open on, as ``/proc`` says."""
    return os.readlink(b"/proc/thread-self/fd/%d" % fd)
