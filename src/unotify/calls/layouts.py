"""Structs that a call writes: our kernel's bytes, turned into what the target's ABI expects.

On the ABI that the supervisor itself has, nothing is turned. A 32-bit target of a 64-bit
kernel gets the fields that it has room for, and EOVERFLOW where the kernel would say so.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from unotify.abi.arch import Arch
from unotify.errors import NotExpressible, Refused

__all__ = ["Answer", "answer_of"]


@dataclass(frozen=True, slots=True)
class Answer:
    """How bytes that our kernel wrote become bytes in the target.

    Attributes:
        size: How many our kernel writes.
        turn: What becomes of them; ``None``: they stay as they are.
    """

    size: int = 0
    turn: Callable[[bytes], bytes] | None = None

    def of(self, data: bytes) -> bytes:
        """The target's bytes; raises `Refused` where a number does not fit."""
        return data if self.turn is None else self.turn(data)


_STAT_SIZES: Final = {
    Arch.X86_64: 144,
    Arch.X32: 144,
    Arch.AARCH64: 128,
    Arch.RISCV64: 128,
    Arch.LOONGARCH64: 128,
    Arch.S390X: 144,
    Arch.PPC64: 144,
    Arch.PPC64LE: 144,
}
_STATFS_SIZES: Final = {Arch.S390X: 88}


def answer_of(name: str, arch: Arch) -> Answer:
    """How ``struct`` *name* is answered on *arch*.

    Raises:
        NotExpressible: Its layout there is not known.
    """
    if name == "statx":
        return Answer(256)
    if arch in _STAT_SIZES and name == "stat":
        return Answer(_STAT_SIZES[arch])
    if arch in _STAT_SIZES and name == "statfs":
        return Answer(_STATFS_SIZES.get(arch, 120))
    if arch is Arch.I386 and name in _I386:
        return _I386[name]
    raise NotExpressible(
        f"struct {name} of {arch.label} is not known here, so the call cannot be performed",
        hint="let it go on, or answer it in a handler",
    )


# Our own, on x86-64: dev, ino, nlink, mode, uid, gid, rdev, size, blksize, blocks, times.
_STAT: Final = struct.Struct("<QQQIII4xQqqqQQQQQQ24x")
_STATFS: Final = struct.Struct("<qqQQQQQ8sqqq32x")


def _word(value: int, bits: int = 32) -> int:
    if value >> bits:
        raise Refused(f"{value} does not fit into the 32-bit struct", errno=errno.EOVERFLOW)
    return value


def _id16(value: int) -> int:
    return value if value < 0x10000 else 65534


def _stat64(data: bytes) -> bytes:
    dev, ino, nlink, mode, uid, gid, rdev, size, blksize, blocks, *times = _STAT.unpack(data[:144])
    low = [part & 0xFFFFFFFF for part in times]
    return struct.pack(
        "<Q4xIIIIIQ4xqIQ6IQ",
        *(dev, ino & 0xFFFFFFFF, mode, nlink, uid, gid, rdev, size, blksize, blocks, *low, ino),
    )


def _stat32(data: bytes) -> bytes:
    dev, ino, nlink, mode, uid, gid, rdev, size, blksize, blocks, *times = _STAT.unpack(data[:144])
    low = [part & 0xFFFFFFFF for part in times]
    return struct.pack(
        "<IIHHHHIIII6I8x",
        *(_word(dev), _word(ino), mode, _word(nlink, 16), _id16(uid), _id16(gid), _word(rdev)),
        *(_word(size, 31), blksize, blocks & 0xFFFFFFFF, *low),
    )


def _statfs32(data: bytes) -> bytes:
    kind, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen, frsize, flags = _STATFS.unpack(
        data[:120]
    )
    counts = [_word(number) for number in (blocks, bfree, bavail)]
    inodes = [0xFFFFFFFF if n == (1 << 64) - 1 else _word(n) for n in (files, ffree)]
    return struct.pack(
        "<7I8s3I16x", kind & 0xFFFFFFFF, bsize, *counts, *inodes, fsid, namelen, frsize, flags
    )


def _statfs64(data: bytes) -> bytes:
    kind, bsize, *counts, fsid, namelen, frsize, flags = _STATFS.unpack(data[:120])
    return struct.pack(
        "<2I5Q8s3I16x", kind & 0xFFFFFFFF, bsize, *counts, fsid, namelen, frsize, flags
    )


_I386: Final = {
    "stat64": Answer(144, _stat64),
    "stat": Answer(144, _stat32),
    "statfs": Answer(120, _statfs32),
    "statfs64": Answer(120, _statfs64),
}
