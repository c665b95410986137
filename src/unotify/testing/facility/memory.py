"""Memory: mappings with protections, and the two ways of reading somebody else's."""

from __future__ import annotations

import errno
from typing import Final

from unotify.testing.facility.rules import effect
from unotify.testing.facility.state import Memory

__all__ = [
    "READ",
    "WRITE",
    "deliver",
    "force",
    "mapped",
    "poke",
    "protect",
    "put",
    "read_text",
    "vm_read",
    "vm_write",
]

READ, WRITE = 1, 2
_PAGE: Final = 4096


def put(memory: Memory, data: bytes, *, protection: int = READ | WRITE) -> int:
    """Map pages that begin with *data*; returns the address. Nothing is mapped behind them."""
    address = memory.next
    length = -(-max(1, len(data)) // _PAGE) * _PAGE
    memory.parts += ((address, protection, data.ljust(length, b"\0")),)
    memory.next = address + length + _PAGE
    return address


def protect(memory: Memory, address: int, protection: int) -> None:
    """mprotect(2) of a whole mapping."""
    memory.parts = tuple(
        (start, protection if start <= address < start + len(data) else old, data)
        for start, old, data in memory.parts
    )


def mapped(memory: Memory, address: int) -> tuple[int, int, bytes] | None:
    """The mapping that has *address*."""
    for part in memory.parts:
        if part[0] <= address < part[0] + len(part[2]):
            return part
    return None


@effect("M1", otherwise=b"")
def vm_read(memory: Memory, address: int, length: int) -> bytes:
    """process_vm_readv(2): up to the first page that cannot be read; it honours PROT_NONE."""
    found = b""
    while len(found) < length:
        part = mapped(memory, address + len(found))
        if part is None or not part[1] & READ:
            break
        start, _, data = part
        found += data[address + len(found) - start :][: length - len(found)]
    return found


@effect("M2", otherwise=-errno.EIO)
def force(memory: Memory, address: int, length: int) -> bytes | int:
    """``/proc/TID/mem``: all that is mapped, whatever its protection; else -EIO."""
    found = b""
    while len(found) < length:
        part = mapped(memory, address + len(found))
        if part is None:
            break
        start, _, data = part
        found += data[address + len(found) - start :][: length - len(found)]
    return found if found or not length else -errno.EIO


@effect("M2")
def deliver(memory: Memory, address: int, data: bytes) -> None:
    """Put bytes into a mapping, whatever its protection."""
    poke(memory, address, data)


@effect("M5", otherwise=0)
def read_text(memory: Memory, address: int, limit: int) -> bytes | int:
    """A string up to its NUL: -EFAULT where it is not readable, -ENAMETOOLONG without NUL."""
    found = vm_read(memory, address, limit)
    text, nul, _ = found.partition(b"\0")
    if nul:
        return text
    return -errno.ENAMETOOLONG if len(found) == limit else -errno.EFAULT


def vm_write(memory: Memory, address: int, data: bytes) -> int:
    """process_vm_writev(2): -EFAULT where the first page cannot be written to."""
    part = mapped(memory, address)
    if part is None or not part[1] & WRITE or address + len(data) > part[0] + len(part[2]):
        return -errno.EFAULT
    poke(memory, address, data)
    return len(data)


def poke(memory: Memory, address: int, data: bytes) -> None:
    """A store by the program itself, into one mapping."""
    memory.parts = tuple(
        (start, protection, old[: address - start] + data + old[address - start + len(data) :])
        if start <= address < start + len(old)
        else (start, protection, old)
        for start, protection, old in memory.parts
    )
