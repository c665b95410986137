"""Structs that arguments point to, in the layout of the calling ABI.

Only structs that a *decision* may rest on, and whose layout is the kernel's
stable interface. Extensible ones (those with a size argument: openat2, clone3,
mount_setattr ...) are zero-filled when the caller knows fewer fields, and keep
what we do not know in ``extra``, as the kernel does.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from unotify.abi.arch import Arch

__all__ = [
    "LAYOUTS",
    "CapHeader",
    "CloneArgs",
    "EpollEvent",
    "FutexWaitv",
    "IoVec",
    "Layout",
    "MntIdReq",
    "MountAttr",
    "MsgHdr",
    "OpenHow",
    "PollFd",
    "RLimit",
    "SchedAttr",
    "TimeSpec",
    "TimeVal",
    "UTimBuf",
    "XattrArgs",
]


class OpenHow(NamedTuple):
    """``struct open_how`` of openat2(2), since 5.6."""

    flags: int
    mode: int
    resolve: int
    extra: bytes = b""


class CloneArgs(NamedTuple):
    """``struct clone_args`` of clone3(2), since 5.3."""

    flags: int
    pidfd: int
    child_tid: int
    parent_tid: int
    exit_signal: int
    stack: int
    stack_size: int
    tls: int
    set_tid: int
    set_tid_size: int
    cgroup: int
    extra: bytes = b""


class MountAttr(NamedTuple):
    """``struct mount_attr`` of mount_setattr(2), since 5.12."""

    attr_set: int
    attr_clr: int
    propagation: int
    userns_fd: int
    extra: bytes = b""


class SchedAttr(NamedTuple):
    """``struct sched_attr`` of sched_setattr(2), since 3.14."""

    size: int
    policy: int
    flags: int
    nice: int
    priority: int
    runtime: int
    deadline: int
    period: int
    util_min: int
    util_max: int
    extra: bytes = b""


class XattrArgs(NamedTuple):
    """``struct xattr_args`` of setxattrat(2), since 6.13."""

    value: int
    size: int
    flags: int
    extra: bytes = b""


class MntIdReq(NamedTuple):
    """``struct mnt_id_req`` of statmount(2), since 6.8."""

    size: int
    spare: int
    mnt_id: int
    param: int
    mnt_ns_id: int
    extra: bytes = b""


class TimeSpec(NamedTuple):
    """``struct timespec``: seconds and nanoseconds."""

    sec: int
    nsec: int


class TimeVal(NamedTuple):
    """``struct timeval``: seconds and microseconds."""

    sec: int
    usec: int


class UTimBuf(NamedTuple):
    """``struct utimbuf`` of utime(2), in seconds."""

    actime: int
    modtime: int


class RLimit(NamedTuple):
    """``struct rlimit`` and ``rlimit64``."""

    current: int
    maximum: int


class IoVec(NamedTuple):
    """``struct iovec``: an address and a length in bytes."""

    base: int
    length: int


class MsgHdr(NamedTuple):
    """``struct msghdr`` (``user_msghdr``, ``compat_msghdr``): addresses and lengths."""

    name: int
    namelen: int
    iov: int
    iovlen: int
    control: int
    controllen: int
    flags: int


class EpollEvent(NamedTuple):
    """``struct epoll_event``; packed on x86."""

    events: int
    data: int


class PollFd(NamedTuple):
    """``struct pollfd``."""

    fd: int
    events: int
    revents: int


class CapHeader(NamedTuple):
    """``struct __user_cap_header_struct`` of capset(2)."""

    version: int
    pid: int


class FutexWaitv(NamedTuple):
    """``struct futex_waitv``, since 5.16."""

    val: int
    uaddr: int
    flags: int
    reserved: int


class Layout(NamedTuple):
    """How a struct lies in memory.

    Attributes:
        make: The tuple class.
        fields: C types, in order; ``-`` in front of one marks padding.
        extensible: Whether a size argument says how much of it the caller knows.
        packed_on_x86: Whether x86-64 packs it.
        first_version: The least size of a struct whose first field, a u32, is its
            size; 0 for others.
    """

    make: type[Any]
    fields: str
    extensible: bool = False
    packed_on_x86: bool = False
    first_version: int = 0

    def format(self, arch: Arch) -> struct.Struct:
        """The :mod:`struct` format of it on *arch*."""
        return _format(self.fields, arch, self.packed_on_x86 and arch in _X86)

    def decode(self, raw: bytes, arch: Arch) -> Any:
        """Make the tuple from *raw*, zero-filled if it is extensible and short."""
        layout = self.format(arch)
        values = layout.unpack_from(raw.ljust(layout.size, b"\0") if self.extensible else raw)
        return self.make(*values, raw[layout.size :]) if self.extensible else self.make(*values)


_X86: Final = (Arch.X86_64, Arch.X32, Arch.I386)

_SCHED_ATTR: Final = "u32 u32 u64 s32 u32 u64 u64 u64 u32 u32"

LAYOUTS: Final[Mapping[str, Layout]] = MappingProxyType(
    {
        "open_how": Layout(OpenHow, "a64 a64 a64", True),
        "clone_args": Layout(CloneArgs, "a64 " * 11, True),
        "mount_attr": Layout(MountAttr, "a64 a64 a64 a64", True),
        "sched_attr": Layout(SchedAttr, _SCHED_ATTR, True, first_version=48),
        "xattr_args": Layout(XattrArgs, "a64 u32 u32", True),
        "mnt_id_req": Layout(MntIdReq, "u32 u32 u64 u64 u64", True, first_version=24),
        "__kernel_timespec": Layout(TimeSpec, "s64 s64"),
        "timespec": Layout(TimeSpec, "long long"),
        "__kernel_old_timespec": Layout(TimeSpec, "long long"),
        "old_timespec32": Layout(TimeSpec, "s32 s32"),
        "timeval": Layout(TimeVal, "long long"),
        "__kernel_old_timeval": Layout(TimeVal, "long long"),
        "old_timeval32": Layout(TimeVal, "s32 s32"),
        "utimbuf": Layout(UTimBuf, "long long"),
        "old_utimbuf32": Layout(UTimBuf, "s32 s32"),
        "rlimit": Layout(RLimit, "ulong ulong"),
        "rlimit64": Layout(RLimit, "u64 u64"),
        "iovec": Layout(IoVec, "ptr size"),
        "msghdr": Layout(MsgHdr, "ptr s32 ptr size ptr size u32"),
        "user_msghdr": Layout(MsgHdr, "ptr s32 ptr size ptr size u32"),
        "compat_msghdr": Layout(MsgHdr, "ptr s32 ptr size ptr size u32"),
        "epoll_event": Layout(EpollEvent, "u32 u64", packed_on_x86=True),
        "pollfd": Layout(PollFd, "s32 s16 s16"),
        "__user_cap_header_struct": Layout(CapHeader, "u32 s32"),
        "futex_waitv": Layout(FutexWaitv, "u64 u64 u32 u32"),
    }
)

_CODES: Final = {"s16": "h", "u16": "H", "s32": "i", "u32": "I", "s64": "q", "u64": "Q", "a64": "Q"}


@cache
def _format(fields: str, arch: Arch, packed: bool) -> struct.Struct:
    wide = arch.pointer == 8
    # x32's long is 32 bits in structs, but its timespec and rlimit are the 64-bit kernel's.
    long_code = "q" if wide or arch is Arch.X32 else "i"
    codes = _CODES | {
        "long": long_code,
        "ulong": long_code.upper(),
        "ptr": "Q" if wide else "I",
        "size": "Q" if wide else "I",
    }
    out, offset, widest = "", 0, 1
    for field in fields.split():
        code = codes[field]
        size = struct.calcsize("=" + code)
        # i386 aligns 8 bytes to 4, m68k everything to 2; __aligned_u64 is 8 everywhere.
        most = 8 if field == "a64" else {Arch.I386: 4, Arch.M68K: 2}.get(arch, 8)
        align = 1 if packed else min(size, most)
        pad = -offset % align
        out += "x" * pad + code
        offset += pad + size
        widest = max(widest, align)
    out += "x" * (-offset % widest)
    return struct.Struct(("<" if arch.little else ">") + out)
