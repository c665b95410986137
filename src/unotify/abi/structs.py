"""The five structs and the five ioctls of a listener.

The structs have the same layout on every architecture, in native byte order
(B5). The ioctl numbers do not: MIPS, PowerPC, SPARC and Alpha put the
direction bits elsewhere.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

__all__ = [
    "ADDFD",
    "ADDFD_SIZE_VER0",
    "COMMON_IOCTLS",
    "DATA",
    "NOTIF",
    "NOTIF_SIZES",
    "PPC_MIPS_IOCTLS",
    "RESPONSE",
    "Ioctls",
    "NotifSizes",
]

DATA: Final = Struct("=iIQ6Q")
"""``struct seccomp_data``, 64 bytes: nr (signed), arch, instruction_pointer, args[6]."""

NOTIF: Final = Struct("=QIIiIQ6Q")
"""``struct seccomp_notif``, 80 bytes: id, pid, flags, then `DATA`."""

RESPONSE: Final = Struct("=QqiI")
"""``struct seccomp_notif_resp``, 24 bytes: id, val, error (negative errno), flags."""

ADDFD: Final = Struct("=QIIII")
"""``struct seccomp_notif_addfd``, 24 bytes: id, flags, srcfd, newfd, newfd_flags."""

ADDFD_SIZE_VER0: Final = ADDFD.size

_SIZES: Final = Struct("=HHH")


class NotifSizes(NamedTuple):
    """``struct seccomp_notif_sizes``: how large the kernel's structs are, in bytes."""

    notif: int
    response: int
    data: int

    @classmethod
    def unpack(cls, raw: bytes) -> NotifSizes:
        """Read the 6 bytes that GET_NOTIF_SIZES filled in."""
        return cls(*_SIZES.unpack(raw))


NOTIF_SIZES: Final = NotifSizes(NOTIF.size, RESPONSE.size, DATA.size)
"""What this package understands. Larger kernels are fine, smaller ones are not."""


class Ioctls(NamedTuple):
    """A listener's ioctl numbers on one family of architectures."""

    recv: int
    """Since 5.0. ``struct seccomp_notif *``, all zero on entry (N5)."""
    send: int
    """Since 5.0. ``struct seccomp_notif_resp *``."""
    id_valid: int
    """Since 5.8 with this number. ``u64 *``."""
    id_valid_old: int
    """Since 5.0, wrong direction bits, still accepted: the fallback on EINVAL."""
    addfd: int
    """Since 5.9. ``struct seccomp_notif_addfd *``."""
    set_flags: int
    """Since 6.6. The flags *by value*, not a pointer (W1)."""


COMMON_IOCTLS: Final = Ioctls(
    0xC0502100, 0xC0182101, 0x40082102, 0x80082102, 0x40182103, 0x40082104
)
PPC_MIPS_IOCTLS: Final = Ioctls(
    0xC0502100, 0xC0182101, 0x80082102, 0x40082102, 0x80182103, 0x80082104
)
