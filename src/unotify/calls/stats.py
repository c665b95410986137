"""What statx(2) tells, as numbers, and as the structs that older calls answer with.

Our kernel's ``struct statx`` is the same on all architectures, so whoever answers a call of the
stat family for a target asks for that, changes what is to be changed, and writes the struct that
the target's ABI expects.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import Final, NamedTuple

from unotify.abi.arch import Arch
from unotify.calls.layouts import answer_of
from unotify.errors import NotExpressible

__all__ = ["Stat"]

# mask blksize attributes nlink uid gid mode - ino size blocks attributes_mask; times of access,
# birth, change and modification; rdev and dev as major and minor
_STATX: Final = struct.Struct("=IIQIIIHxxQQQQ" + "qIxxxx" * 4 + "IIII")
_SIZE: Final = 256

_X86_64: Final = struct.Struct("<QQQIII4xQqqqQQQQQQ24x")
_GENERIC: Final = struct.Struct("<QQIIIIQ8xqi4xqqQqQqQ8x")
_POWER: Final = "QQQIII4xQqqqqQqQqQ24x"
_S390X: Final = struct.Struct(">QQQIII4xQqqQqQqQqq24x")


class Stat(NamedTuple):
    """What is known of one inode.

    Attributes:
        mask: Which of these the kernel filled (STATX_*).
        mode: Type and permissions.
        uid: Owner.
        gid: Group.
        ino: Its number on its device.
        dev: The device, as makedev(3) makes it of major and minor.
        rdev: The device that it is, if it is one.
        nlink: How many names it has.
        size: In bytes.
        blocks: How many 512 bytes it takes.
        blksize: What is good to read at once.
        attributes: STATX_ATTR_*.
        attributes_mask: Which of these the file system knows.
        times: Seconds and nanoseconds of its last access, its birth (zeros where `mask` lacks
            STATX_BTIME), its last change, and that of its content.
        tail: The rest of the struct.
    """

    mask: int
    mode: int
    uid: int
    gid: int
    ino: int
    dev: int
    rdev: int
    nlink: int
    size: int
    blocks: int
    blksize: int
    attributes: int
    attributes_mask: int
    times: tuple[int, ...]
    tail: bytes = b""

    @classmethod
    def of_statx(cls, raw: bytes) -> Stat:
        """Take a ``struct statx`` of the supervisor's own kernel apart."""
        found = _STATX.unpack_from(raw)
        mask, blksize, attributes, nlink, uid, gid, mode, ino, size, blocks, known = found[:11]
        rmajor, rminor, major, minor = found[19:]
        return cls(
            *(mask, mode, uid, gid, ino, os.makedev(major, minor), os.makedev(rmajor, rminor)),
            *(nlink, size, blocks, blksize, attributes, known),
            found[11:19],
            raw[_STATX.size :],
        )

    @property
    def born(self) -> int:
        """When it was made, in nanoseconds since 1970; 0 where that is not known."""
        return self.times[2] * 1_000_000_000 + self.times[3]

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return stat.S_ISDIR(self.mode)

    def encode(self, name: str, arch: Arch) -> bytes:
        """``struct`` *name*, ``statx``, ``stat`` or ``stat64``, as *arch* lays it out.

        Raises:
            Refused: EOVERFLOW: a number does not fit into a 32-bit struct.
            NotExpressible: The layout of that struct there is not known.
        """
        if name == "statx":
            return self._statx()
        if name == "stat" and arch is not Arch.I386:
            return self._native(arch)
        # On i386 it is made of what x86-64 has; no other 32-bit layout is known.
        return answer_of(name, arch).of(self._native(Arch.X86_64))

    def _statx(self) -> bytes:
        head = _STATX.pack(
            *(self.mask, self.blksize, self.attributes, self.nlink, self.uid, self.gid),
            *(self.mode, self.ino, self.size, self.blocks, self.attributes_mask, *self.times),
            *(os.major(self.rdev), os.minor(self.rdev), os.major(self.dev), os.minor(self.dev)),
        )
        return (head + self.tail).ljust(_SIZE, b"\0")

    def _native(self, arch: Arch) -> bytes:
        times = self.times[0:2] + self.times[6:8] + self.times[4:6]
        first = self.dev, self.ino
        ids = self.uid, self.gid
        end = self.size, self.blksize, self.blocks
        if arch in (Arch.X86_64, Arch.X32):
            if min(times) < 0:  # before 1970; the struct has them without a sign
                times = tuple(part & (1 << 64) - 1 for part in times)
            return _X86_64.pack(*first, self.nlink, self.mode, *ids, self.rdev, *end, *times)
        if arch in (Arch.AARCH64, Arch.RISCV64, Arch.LOONGARCH64):
            return _GENERIC.pack(*first, self.mode, self.nlink, *ids, self.rdev, *end, *times)
        if arch in (Arch.PPC64, Arch.PPC64LE):
            layout = struct.Struct(("<" if arch.little else ">") + _POWER)
            return layout.pack(*first, self.nlink, self.mode, *ids, self.rdev, *end, *times)
        if arch is Arch.S390X:
            after = self.size, *times, self.blksize, self.blocks
            return _S390X.pack(*first, self.nlink, self.mode, *ids, self.rdev, *after)
        raise NotExpressible(
            f"struct stat of {arch.label} is not known here", hint="let the call go on"
        )
