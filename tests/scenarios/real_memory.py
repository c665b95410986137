"""Looks into the memory of processes of the running kernel."""

from __future__ import annotations

import ctypes
import os
import struct

from tests.scenarios.real_words import libc, name_of

__all__ = ["RealMemory", "read_vm"]


def read_vm(tid: int, address: int, length: int) -> bytes | str:
    """process_vm_readv(2)."""
    buffer = ctypes.create_string_buffer(max(length, 1))
    ours = struct.pack("@PN", ctypes.addressof(buffer), length)
    theirs = struct.pack("@PN", address, length)
    found = libc.process_vm_readv(tid, ours, 1, theirs, 1, 0)
    return buffer.raw[:found] if found >= 0 else name_of(ctypes.get_errno())


class RealMemory:
    """``/proc/TID/mem``, open."""

    def __init__(self, pid: int) -> None:
        self.fd = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)

    def read(self, address: int, length: int) -> bytes | str:
        """pread(2)."""
        try:
            return os.pread(self.fd, length, address)
        except OSError as error:
            return name_of(error.errno or 0)

    def write(self, address: int, data: bytes) -> int | str:
        """pwrite(2)."""
        try:
            return os.pwrite(self.fd, data, address)
        except OSError as error:
            return name_of(error.errno or 0)

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)
