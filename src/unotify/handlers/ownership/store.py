"""What is remembered of files, in memory and in a file that survives runs and crashes.

Theory of operation. One supervisor at a time has a store: it is locked (flock(2)), and whoever
comes second is told so. A change is in the file before the target's call returns; it survives the
death of the supervisor, not that of the machine, for which nobody waits: an interrupted system
forgets the last seconds of all files. At the start the file is written anew if more of it is
history than not, and then put into its place in one step.

An inode is known by device, number and birth. It is forgotten when its last name has gone. As long
as somebody has it open then, it is remembered in memory under the name that the kernel has for
that very inode (`unotify.Target.handle_of`): a new file may get its number, and even be as old.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, NamedTuple, Self

from unotify.calls.stats import Stat
from unotify.errors import Conflict, KernelError, Refused
from unotify.handlers.ownership.journal import HEADER, Damaged, Inode, line_of, replay, text_of
from unotify.handlers.ownership.remembered import NOTHING, Remembered
from unotify.kernel.looking import look_at_fd

__all__ = ["Guarded", "Store", "inode_of"]

_SPARE_LINES: Final = 256
_RETRIES: Final = 16
_MOST_ORPHANS: Final = 4096


class Guarded(NamedTuple):
    """What nobody who plays root may change.

    Attributes:
        file: The store.
        above: The directories above it.
    """

    file: Inode
    above: tuple[Inode, ...]


def inode_of(found: Stat) -> Inode:
    """What names the inode that *found* tells of."""
    return Inode(found.dev, found.ino, found.born)


class Store:
    """What is remembered, by inode. Thread-safe; a context manager.

    Args:
        path: The file; ``None``: nothing outlives this object.

    Raises:
        Conflict: Another run has it, or it is no store, or a damaged one.
        KernelError: It cannot be opened or written.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else os.path.abspath(path)
        self._lock = threading.Lock()
        self._fd = -1
        self._size = 0
        self._found: dict[tuple[int, int], tuple[int, Remembered]] = {}
        self._orphans: dict[Inode, tuple[bytes, Remembered]] = {}
        if self.path is not None:
            self._open(self.path)

    # -- looking -----------------------------------------------------------------------------

    def find(self, inode: Inode, handle: Callable[[], bytes]) -> Remembered | None:
        """What is remembered of *inode*, or ``None``.

        Args:
            inode: Which.
            handle: Tells the name that no other inode has; asked only if it is needed.
        """
        found = self._found.get(inode[:2])
        if found is not None:
            return found[1] if found[0] == inode.born else None
        if self._orphans:
            orphan = self._orphans.get(inode)
            if orphan is not None and orphan[0] == handle():
                return orphan[1]
        return None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered, not even of files without a name."""
        return not self._found and not self._orphans

    def __len__(self) -> int:
        return len(self._found)

    # -- changing ----------------------------------------------------------------------------

    def change(
        self,
        inode: Inode,
        change: Callable[[Remembered], Remembered],
        handle: Callable[[], bytes],
        *,
        nameless: bool = False,
    ) -> None:
        """Remember something else of *inode*.

        Args:
            inode: Which.
            change: Makes of what was remembered what is from now on.
            handle: As for `find`.
            nameless: It has no name any more, or not yet.

        Raises:
            Refused: The file cannot be written; has the errno.
        """
        with self._lock:
            was = self.find(inode, handle) or NOTHING
            now = change(was)
            if nameless:
                self._keep_orphan(inode, handle(), now)
                return
            self._orphans.pop(inode, None)
            known = self._found.get(inode[:2])
            if known == (inode.born, now) or (known is None and now == NOTHING):
                return
            self._write(line_of(inode, now))
            if now == NOTHING:
                del self._found[inode[:2]]
            else:
                self._found[inode[:2]] = inode.born, now

    def bury(self, inode: Inode, handle: Callable[[], bytes]) -> None:
        """Forget *inode*, whose last name has gone; in memory it lives on while it is open."""
        if inode[:2] not in self._found:
            return
        with self._lock:
            known = self._found.get(inode[:2])
            if known is None or known[0] != inode.born:
                return
            self._write(line_of(inode, NOTHING))
            del self._found[inode[:2]]
            self._keep_orphan(inode, handle(), known[1])

    def _keep_orphan(self, inode: Inode, handle: bytes, found: Remembered) -> None:
        self._orphans.pop(inode, None)
        if handle and found != NOTHING:
            self._orphans[inode] = handle, found
            while len(self._orphans) > _MOST_ORPHANS:
                del self._orphans[next(iter(self._orphans))]

    # -- the file ----------------------------------------------------------------------------

    def guarded(self) -> Guarded | None:
        """The file, and all directories above it; ``None`` without one."""
        if self.path is None:
            return None
        own = inode_of(Stat.of_statx(look_at_fd(self._fd)))
        above = []
        directory = os.path.realpath(self.path)
        while directory != "/":
            directory = os.path.dirname(directory)
            fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                above.append(inode_of(Stat.of_statx(look_at_fd(fd))))
            finally:
                os.close(fd)
        return Guarded(own, tuple(above))

    def close(self) -> None:
        """Let the file go; all of it is on the disk then."""
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, path: str) -> None:
        self._fd = _locked(path)
        try:
            self._read(path)
        except BaseException as error:
            fd, self._fd = self._fd, -1
            os.close(fd)
            if isinstance(error, OSError) and not isinstance(error, KernelError):
                raise _failed(path, error) from error
            raise

    def _read(self, path: str) -> None:
        data = _content(self._fd)
        if HEADER.startswith(data):  # new, or torn before anything was said
            os.ftruncate(self._fd, 0)
            _write_all(self._fd, HEADER)
            self._size = len(HEADER)
            return
        try:
            self._found, self._size, lines = replay(data)
        except Damaged as damaged:
            if damaged.line == 1:
                raise Conflict(
                    f"{path} is no store of fake root",
                    hint="name a file that does not exist yet: it is made",
                ) from None
            raise Conflict(
                f"{path} is damaged: line {damaged.line} is not what was written there",
                hint="take a copy from before, or cut the file off before that line",
            ) from None
        if self._size < len(data):
            os.ftruncate(self._fd, self._size)
        if lines > 2 * len(self._found) + _SPARE_LINES:
            self._rewrite(path)

    def _rewrite(self, path: str) -> None:
        entries = [(Inode(*key, born), found) for key, (born, found) in self._found.items()]
        text = text_of(entries)
        path = os.path.realpath(path)
        new = f"{path}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        with suppress(FileNotFoundError):
            os.unlink(new)  # of a run that was killed right here; the lock says it is nobody's
        fd = os.open(new, flags, 0o600)
        try:
            # Locked before it has the name: whoever opens it finds it taken.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_all(fd, text)
            os.fsync(fd)
            os.rename(new, path)
        except BaseException:
            os.close(fd)
            raise
        old, self._fd, self._size = self._fd, fd, len(text)
        os.close(old)

    def _write(self, line: bytes) -> None:
        if self._fd < 0:
            if self.path is None:
                return
            raise Refused("the store is closed", errno=errno.EIO)
        try:
            _write_all(self._fd, line)
        except OSError as error:
            # A part of a line in the midst of the file would be damage.
            os.ftruncate(self._fd, self._size)
            raise Refused(
                f"{self.path}: {error.strerror}", errno=error.errno or errno.EIO
            ) from error
        self._size += len(line)


def _locked(path: str) -> int:
    for _ in range(_RETRIES):
        try:
            fd = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o600
            )
        except OSError as error:
            raise _failed(path, error) from error
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Conflict(f"{path} is no regular file, so it is no store of fake root")
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(path) and os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
            os.close(fd)  # another run has put a new one into its place meanwhile
        except BlockingIOError:
            os.close(fd)
            raise Conflict(
                f"another run has the store {path}",
                hint="wait for its end, or give this run a store of its own",
            ) from None
        except BaseException:
            os.close(fd)
            raise
    raise Conflict(f"{path} is replaced again and again, so it cannot be locked")


def _content(fd: int) -> bytes:
    pieces = []
    offset = 0
    while piece := os.pread(fd, 1 << 20, offset):
        pieces.append(piece)
        offset += len(piece)
    return b"".join(pieces)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _failed(path: str, error: OSError) -> KernelError:
    return KernelError(
        error.errno or errno.EIO,
        "open(2)",
        f"{path}: {error.strerror}",
        hint="the store is a file of the supervisor's own, which it can write",
    )
