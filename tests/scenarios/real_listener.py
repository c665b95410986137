"""A listener of the running kernel: raw ioctls."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import select
import sys
from typing import TYPE_CHECKING

from tests.scenarios.language import Seen
from tests.scenarios.real_waiting import Job, until
from tests.scenarios.real_words import ioctl, libc, said
from unotify.abi.structs import NOTIF, RESPONSE

if TYPE_CHECKING:
    from tests.scenarios.real import RealStage

__all__ = ["RealListener"]


def receive(fd: int) -> Seen | str:
    """RECV."""
    buffer = ctypes.create_string_buffer(80)
    found = ioctl(fd, 0xC0502100, buffer)
    if isinstance(found, str):
        return found
    id, pid, flags, nr, arch, ip, *args = NOTIF.unpack(buffer.raw)
    return Seen(id, pid, flags, nr, arch, ip, tuple(args))


class RealListener:
    """The supervisor's end."""

    def __init__(self, stage: RealStage, fd: int) -> None:
        self.stage, self.fd = stage, fd
        self.epoll: select.epoll | None = None

    def receive(self) -> Seen:
        """The oldest."""
        while True:
            until(lambda: "IN" in self.poll(), "a notification")
            found = self.recv()
            if found != "ENOENT":  # it may have ended meanwhile (N8)
                assert isinstance(found, Seen), found
                return found

    def recv(self, buffer: str = "clean") -> Seen | str:
        """RECV that does not sleep."""
        if buffer == "clean":
            return receive(self.fd)
        if buffer == "dirty":
            dirty = ctypes.create_string_buffer(b"\0" * 79 + b"\1", 80)
            return said(ioctl(self.fd, 0xC0502100, dirty))
        address = None
        if buffer == "read-only":
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            address = ctypes.c_void_p(libc.mmap(None, 4096, mmap.PROT_READ, flags, -1, 0))
        found = said(ioctl(self.fd, 0xC0502100, address))
        if address is not None:
            libc.munmap(address, 4096)
        return found

    def recv_later(self) -> Job:
        """RECV that sleeps."""
        fd = self.fd
        return Job(lambda: receive(fd), "0xc0502100")

    def send(self, id: int, value: int = 0, error: int = 0, flags: int = 0) -> str:
        """SEND."""
        return said(ioctl(self.fd, 0xC0182101, RESPONSE.pack(id, value, error, flags)))

    def send_nothing(self) -> str:
        """SEND of a bad pointer."""
        return said(ioctl(self.fd, 0xC0182101, None))

    def valid(self, id: int, *, old: bool = False) -> str:
        """ID_VALID."""
        word = ctypes.c_uint64(id)
        return said(ioctl(self.fd, 0x80082102 if old else 0x40082102, ctypes.byref(word)))

    def addfd(
        self,
        id: int,
        *,
        source: str = "file",
        flags: int = 0,
        newfd: int = 0,
        newfd_flags: int = 0,
        size: int = 24,
        dirty: bool = False,
    ) -> int | str:
        """ADDFD."""
        made = -1
        if source == "path":
            made = os.open("/etc/hostname", os.O_PATH)
        fd = {"file": self.stage.source, "path": made, "closed": 999, "listener": self.fd}[source]
        raw = id.to_bytes(8, sys.byteorder) + b"".join(
            (word & 0xFFFFFFFF).to_bytes(4, sys.byteorder)
            for word in (flags, fd, newfd, newfd_flags)
        )
        raw = raw.ljust(max(size, 24), b"\0")
        if dirty:
            raw = raw[:-1] + b"\1"
        try:
            return ioctl(self.fd, 0x40002103 | size << 16, raw)
        finally:
            if made >= 0:
                os.close(made)

    def set_flags(self, flags: int) -> str:
        """SET_FLAGS."""
        return said(ioctl(self.fd, 0x40082104, ctypes.c_ulong(flags)))

    def other(self, number: int) -> str:
        """An ioctl on zeros."""
        return said(ioctl(self.fd, number, ctypes.create_string_buffer(4096)))

    def plain(self, operation: str) -> str:
        """No ioctl."""
        try:
            match operation:
                case "read":
                    os.read(self.fd, 1)
                case "write":
                    os.write(self.fd, b"x")
                case "lseek":
                    os.lseek(self.fd, 0, 0)
                case "mmap":
                    mmap.mmap(self.fd, 4096, prot=mmap.PROT_READ)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return ""

    def link(self) -> str:
        """As /proc says."""
        return os.readlink(f"/proc/self/fd/{self.fd}")

    def cloexec(self) -> bool:
        """The flag of the descriptor."""
        return bool(fcntl.fcntl(self.fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC)

    def poll(self) -> set[str]:
        """The bits."""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN | select.POLLOUT)
        bits = sum(mask for _, mask in poller.poll(0))
        names = (("IN", select.POLLIN), ("OUT", select.POLLOUT), ("HUP", select.POLLHUP))
        return {name for name, bit in names if bits & bit}

    def edges(self) -> int:
        """Events since the last look."""
        if self.epoll is None:
            self.epoll = select.epoll()
            self.epoll.register(self.fd, select.EPOLLIN | select.EPOLLET)
        return len(self.epoll.poll(0))

    def until(self, *bits: str) -> None:
        """Wait."""
        until(lambda: self.poll() == set(bits), f"poll {bits}")

    def copy(self) -> RealListener:
        """dup(2)."""
        self.stage.listeners.append(RealListener(self.stage, os.dup(self.fd)))
        return self.stage.listeners[-1]

    def close(self) -> None:
        """Close it."""
        fd, self.fd = self.fd, -1
        if self.epoll is not None:
            self.epoll.close()
        if fd >= 0:
            os.close(fd)
