"""A target's memory, read in pieces that cannot fail for the neighbour's sake.

Theory of operation. process_vm_readv(2) comes first: it honours PROT_NONE, so it
finds a bad address where the target itself would (M1). A sandbox around us may
refuse it, or ptrace rules may; then /proc/TID/mem is tried, which reads through
PROT_NONE (M2) but is bound to the address space at its opening.

A read never crosses a page on the way to a string's end: a string may end just
before an unmapped page (M5). An address is a number of 64 bits that the target
chose freely; what no target can have is a bad address, not an error of ours (M9).

The thread id may have been reused by the time we read. So each read is followed
by the question whether the notification still waits: if it does, its thread was
blocked all the time, and the id was its own (M6, P8). Otherwise what was read is
thrown away.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from struct import Struct
from struct import error as StructError
from typing import Final, TypeAlias, TypeVar

from unotify.abi.types import Address, Tid
from unotify.errors import (
    BadAddress,
    KernelError,
    LocalProtocolError,
    PathTooLong,
    TargetGone,
    Unsupported,
)
from unotify.kernel import native
from unotify.kernel._libc import libc
from unotify.kernel.stall import StallGuard

__all__ = ["MAX_READ", "LinuxMemory"]

MAX_READ: Final = 1 << 20
"""The most bytes of one read: a target must not make us fill our memory."""

_PAGE: Final = os.sysconf("SC_PAGESIZE")
_READ: Final = "process_vm_readv(2)"
_WRITE: Final = "process_vm_writev(2)"

T = TypeVar("T")


def _prototype(name: str) -> Callable[..., int]:
    function = libc[name]
    function.restype = ctypes.c_ssize_t
    function.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_ulong,
        ctypes.c_void_p,
        ctypes.c_ulong,
        ctypes.c_ulong,
    ]
    return function


_readv: Final = _prototype("process_vm_readv")
_writev: Final = _prototype("process_vm_writev")

# Two struct iovec: ours, and the target's.
_IOVECS: Final = Struct("@PNPN")


def _address_of(buffer: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


class _Scratch:
    # What a transfer needs, laid out once: making it anew costs more than the
    # transfer itself. Whoever uses one takes it off the list of free ones: other threads
    # run meanwhile, and a signal handler in this one may want to read, too.

    def __init__(self) -> None:
        self.iovecs = bytearray(_IOVECS.size)
        self.ours = _address_of(self.iovecs)
        self.theirs = self.ours + _IOVECS.size // 2
        self.page = bytearray(_PAGE)
        self.page_address = _address_of(self.page)

    def transfer(
        self, function: Callable[..., int], tid: int, ours: int, theirs: int, length: int
    ) -> int:
        """Copy between two addresses; the count, or a negative errno."""
        try:
            _IOVECS.pack_into(self.iovecs, 0, ours, length, theirs, length)
        except StructError:
            return -errno.EFAULT  # a 32-bit supervisor, a 64-bit address
        done = function(tid, self.ours, 1, self.theirs, 1, 0)
        return -ctypes.get_errno() if done < 0 else done

    def read(self, tid: int, address: int, length: int) -> tuple[int, bytes]:
        """As `transfer`; and what was read."""
        if length <= _PAGE:
            buffer, ours = self.page, self.page_address
        else:
            buffer = bytearray(length)
            ours = _address_of(buffer)
        done = self.transfer(_readv, tid, ours, address, length)
        return done, bytes(buffer[: max(done, 0)])

    def write(self, tid: int, address: int, data: bytes) -> int:
        """As `transfer`, of *data*."""
        length = len(data)
        if length <= _PAGE:
            self.page[:length] = data
            ours = self.page_address
        else:
            buffer = bytearray(data)
            ours = _address_of(buffer)
        return self.transfer(_writev, tid, ours, address, length)


_free: Final[list[_Scratch]] = []


_ReadString: TypeAlias = Callable[[int, int, int], bytes | None]


def _reader() -> _ReadString | None:
    try:
        read: _ReadString | None = (
            native.module().read_string if native.backend() == "native" else None
        )
    except Unsupported:
        return None  # whoever chooses a backend is told
    return read


_read_string: _ReadString | None = _reader()
"""The native part's; whose memory something is, is asked afterwards, as of each read."""


# What says that this way is closed, and not that the address is bad.
_REFUSED: Final = (errno.EPERM, errno.EACCES, errno.ENOSYS)


