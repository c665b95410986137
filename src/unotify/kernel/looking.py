"""What a target's path or descriptor is, as statx(2) tells of the thing itself.

Theory of operation. A descriptor is looked at through ``/proc/TID/fd``, in one step: the kernel
looks it up in the target's own table. A path is pinned first (`unotify.kernel.pinning`) and what
was pinned is looked at, so that device, inode and all the rest are of one thing, whatever is
renamed meanwhile. No permission is needed to look at what was reached.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import TYPE_CHECKING, Any, Final

from unotify.abi.arch import Arch
from unotify.calls.lookups import AT_FDCWD, Spot
from unotify.errors import KernelError, Refused, TargetGone
from unotify.kernel._libc import NATIVE, syscall
from unotify.kernel.acts import number
from unotify.kernel.pinning import Pin

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["STATX", "file_handle", "is_stacked", "look", "look_at", "look_at_fd", "named"]

STATX: Final = 0xFFF
"""STATX_BASIC_STATS and STATX_BTIME: what the kernel is asked for in any case."""

_SIZE: Final = 256
_AT_EMPTY_PATH: Final = 0x1000
_AT_HANDLE_FID: Final = 0x200
_OVERLAY: Final = 0x794C7630  # OVERLAYFS_SUPER_MAGIC
_HANDLE: Final = 128  # MAX_HANDLE_SZ


def look(
    thread: Any, spot: Spot, pin: Callable[[Spot], Pin], *, flags: int = 0, mask: int = 0
) -> bytes:
    """``struct statx`` of what *spot* names.

    Args:
        thread: A `unotify.kernel.thread.LinuxThread`.
        spot: Where.
        pin: Finds out what a path names, with the rights of the target.
        flags: How fresh it is to be: ``AT_STATX_*`` and AT_NO_AUTOMOUNT.
        mask: What is asked for, besides `STATX`.

    Raises:
        Refused: The kernel would refuse it too; has its errno.
        TargetGone: There is no such thread.
        KernelError: We may not look into it.
    """
    if not spot.path and spot.empty:
        return _of_descriptor(thread, spot.dirfd, flags, mask)
    pinned = pin(spot)
    try:
        return look_at(pinned, flags=flags, mask=mask)
    finally:
        pinned.close()


def look_at(pinned: Pin, *, flags: int = 0, mask: int = 0) -> bytes:
    """``struct statx`` of what is pinned; raises `Refused`, ENOENT, for a mere name."""
    pinned.require_reached()
    if pinned.name:
        raise Refused("there is nothing of that name", errno=errno.ENOENT)
    return _asked(pinned.fd, b"", flags | _AT_EMPTY_PATH, mask)


def look_at_fd(fd: int) -> bytes:
    """``struct statx`` of our own descriptor *fd*."""
    return _asked(fd, b"", _AT_EMPTY_PATH, 0)


def _of_descriptor(thread: Any, fd: int, flags: int, mask: int) -> bytes:
    if fd == AT_FDCWD:
        name = b"cwd"
    elif fd < 0:
        raise Refused(f"the target has no descriptor {fd}", errno=errno.EBADF)
    else:
        name = b"fd/%d" % fd
    try:
        return _asked(thread.home.directory, name, flags, mask)
    except Refused as refused:
        if refused.errno == errno.ENOENT and fd != AT_FDCWD:
            # Of a thread that has ended this is said too; who asks finds out afterwards.
            raise Refused(f"the target has no descriptor {fd}", errno=errno.EBADF) from None
        if refused.errno in (errno.ENOENT, errno.ESRCH):
            raise TargetGone(f"thread {thread.tid} has ended") from None
        if refused.errno == errno.EACCES:
            raise KernelError(
                errno.EACCES, "statx(2)", hint="it takes ptrace rights over the target"
            ) from None
        raise


def _asked(dirfd: int, path: bytes, flags: int, mask: int) -> bytes:
    buffer = ctypes.create_string_buffer(_SIZE)
    done = syscall(number("statx"), dirfd, path, flags, mask | STATX, buffer)
    if done < 0:
        raise Refused(os.strerror(-done), errno=-done)
    return buffer.raw


def named(pinned: Pin) -> Pin | None:
    """What the name that is pinned stands for now, links not followed; ``None``: nothing."""
    name = pinned.name.rstrip(b"/")
    if not name:
        return None
    try:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=pinned.fd)
    except OSError:
        return None
    return Pin(fd, b"", -1)


def is_stacked(pinned: Pin) -> bool:
    """Whether it lies on an overlay: there another inode may come to stand for it."""
    buffer = ctypes.create_string_buffer(_SIZE)
    if syscall(number("fstatfs"), pinned.fd, buffer) < 0:
        return False
    (kind,) = struct.unpack_from("=I" if NATIVE is Arch.S390X else "@l", buffer.raw)
    return bool(kind == _OVERLAY)


def file_handle(pinned: Pin) -> bytes:
    """A name of the inode that no later one has (AT_HANDLE_FID, Linux 6.5); empty without one."""
    buffer = ctypes.create_string_buffer(8 + _HANDLE)
    ctypes.c_uint.from_buffer(buffer).value = _HANDLE
    mount = ctypes.c_int()
    flags = _AT_EMPTY_PATH | _AT_HANDLE_FID
    call = number("name_to_handle_at")
    if syscall(call, pinned.fd, b"", buffer, ctypes.byref(mount), flags) < 0:
        return b""
    size = ctypes.c_uint.from_buffer(buffer).value
    return buffer.raw[4 : 8 + min(size, _HANDLE)]
