"""Sizes and buffers: how much room the running kernel's structs want.

The kernel may know larger structs than we do (GET_NOTIF_SIZES tells). Buffers
are then as large as the kernel's; what we do not know stays zero on the way in
and is ignored on the way out. Smaller ones than ours cannot be served.
"""

from __future__ import annotations

import struct

from unotify.abi.seccomp import AddFdFlag
from unotify.abi.structs import ADDFD, NOTIF_SIZES, RESPONSE, NotifSizes
from unotify.abi.types import NotificationId
from unotify.errors import KernelProtocolError, LocalProtocolError

__all__ = ["check_sizes", "encode_addfd", "pad_response"]

_O_CLOEXEC = 0o2000000
"""O_CLOEXEC of the generic ABI; the only flag that ADDFD takes (A4)."""


def check_sizes(sizes: NotifSizes) -> NotifSizes:
    """Return *sizes* if this package can work with them.

    Raises:
        KernelProtocolError: One of the kernel's structs is smaller than ours.
    """
    for name, ours, theirs in zip(NotifSizes._fields, NOTIF_SIZES, sizes, strict=True):
        if theirs < ours:
            raise KernelProtocolError(
                f"the kernel's seccomp struct {name!r} has {theirs} bytes, {ours} are needed",
                hint="this kernel is older than seccomp user notification (Linux 5.0)",
            )
    return sizes


def pad_response(response: bytes | bytearray, sizes: NotifSizes) -> bytes | bytearray:
    """Fill *response* up with zeros to the kernel's ``seccomp_notif_resp``."""
    return response.ljust(max(sizes.response, RESPONSE.size), b"\0")


def encode_addfd(
    id: NotificationId, fd: int, *, at: int | None, cloexec: bool, o_cloexec: int = _O_CLOEXEC
) -> bytes:
    """Build a ``struct seccomp_notif_addfd``.

    Args:
        id: The notification.
        fd: Our descriptor.
        at: The number in the target (SETFD), or ``None`` for the lowest free.
        cloexec: Whether the target's exec closes it.
        o_cloexec: O_CLOEXEC of the architecture we run on.

    Raises:
        LocalProtocolError: A number that does not fit its field.
    """
    try:
        return ADDFD.pack(
            id,
            0 if at is None else AddFdFlag.SETFD,
            fd,
            0 if at is None else at,
            o_cloexec if cloexec else 0,
        )
    except struct.error as error:
        raise LocalProtocolError(f"ADDFD of fd={fd} at={at}: {error}") from None