class LinuxMemory:
    """The memory of one blocked thread.

    Args:
        tid: The thread, as seen from here; not 0.
        still_valid: Tells whether its notification still waits.
        guard: Bounds what stalled reads cost (M4).
        tgid: The process of *tid*; asked for only by the *guard*.
    """

    __slots__ = ("_guard", "_mem", "_still_valid", "_tgid", "tid")

    def __init__(
        self,
        tid: Tid,
        still_valid: Callable[[], bool],
        *,
        guard: StallGuard | None = None,
        tgid: Callable[[], int] | None = None,
    ) -> None:
        self.tid = tid
        self._still_valid = still_valid
        self._guard = guard
        self._tgid = tgid
        self._mem: int | None = None

    def read(self, address: Address, length: int) -> bytes:
        """Read exactly *length* bytes, `MAX_READ` at most.

        Raises:
            BadAddress: One of them could not be read by the target either.
            TargetGone: Nobody waits any more; what was read is thrown away.
            KernelError: EPERM: we have no ptrace rights over the target (M3).
            LocalProtocolError: A negative *length*, or one above `MAX_READ`.
        """
        if not 0 <= length <= MAX_READ:
            raise LocalProtocolError(
                f"a read of {length} bytes", hint=f"read at most {MAX_READ} bytes at a time"
            )
        data = self._some(address, length) if length else b""
        self._check()
        if len(data) < length:
            raise BadAddress(f"address {address + len(data):#x} of thread {self.tid}")
        return data

    def read_string(self, address: Address, limit: int) -> bytes:
        """Read up to a NUL, which is not returned; at most *limit* bytes with it.

        Raises:
            PathTooLong: No NUL within *limit*.
            BadAddress: An unreadable byte before the NUL.
            TargetGone, KernelError: As :meth:`read`.
        """
        found = self._at_once(address, limit)
        if found is not None:
            self._check()
            return found
        found = b""
        while len(found) < limit:
            at = address + len(found)
            piece = min(_PAGE - at % _PAGE, limit - len(found))
            data = self._some(Address(at), piece)
            end = data.find(b"\0")
            if end >= 0:
                self._check()
                return found + data[:end]
            found += data
            if len(data) < piece:
                self._check()
                raise BadAddress(f"address {address + len(found):#x} of thread {self.tid}")
        self._check()
        raise PathTooLong(f"no NUL within {limit} bytes at {address:#x} of thread {self.tid}")

    def write(self, address: Address, data: bytes) -> None:
        """Write *data* where the target itself could; see M8 for when that is defensible.

        Raises:
            BadAddress: Some of it cannot be written; what was before it is.
            TargetGone: Nobody waits any more, so nothing was written.
            KernelError: As :meth:`read`.
        """
        if not data:
            return
        self._check()
        if not _plausible(address, len(data)):
            raise BadAddress(f"address {address:#x} of thread {self.tid}")
        scratch = _take_scratch()
        try:
            done = scratch.write(self.tid, address, data)
        finally:
            _free.append(scratch)
        if done == -errno.ESRCH:
            raise TargetGone(f"thread {self.tid} has ended")
        if done < 0 and done != -errno.EFAULT:
            raise KernelError(-done, _WRITE, hint=_rights_hint(-done))
        if done < len(data):
            raise BadAddress(f"address {address + max(done, 0):#x} of thread {self.tid}")

    def close(self) -> None:
        """Free what it holds; later use raises :exc:`TargetGone`."""
        # The two callables lead back to whoever made this: without them there is
        # no cycle, and all goes at once instead of at some collection.
        self._still_valid = _never
        self._tgid = None
        mem, self._mem = self._mem, None
        if mem is not None:
            os.close(mem)

    def _check(self) -> None:
        if not self._still_valid():
            raise TargetGone(f"thread {self.tid} does not wait for this call any more")

    def _at_once(self, address: Address, limit: int) -> bytes | None:
        """A string, if that is plain; who does not get it here finds out why."""
        read = _read_string
        if read is None or self._mem is not None or not _plausible(address, limit):
            return None
        return self._guarded(lambda: read(self.tid, address, limit))

    def _some(self, address: Address, length: int) -> bytes:
        """As many bytes as can be read, possibly none."""
        if not _plausible(address, length):
            return b""
        return self._guarded(lambda: self._read_some(address, length))

    def _guarded(self, read: Callable[[], T]) -> T:
        if self._guard is None:
            return read()
        return self._guard.call(read, self._tgid or (lambda: int(self.tid)))

    def _read_some(self, address: int, length: int) -> bytes:
        if self._mem is not None:
            return self._read_mem(address, length)
        scratch = _take_scratch()
        try:
            done, data = scratch.read(self.tid, address, length)
        finally:
            _free.append(scratch)
        if done >= 0 or done == -errno.EFAULT:
            return data  # short before an unreadable page (M1)
        if done == -errno.ESRCH:
            raise TargetGone(f"thread {self.tid} has ended")
        if -done in _REFUSED:
            self._mem = self._open_mem(-done)
            return self._read_mem(address, length)
        raise KernelError(-done, _READ)

    def _open_mem(self, refusal: int) -> int:
        try:
            mem = os.open(f"/proc/{self.tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise TargetGone(f"thread {self.tid} has ended") from None
        except OSError:
            self._check()  # else the number is somebody else's by now
            # The first refusal is the one to tell of.
            raise KernelError(refusal, _READ, hint=_rights_hint(refusal)) from None
        if not self._still_valid():
            os.close(mem)
            raise TargetGone(f"thread {self.tid} does not wait for this call any more")
        return mem

    def _read_mem(self, address: int, length: int) -> bytes:
        assert self._mem is not None
        data = b""
        while len(data) < length:
            at = address + len(data)
            piece = min(_PAGE - at % _PAGE, length - len(data))
            try:
                more = os.pread(self._mem, piece, at)
            except OSError as error:
                if error.errno in (errno.EIO, errno.EFAULT):
                    break
                raise KernelError(error.errno or errno.EIO, "pread(/proc/TID/mem)") from None
            if not more:
                raise TargetGone(f"thread {self.tid} has ended, or runs another program")
            data += more
        return data


def _never() -> bool:
    return False


def _plausible(address: int, length: int) -> bool:
    # Above that no user memory is, on any architecture, and os.pread overflows (M9).
    return address >= 0 and address + length <= 1 << 63


def _take_scratch() -> _Scratch:
    try:
        return _free.pop()
    except IndexError:
        return _Scratch()


def _rights_hint(number: int) -> str | None:
    if number in (errno.EPERM, errno.EACCES):
        return "the supervisor needs ptrace rights over the target: same user, or CAP_SYS_PTRACE"
    return None
