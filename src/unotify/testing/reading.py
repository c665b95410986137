"""Looks into a simulated target's memory, with the errors that handlers and typed calls know."""

from __future__ import annotations

import errno

from unotify.abi.types import Address
from unotify.errors import BadAddress, PathTooLong
from unotify.testing.facility import memory
from unotify.testing.facility.state import Memory

__all__ = ["Reader", "read", "read_string"]


def read(pages: Memory, address: Address, length: int) -> bytes:
    """Read exactly *length* bytes, as process_vm_readv(2) does (M1).

    Raises:
        BadAddress: They are not all readable.
    """
    data = memory.vm_read(pages, address, length)
    if len(data) < length:
        raise BadAddress(f"{length} bytes at {address:#x}")
    return data


def read_string(pages: Memory, address: Address, limit: int) -> bytes:
    """Read up to a NUL, at most *limit* bytes with it (M5).

    Raises:
        PathTooLong: There is no NUL within *limit*.
        BadAddress: A byte before it is not readable.
    """
    text = memory.read_text(pages, address, limit)
    if text == -errno.ENAMETOOLONG:
        raise PathTooLong(f"no end within {limit} bytes at {address:#x}")
    if isinstance(text, int):
        raise BadAddress(f"text at {address:#x}")
    return text


class Reader:
    """The memory of a task, as typed calls read it."""

    def __init__(self, pages: Memory) -> None:
        self._pages = pages

    def read(self, address: Address, length: int) -> bytes:
        """See `read`."""
        return read(self._pages, address, length)

    def read_string(self, address: Address, limit: int) -> bytes:
        """See `read_string`."""
        return read_string(self._pages, address, limit)
