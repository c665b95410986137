"""Notifications that were received and not answered, in memory that outlives the process.

Theory of operation. Once a notification was received nobody is told of it again: if its supervisor
dies, the target waits for an answer until the last copy of the listener is closed (R3, R4). So what
was received must be where the successor finds it, at every moment. A journal is a file in memory
(memfd_create(2)), whose descriptor somebody else holds too; it has slots, and the kernel itself
writes a notification into one: RECV is given the slot's address. Between the kernel's "it is
received" and "it is written down" there is then no moment at which a process can die: if the copy
fails, the notification goes back to where it was (N6). A slot is cleared after SEND. Who died in
between leaves a notification that nobody waits for any more, which ID_VALID tells (N9).

The file begins with a page that says what it is, and two areas for a *record*: what whoever serves
the listener wants to know of it. A new record goes into the area that is not in use, and one write
of eight bytes makes it the one that is. Pages that nobody touched take no memory.

`unotify.kernel.journaled` has the listener that works with it.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections import deque
from struct import Struct
from struct import error as StructError
from typing import Final, Self

from unotify.abi.structs import NOTIF
from unotify.errors import KernelError
from unotify.protocol.journaling import Entry

__all__ = ["MOST_RECORD", "Entry", "Journal"]

MOST_RECORD: Final = 1 << 20
"""The most bytes of a record."""

_MAGIC: Final = b"unotify\1"
_HEAD: Final = Struct("=8sII")  # magic, bytes of a notification, bytes of a slot
_CURRENT: Final = Struct("=II")  # which area, and how much of it
_COUNT: Final = Struct("=I")
_CURRENT_AT: Final = _HEAD.size
_AREAS: Final = 4096
_SLOTS: Final = _AREAS + 2 * MOST_RECORD
_LINE: Final = 64  # of a processor's cache
_LARGEST: Final = 4096
_FIRST: Final = 64
"""Slots of a new journal; there are twice as many whenever they do not suffice."""

_MOST_SLOTS: Final = 1 << 16


class Journal:
    """One listener's journal; owns its descriptor. Thread-safe, but for `grow` and `close`.

    Made by `create`, or by `adopt` from what somebody left.

    Attributes:
        size: Bytes of a notification.
    """

    def __init__(self, fd: int, size: int, stride: int) -> None:
        self._fd = fd
        self.size = size
        self._stride = stride
        self._maps: list[mmap.mmap] = []
        self._views: list[memoryview] = []
        self._addresses: list[int] = []
        self._free: deque[int] = deque()
        self._blank = bytes(stride)

    @classmethod
    def create(cls, size: int, record: bytes = b"") -> Self:
        """Make an empty journal.

        Args:
            size: Bytes of this kernel's ``struct seccomp_notif``.
            record: What to say about the listener.

        Raises:
            KernelError: No descriptors or no memory are left.
            ValueError: *record* is longer than `MOST_RECORD`.
        """
        stride = -(-(size + _COUNT.size) // _LINE) * _LINE
        try:
            fd = os.memfd_create("unotify-journal", os.MFD_CLOEXEC)
        except OSError as error:
            raise KernelError(error.errno or errno.EMFILE, "memfd_create(2)") from error
        journal = cls(fd, size, stride)
        try:
            os.pwrite(fd, _HEAD.pack(_MAGIC, size, stride), 0)
            journal.record = record
            journal._extend(_FIRST)
        except OSError as error:
            journal.close()
            raise KernelError(error.errno or errno.ENOMEM, "mmap(2)") from error
        except BaseException:
            journal.close()
            raise
        journal._free.extend(reversed(range(_FIRST)))
        return journal

    @classmethod
    def adopt(cls, fd: int) -> Self:
        """Take over what a predecessor left; see `entries` for what is in it.

        Raises:
            KernelError: EINVAL when *fd* is no journal; it stays the caller's.
        """
        try:
            magic, size, stride = _HEAD.unpack(os.pread(fd, _HEAD.size, 0))
            length = os.fstat(fd).st_size
        except (OSError, StructError) as error:
            raise KernelError(errno.EINVAL, "pread(2)", f"descriptor {fd} is no journal") from error
        count, rest = divmod(length - _SLOTS, stride) if stride else (0, 1)
        fits = NOTIF.size <= size <= stride - _COUNT.size and stride <= _LARGEST
        if magic != _MAGIC or not fits or rest or not 0 < count <= _MOST_SLOTS:
            raise KernelError(errno.EINVAL, "pread(2)", f"descriptor {fd} is no journal")
        journal = cls(fd, size, stride)
        try:
            journal._map(0, count)
        except (OSError, ValueError) as error:
            raise KernelError(errno.EINVAL, "mmap(2)", f"descriptor {fd} is no journal") from error
        os.set_inheritable(fd, False)
        used = {entry.slot for entry in journal.entries()}
        journal._free.extend(slot for slot in reversed(range(count)) if slot not in used)
        return journal

    def fileno(self) -> int:
        """The descriptor, for those who keep a copy; -1 once closed."""
        return self._fd

    def __len__(self) -> int:
        """How many slots there are."""
        return len(self._addresses)

    # -- the record ----------------------------------------------------------

    @property
    def record(self) -> bytes:
        """What is said about the listener. Setting it is whole or not at all, whoever dies."""
        which, length = self._current()
        return os.pread(self._fd, min(length, MOST_RECORD), _AREAS + which * MOST_RECORD)

    @record.setter
    def record(self, record: bytes) -> None:
        if len(record) > MOST_RECORD:
            raise ValueError(f"a record has {MOST_RECORD} bytes at most, not {len(record)}")
        which = 1 - self._current()[0]
        view, at = memoryview(record), _AREAS + which * MOST_RECORD
        while view:
            written = os.pwrite(self._fd, view, at)
            view, at = view[written:], at + written
        os.pwrite(self._fd, _CURRENT.pack(which, len(record)), _CURRENT_AT)

    def _current(self) -> tuple[int, int]:
        which, length = _CURRENT.unpack(
            os.pread(self._fd, _CURRENT.size, _CURRENT_AT).ljust(_CURRENT.size, b"\0")
        )
        return which & 1, length

    # -- slots ---------------------------------------------------------------

    def take(self) -> int | None:
        """A free slot, all zero; ``None`` if there is none: `grow`."""
        try:
            return self._free.pop()
        except IndexError:
            return None

    def put_back(self, slot: int) -> None:
        """Clear *slot*: it is free again. Nothing happens once closed."""
        try:
            self._views[slot][:] = self._blank
        except IndexError:
            return
        self._free.append(slot)

    def write(self, slot: int, notification: bytes) -> None:
        """Put *notification*, which somebody else has received, into *slot*."""
        self._views[slot][: self.size] = notification

    def grow(self) -> None:
        """Make as many slots again as there are.

        Raises:
            KernelError: ENOMEM, or there are 65,536 already.
        """
        count = len(self)
        if count >= _MOST_SLOTS:
            raise KernelError(errno.ENOMEM, "mmap(2)", f"a journal is full with {count} calls")
        try:
            self._extend(count)
        except OSError as error:
            raise KernelError(error.errno or errno.ENOMEM, "mmap(2)") from error
        self._free.extendleft(range(count, 2 * count))

    def address(self, slot: int) -> int:
        """Where in memory *slot* is, for RECV."""
        return self._addresses[slot]

    def notification(self, slot: int) -> memoryview:
        """What is in *slot*, at its place."""
        return self._views[slot][: self.size]

    def entries(self) -> list[Entry]:
        """All slots that are not empty."""
        found = []
        for slot, view in enumerate(self._views):
            notification = bytes(view[: self.size])
            if any(notification):
                (tries,) = _COUNT.unpack_from(view, self._stride - _COUNT.size)
                found.append(Entry(slot, notification, tries))
        return found

    def tried(self, slot: int) -> None:
        """Note that one more has begun to serve what is in *slot*."""
        view, at = self._views[slot], self._stride - _COUNT.size
        _COUNT.pack_into(view, at, min(_COUNT.unpack_from(view, at)[0] + 1, 0xFFFF))

    def _extend(self, count: int) -> None:
        first = len(self)
        os.ftruncate(self._fd, _SLOTS + (first + count) * self._stride)
        self._map(first, count)

    def _map(self, first: int, count: int) -> None:
        # A mapping begins at a page, a slot perhaps not.
        start = _SLOTS + first * self._stride
        skip = start % mmap.ALLOCATIONGRANULARITY
        area = mmap.mmap(self._fd, skip + count * self._stride, offset=start - skip)
        base = ctypes.addressof(ctypes.c_char.from_buffer(area))
        whole = memoryview(area)
        self._maps.append(area)
        for number in range(count):
            at = skip + number * self._stride
            self._views.append(whole[at : at + self._stride])
            self._addresses.append(base + at)

    def close(self) -> None:
        """Close it here; closing twice is fine. Nobody may be receiving.

        Raises nothing. Other copies of the descriptor keep what is in it.
        """
        fd, self._fd = self._fd, -1
        self._addresses.clear()
        self._free.clear()
        self._views.clear()
        self._maps.clear()  # unmapped with the last view of them
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.close()

    def __repr__(self) -> str:
        state = "closed" if self._fd < 0 else f"fd={self._fd} slots={len(self)}"
        return f"<Journal {state}>"
