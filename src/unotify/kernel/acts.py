"""The system calls that an act is made of: in this thread, with the rights it has right now.

Theory of operation. Each path was pinned (`unotify.kernel.pinning`), so a call gets a descriptor
and either an empty path or one last name, and means the very thing that was decided about,
whatever is renamed meanwhile. Which arguments it takes, and in which order, the call model says.
Calls that take a path and no descriptor get ours in ``/proc/thread-self/fd``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Final, NamedTuple

from unotify.abi import model, tables
from unotify.abi.model import Role
from unotify.calls.acts import Act
from unotify.calls.lookups import AT_FDCWD, Spot
from unotify.kernel._libc import NATIVE, syscall
from unotify.kernel.blocking import Waiting
from unotify.kernel.ourselves import depends_on_opener, forbids, is_proc
from unotify.kernel.pinning import Pin, pin, reach
from unotify.kernel.places import Place, below, path_of
from unotify.kernel.walking import NO_SYMLINKS, innermost_ids, openat2

__all__ = ["BIND_MOUNT", "Outcome", "execute", "number", "of_effective"]

BIND_MOUNT: Final = "bind-mount"
"""An act of several calls, for a process that ends afterwards; see `unotify.kernel.abroad`."""

_AT_EMPTY_PATH: Final = 0x1000
_CLONE_NEWNS: Final = 0x20000
_COPY: Final = 0x1 | os.O_CLOEXEC | _AT_EMPTY_PATH  # OPEN_TREE_CLONE
_BOTH_ARE_DESCRIPTORS: Final = 0x4 | 0x40  # MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH
_AT_SYMLINK_FOLLOW: Final = 0x400
_AT_EACCESS: Final = 0x200
_TTY: Final = os.makedev(5, 0)


class Outcome(NamedTuple):
    """What came of an act.

    Attributes:
        value: The result, or a negative errno.
        fd: A new descriptor, which is the caller's; -1 for none.
        outs: What was written, by argument.
    """

    value: int
    fd: int = -1
    outs: Mapping[str, bytes] = {}


@cache
def number(call: str) -> int:
    """The number of *call* on this machine; -1 if it has none, which is ENOSYS."""
    return tables.numbers(NATIVE).get(call, -1)


def of_effective(act: Act) -> Act:
    """access(2) asked as of effective ids: whoever acts has the real ones as those."""
    flags = int(act.values["flags"] or 0) | _AT_EACCESS
    return replace(act, real_ids=False, values={**act.values, "flags": flags})


def execute(
    act: Act, place: Place, pins: Mapping[str, Pin], fds: Mapping[str, int], wait: Waiting
) -> Outcome:
    """Do it.

    Args:
        act: What.
        place: Where its paths begin.
        pins: What some of its paths were found to name already.
        fds: Our copies of the target's descriptors, by argument.
        wait: For what may take long.

    Raises:
        TargetError: A path leads nowhere; has the errno.
    """
    found = dict(pins)
    try:
        if act.name == "pin":
            held = pin(place, act.spots["path"])
            return Outcome(0, held.fd, {"name": held.name})
        if act.name == BIND_MOUNT:
            return Outcome(_bind_mount(pins))
        if act.name == "openat":
            return _open(act, place, found, wait)
        for argument, spot in act.spots.items():
            if argument not in found:
                found[argument] = pin(place, spot)
            if found[argument].name and not spot.parent:
                # Whoever makes it now may make it a link, and that led from our own root.
                return Outcome(-errno.ENOENT)
        if act.name == "readlinkat" and forbids(found["path"].fd, place.tid):
            return Outcome(-errno.EACCES)
        refused = _beyond(act, place, found, fds)
        if refused:
            return Outcome(-refused)
        return _plain(act, place, found, fds)
    finally:
        for argument, pinned in found.items():
            if argument not in pins:
                pinned.close()


def _bind_mount(pins: Mapping[str, Pin]) -> int:
    """Bind *source* to *place* in the mount namespace *namespace*, for good in this process."""
    steps = (
        ("setns", pins["namespace"].fd, _CLONE_NEWNS),
        ("open_tree", pins["source"].fd, b"", _COPY),
        ("move_mount", -1, b"", pins["place"].fd, b"", _BOTH_ARE_DESCRIPTORS),
    )
    done = 0
    for name, first, *rest in steps:
        done = syscall(number(name), done if first < 0 else first, *rest)
        if done < 0:
            break
    return done


def _beyond(act: Act, place: Place, pins: Mapping[str, Pin], fds: Mapping[str, int]) -> int:
    """The errno for what we could do, since the limits of the target are not ours; or 0."""
    if act.name == "mknodat":
        mode, device = int(act.values["mode"] or 0), int(act.values["dev"] or 0)
        if (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and not act.lent:
            return 0 if _is_harmless(mode, device) or place.is_alike() else errno.EPERM
    if act.name in ("truncate", "ftruncate", "fallocate"):
        size = int(act.values["length" if act.name != "fallocate" else "size"] or 0)
        size += int(act.values.get("offset") or 0)
        limit = place.file_limit()
        if 0 <= limit < size > os.fstat(fds["fd"] if fds else pins["path"].fd).st_size:
            return errno.EFBIG
    return 0


def _plain(act: Act, place: Place, pins: Mapping[str, Pin], fds: Mapping[str, int]) -> Outcome:
    buffers = {
        name: ctypes.create_string_buffer(max(out.size, 1)) for name, out in act.outs.items()
    }
    words: dict[str, Any] = dict(act.values)
    words |= fds
    spec = model.spec(act.name)
    for arg in spec.args:
        if arg.role is Role.PATH:
            dirfd, path, empty = _named(act, arg.name, pins[arg.name], at=arg.at is not None)
            words[arg.name] = path
            if arg.at is not None:
                words[arg.at] = dirfd
            if "flags" in words:
                words["flags"] = (words["flags"] or 0) | empty
        elif arg.name in buffers:
            buffer = buffers[arg.name]
            words[arg.name] = buffer if act.outs[arg.name].size else None
            if arg.length:
                words[arg.length] = act.outs[arg.name].size
    value = syscall(number(act.name), *(words[arg.name] for arg in spec.args))
    if act.name == "fchmodat2" and value == -errno.ENOSYS:  # before Linux 6.6
        path = b"/proc/thread-self/fd/%d" % pins["path"].fd
        value = syscall(number("fchmodat"), AT_FDCWD, path, words["mode"])
    if act.name == "readlinkat":
        value = _link_read(act, place, pins["path"], buffers["buf"], value)
    outs = {
        name: _written(spec, name, act.outs[name].size, buffer, value)
        for name, buffer in buffers.items()
    }
    return Outcome(value, outs=outs)


def _named(act: Act, argument: str, pinned: Pin, *, at: bool) -> tuple[int, bytes, int]:
    """A descriptor, a path below it, and the flag that goes with them."""
    if pinned.name:
        if at:
            return pinned.fd, pinned.name, 0
        return AT_FDCWD, b"/proc/thread-self/fd/%d/%s" % (pinned.fd, pinned.name), 0
    if not at:
        return AT_FDCWD, b"/proc/thread-self/fd/%d" % pinned.fd, 0
    if act.name == "linkat":
        # AT_EMPTY_PATH wants a capability, or who opened the descriptor; following a link does not.
        return AT_FDCWD, b"/proc/thread-self/fd/%d" % pinned.fd, _AT_SYMLINK_FOLLOW
    return pinned.fd, b"", _AT_EMPTY_PATH if act.name != "readlinkat" else 0


def _written(spec: model.CallSpec, name: str, size: int, buffer: Any, value: int) -> bytes:
    if value < 0:
        return b""
    if spec.arg(name).role is Role.OUT_BUFFER:
        return bytes(buffer.raw[: min(value, size)])  # of no room, only the length is told
    return bytes(buffer.raw[:size])


def _link_read(act: Act, place: Place, pinned: Pin, buffer: Any, value: int) -> int:
    if (value > 0 or value == -errno.ENOENT) and not pinned.name and is_proc(pinned.fd):
        theirs = _told(place, pinned.fd)
        if theirs is not None:
            length = min(len(theirs), act.outs["buf"].size)
            buffer[:length] = theirs[:length]
            return length
    if value == -errno.ENOENT and act.spots["path"].path and not pinned.name:
        # Of what is no link, a descriptor says it otherwise than a path.
        return value if stat.S_ISLNK(os.fstat(pinned.fd).st_mode) else -errno.EINVAL
    return value


def _told(place: Place, link: int) -> bytes | None:
    """What a link of procfs says to the target, if that is not what it says to us."""
    name = path_of(link).rpartition(b"/")[2]
    try:
        text = os.readlink(b"", dir_fd=link)
    except FileNotFoundError:
        # `self` of a pid namespace that we are not in.
        tgid, tid = innermost_ids(place.tid, place.tgid)
    except OSError:
        return None
    else:
        if text.startswith(b"/"):
            # Of a file: the path from the root of whoever asks.
            return below(path_of(place.root), text)
        ours = b"%d" % os.getpid()
        if text != ours and not text.startswith(ours + b"/task/"):
            return None
        tgid, tid = place.tgid, int(place.tid)
    return {b"self": b"%d" % tgid, b"thread-self": b"%d/task/%d" % (tgid, tid)}.get(name)


# -- open ---------------------------------------------------------------------------


def _open(act: Act, place: Place, pins: dict[str, Pin], wait: Waiting) -> Outcome:
    spot = act.spots["path"]
    flags, mode = int(act.values["flags"] or 0), int(act.values["mode"] or 0)
    if flags & os.O_PATH:
        # A5: such a descriptor cannot be given to anybody.
        return Outcome(-errno.EOPNOTSUPP)
    flags |= os.O_CLOEXEC | os.O_NOCTTY
    pinned = pins.get("path")
    fd: int | None = None
    if pinned is None:
        fd = _reached(place, spot, flags, mode, wait)
    if fd is None:
        wrong = _invalid(act, spot, flags, mode)
        if wrong:
            return Outcome(wrong)
        if pinned is None:
            pinned = pins["path"] = pin(place, spot)
        fd = _open_pinned(pinned, flags, mode, wait)
    if fd == -errno.ENXIO and _is_tty(place, spot, pins):
        fd = _terminal(place, flags, wait)  # we have none; the target may
    if fd < 0:
        return Outcome(fd)
    found = os.fstat(fd)
    refused = _refused(place, fd, found)
    if refused:
        os.close(fd)
        return Outcome(-refused)
    if stat.S_ISCHR(found.st_mode) and found.st_rdev == _TTY:
        os.close(fd)
        fd = _terminal(place, flags, wait)
    return Outcome(fd, fd) if fd >= 0 else Outcome(fd)


def _invalid(act: Act, spot: Spot, flags: int, mode: int) -> int:
    """What the kernel says of the flags alone, as a negative errno; 0: nothing.

    It asks about them before it looks at any path, and of those of openat2(2) not all are left
    in the call that opens what was found.
    """
    if act.call != "openat2" and not flags & (os.O_CREAT | os.O_TMPFILE):
        return 0
    # Good ones lead to a descriptor that is none.
    answer = openat2(-1, b".", flags, mode, spot.resolve)
    return 0 if answer == -errno.EBADF else answer


def _refused(place: Place, fd: int, found: os.stat_result) -> int:
    """The errno that the target gets instead of *fd*; 0: it may have it."""
    device = stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)
    if device and not _is_harmless(found.st_mode, found.st_rdev) and not place.is_alike():
        return errno.EPERM
    # A procfs has no device; nearly all else that is opened has.
    if os.major(found.st_dev) or not is_proc(fd):
        return 0
    if forbids(fd, place.tid) or (depends_on_opener(fd, place.tid) and not place.is_alike()):
        return errno.EACCES
    return 0


def _is_harmless(mode: int, device: int) -> bool:
    """Whether a device is what any container has, whatever its control group says."""
    major, minor = os.major(device), os.minor(device)
    return stat.S_ISCHR(mode) and (
        (major, minor) in _HARMLESS or 136 <= major <= 143  # terminals in /dev/pts
    )


# null, zero, full, random, urandom; tty, console, ptmx; the whiteout of overlays.
_HARMLESS: Final = frozenset(
    [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (0, 0)]
)


def _is_tty(place: Place, spot: Spot, pins: dict[str, Pin]) -> bool:
    if "path" not in pins:
        pins["path"] = pin(place, spot)
    found = os.fstat(pins["path"].fd)
    return not pins["path"].name and stat.S_ISCHR(found.st_mode) and found.st_rdev == _TTY


def _reached(place: Place, spot: Spot, flags: int, mode: int, wait: Waiting) -> int | None:
    missed = False

    def attempt() -> int:
        nonlocal missed
        fd = reach(place, spot, flags, mode)
        missed = fd is None
        return -errno.ENOENT if fd is None else fd

    fd = wait(attempt)
    return None if missed else fd


def _open_pinned(pinned: Pin, flags: int, mode: int, wait: Waiting) -> int:
    if pinned.name:
        # A link that was put there meanwhile is not followed: what was decided about was a name.
        return wait(lambda: openat2(pinned.fd, pinned.name, flags, mode, NO_SYMLINKS))
    found = os.fstat(pinned.fd)
    if flags & os.O_CREAT:
        if flags & os.O_EXCL:
            return -errno.EEXIST
        if stat.S_ISDIR(found.st_mode):
            return -errno.EISDIR
    if stat.S_ISLNK(found.st_mode):
        return -errno.ELOOP
    path = b"/proc/thread-self/fd/%d" % pinned.fd
    flags &= ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
    return wait(lambda: syscall(number("openat"), AT_FDCWD, path, flags, mode))


def _terminal(place: Place, flags: int, wait: Waiting) -> int:
    """``/dev/tty`` is the caller's controlling terminal, not ours."""
    with open(f"/proc/{place.tid}/stat", "rb") as file:
        device = int(file.read().rpartition(b")")[2].split()[4])
    if not device:
        return -errno.ENXIO
    major, minor = device >> 8 & 0xFFF, device & 0xFF | device >> 12 & 0xFFF00
    for name in _terminals(major, minor):
        fd = openat2(place.root, name, os.O_PATH | os.O_CLOEXEC)
        if fd < 0:
            continue
        try:
            if os.fstat(fd).st_rdev == os.makedev(major, minor):
                path = b"/proc/thread-self/fd/%d" % fd
                return wait(lambda path=path: syscall(number("openat"), AT_FDCWD, path, flags, 0))  # type: ignore[misc]
        finally:
            os.close(fd)
    return -errno.ENXIO


def _terminals(major: int, minor: int) -> list[bytes]:
    if 136 <= major <= 143:
        return [b"dev/pts/%d" % ((major - 136) * 256 + minor)]
    if major == 4:
        return [b"dev/tty%d" % minor if minor < 64 else b"dev/ttyS%d" % (minor - 64)]
    return [b"dev/console", b"dev/hvc%d" % minor]
