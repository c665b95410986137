"""System calls of the running kernel, and what they return in the words of scenarios."""

from __future__ import annotations

import ctypes
import errno
from typing import Any

__all__ = ["ioctl", "libc", "name_of", "number_of", "said"]

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.process_vm_readv.restype = ctypes.c_long


def name_of(number: int) -> str:
    """An errno's name."""
    return errno.errorcode[number]


def ioctl(fd: int, request: int, argument: Any) -> int | str:
    """An ioctl; a number, or an errno's name. Retried after EINTR."""
    while True:
        result = libc.ioctl(fd, ctypes.c_ulong(request), argument)
        if result >= 0:
            return int(result)
        name = errno.errorcode[ctypes.get_errno()]
        if name != "EINTR":
            return name


def said(result: int | str) -> str:
    """Nothing for a success, or an errno."""
    return result if isinstance(result, str) else ""


def number_of(answer: dict[str, Any]) -> int | str:
    """A number, or the name of an errno."""
    return answer["ret"] if not answer["errno"] else errno.errorcode[answer["errno"]]
