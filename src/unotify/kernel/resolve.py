"""What a path of a target names: a walk through its root, as the kernel would walk for it.

Theory of operation. openat2(2) with RESOLVE_IN_ROOT would do most of it, but not two things:
a path that starts at a directory below the root may climb out of that directory, and
``/proc/self`` would be ourselves. So the walk is made here, one component at a time, on
descriptors that open nothing (O_PATH): symbolic links are read and followed by us, absolute
ones from the target's root, ``..`` stops at that root, and in a procfs ``self`` is the
target. Links of procfs that are no text (``/proc/1/fd/3``) are left to the kernel.

The answer is text, and old at once: any component may be renamed afterwards (C2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from contextlib import ExitStack, suppress
from typing import Final

from unotify.abi.types import Tid
from unotify.errors import KernelError, Refused, TargetGone
from unotify.kernel._libc import SYS_PIDFD_OPEN, libc, syscall

__all__ = ["AT_FDCWD", "resolve", "seen_from"]

AT_FDCWD: Final = -100
"""Instead of a descriptor: the current directory."""

_SYS_OPENAT2: Final = SYS_PIDFD_OPEN + 3
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_MOST_LINKS: Final = 40
_PROC_MAGIC: Final = 0x9FA0
_PROC_ROOT_INO: Final = 1
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_ANYTHING: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

_fstatfs = libc.fstatfs


def resolve(
    tid: Tid, tgid: int, path: bytes, *, dirfd: int, follow: bool, in_root: bool = False
) -> str:
    """Tell what *path* names for thread *tid*, as seen from that thread's root.

    The last component need not exist. What is no file has the text that
    ``/proc/PID/fd`` gives it, such as ``pipe:[123]``; what lies outside of the
    root begins with ``(unreachable)``.

    Args:
        tid: The thread.
        tgid: Its process.
        path: As the target gave it; empty names *dirfd* itself.
        dirfd: The target's descriptor that a relative path starts at, or `AT_FDCWD`.
        follow: Whether a link in the last component is followed.
        in_root: Take *dirfd* as the root of the walk (RESOLVE_IN_ROOT).

    Raises:
        TargetGone: There is no such thread.
        Refused: The kernel would refuse the path too; has its errno.
        KernelError: We may not look into the thread.
    """
    with ExitStack() as stack:
        root = _open_of(tid, "root", _DIRECTORY)
        stack.callback(os.close, root)
        if path.startswith(b"/") and not in_root:
            start = os.dup(root)
        elif dirfd == AT_FDCWD:
            start = _open_of(tid, "cwd", _DIRECTORY)
        else:
            start = _open_of(tid, f"fd/{dirfd}", os.O_PATH | os.O_CLOEXEC)
        top = os.dup(start) if in_root else os.dup(root)
        stack.callback(os.close, top)
        walk = _Walk(tid, tgid, top, start)
        stack.callback(walk.close)
        try:
            name = walk.go(path, follow=follow)
            return os.fsdecode(seen_from(root, walk.here) + name)
        except OSError as error:
            raise Refused(
                f"{os.fsdecode(path)}: {os.strerror(error.errno or errno.EIO)}",
                errno=error.errno,
            ) from None


def seen_from(root: int, fd: int) -> bytes:
    """The path of *fd* as it is seen from the directory *root*."""
    base, path = _path(root), _path(fd)
    if base == b"/" or not path.startswith(b"/"):
        return path
    if path == base:
        return b"/"
    if path.startswith(base + b"/"):
        return path[len(base) :]
    return b"(unreachable)" + path


class _Walk:
    """A position in a tree of files; `here` is its descriptor."""

    def __init__(self, tid: Tid, tgid: int, root: int, here: int) -> None:
        self._tid, self._tgid, self._root = tid, tgid, root
        self.here = here
        self._links = 0

    def close(self) -> None:
        os.close(self.here)

    def go(self, path: bytes, *, follow: bool) -> bytes:
        """Walk; returns what is to be added to the path of `here`: a name that does not exist."""
        if not path:
            return b""
        slash = path.endswith(b"/")
        left = _parts(path)
        if path.startswith(b"/"):
            self._move(os.dup(self._root))
        while left:
            name = left.pop()
            if name == b".":
                self._require_directory()
            elif name == b"..":
                self._up()
            else:
                link = self._enter(name, follow=follow or slash or bool(left), last=not left)
                if link is None:
                    return self._added(name)
                if link.startswith(b"/"):
                    self._move(os.dup(self._root))
                slash = slash or (not left and link.endswith(b"/"))
                left += _parts(link)
        if slash:
            self._require_directory()
        return b""

    def _added(self, name: bytes) -> bytes:
        return name if _path(self.here) == b"/" else b"/" + name

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
            if self._links > _MOST_LINKS:
                raise OSError(errno.ELOOP, "")
            if _is_proc(child):
                told = self._proc_link(name)
                if told is not None:
                    return told
            text = os.readlink(b"", dir_fd=child)
        if not text:
            raise FileNotFoundError(errno.ENOENT, "")
        return text

    def _proc_link(self, name: bytes) -> bytes | None:
        """What a link of procfs means to the target; ``None`` for one that is text."""
        if os.fstat(self.here).st_ino == _PROC_ROOT_INO and name in (b"self", b"thread-self"):
            tgid, tid = self._ids()
            return b"%d" % tgid if name == b"self" else b"%d/task/%d" % (tgid, tid)
        how = struct.pack("=3Q", os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_NO_MAGICLINKS)
        fd = syscall(_SYS_OPENAT2, self.here, name, how, len(how))
        if fd >= 0:
            os.close(fd)
        if fd not in (-errno.ELOOP, -errno.ENOSYS, -errno.EPERM):
            return None
        self._move(os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=self.here))
        return b""

    def _ids(self) -> tuple[int, int]:
        """Process and thread id, as the procfs we are in numbers them."""
        with suppress(OSError):
            if os.readlink(b"self", dir_fd=self.here) == b"%d" % os.getpid():
                return self._tgid, self._tid
        # One of a pid namespace that we are not in: the target's own, in nearly all cases.
        tgid, tid = self._tgid, int(self._tid)
        with open(f"/proc/{tid}/status", "rb") as status:
            for line in status:
                if line.startswith(b"NStgid:"):
                    tgid = int(line.split()[-1])
                elif line.startswith(b"NSpid:"):
                    tid = int(line.split()[-1])
        return tgid, tid

    def _up(self) -> None:
        self._require_directory()
        if not _same(self.here, self._root):
            self._move(os.open(b"..", _DIRECTORY, dir_fd=self.here))

    def _require_directory(self) -> None:
        if not stat.S_ISDIR(os.fstat(self.here).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "")

    def _move(self, fd: int) -> None:
        os.close(self.here)
        self.here = fd


def _open_of(tid: Tid, name: str, flags: int) -> int:
    try:
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


def _parts(path: bytes) -> list[bytes]:
    # The last comes first, to be popped.
    return [part for part in path.split(b"/") if part][::-1]


def _path(fd: int) -> bytes:
    return os.readlink(b"/proc/self/fd/%d" % fd)


def _same(one: int, other: int) -> bool:
    # The same directory may be mounted twice; only one of them is the root.
    first, second = os.fstat(one), os.fstat(other)
    if (first.st_dev, first.st_ino) != (second.st_dev, second.st_ino):
        return False
    return _mount(one) == _mount(other)


def _mount(fd: int) -> bytes:
    with open(f"/proc/self/fdinfo/{fd}", "rb") as info:
        return next((line for line in info if line.startswith(b"mnt_id:")), b"")


def _is_proc(fd: int) -> bool:
    buffer = ctypes.create_string_buffer(512)
    if _fstatfs(fd, buffer):
        return False
    # A long, but on s390x an int.
    form = "=I" if os.uname().machine == "s390x" else "@l"
    kind: int = struct.unpack_from(form, buffer)[0]
    return kind == _PROC_MAGIC
