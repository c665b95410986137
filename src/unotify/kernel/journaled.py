"""A listener whose calls under way survive its supervisor.

It is a listener like any other, with a `Journal`: each notification is received into it, and leaves
it when it is answered (`unotify.protocol.journaling` has the order). Its descriptor and the
journal's are to be kept by somebody else too, before the first is received; a successor makes the
same of the copies, and gets back what was under way.

That costs two to four microseconds a call: the kernel has to write at an address, and
`fcntl.ioctl` would copy, after it has waited for the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from typing import Final, Self

from unotify.abi.structs import NotifSizes
from unotify.errors import KernelError
from unotify.kernel._libc import NATIVE, libc
from unotify.kernel.journal import Journal
from unotify.kernel.listener import LISTENER_LINK, LinuxListener, notif_sizes
from unotify.protocol.journaling import MOST_TRIES, Journaling

__all__ = ["MOST_TRIES", "JournaledListener", "Reserved"]

_RECV: Final = NATIVE.ioctls.recv

_ioctl = libc["ioctl"]
_ioctl.restype = ctypes.c_int
_ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]
_get_errno = ctypes.get_errno


class JournaledListener(Journaling, LinuxListener):
    """A listener with a journal; owns both descriptors.

    Args:
        fd: A listener, taken over. `from_fd` checks that it is one.
        journal: What its predecessor left, taken over; a new one if not given.
        sizes: The kernel's struct sizes; asked for if not given.
    """

    __slots__ = ("_slots", "journal")

    journal: Journal

    def __init__(
        self, fd: int, journal: Journal | None = None, *, sizes: NotifSizes | None = None
    ) -> None:
        sizes = notif_sizes() if sizes is None else sizes
        # Before the descriptor is ours: whoever fails here leaves it to the caller.
        self.journal = Journal.create(sizes.notif) if journal is None else journal
        self._slots: dict[int, int] = {}
        LinuxListener.__init__(self, fd, sizes=sizes)

    @classmethod
    def of(cls, listener: LinuxListener) -> Self:
        """The same with a new journal; *listener* is closed to whoever has it.

        Raises:
            KernelError: There is no room for a journal; *listener* is as it was.
        """
        made = cls(-1, sizes=listener.sizes)
        made._fd = listener.detach()
        return made

    @classmethod
    def revive(cls, fds: Sequence[int]) -> Self | None:
        """What a predecessor left, of copies of both descriptors, in any order; taken over.

        Returns:
            ``None`` if they are something else; they stay the caller's.
        """
        # The order in which they come back is the store's own.
        ordered = sorted(fds, key=lambda fd: _link(fd) != LISTENER_LINK)
        if len(ordered) != 2 or _link(ordered[0]) != LISTENER_LINK:
            return None
        try:
            journal = Journal.adopt(ordered[1])
        except KernelError:
            return None
        return cls(ordered[0], journal)

    _answer = LinuxListener.send
    _give = LinuxListener.add_fd
    is_valid = LinuxListener.is_valid

    def _receive_at(self, slot: int) -> memoryview | None:
        journal = self.journal
        address = journal.address(slot)
        while _ioctl(self._fd, _RECV, address):
            number = _get_errno()
            if number == errno.ENOENT:
                return None
            if number != errno.EINTR:
                raise KernelError(number, "ioctl(SECCOMP_IOCTL_NOTIF_RECV)")
        return journal.notification(slot)

    def reserve(self) -> Reserved | None:
        """A slot of the journal for somebody else to receive into; by who receives.

        ``None``: the journal is full, and cannot grow.
        """
        try:
            return Reserved(self, self._room())
        except KernelError:
            return None

    def close(self) -> None:
        """Close both; see `LinuxListener.close`. Other copies keep them alive (R3)."""
        super().close()
        self.journal.close()

    def detach(self) -> int:
        """Give the descriptor back and close the journal; see `LinuxListener.detach`."""
        fd = super().detach()
        self.journal.close()
        return fd


class Reserved:
    """A slot of a journal that is received into without Python, and emptied after the answer.

    Attributes:
        listener: Whose it is.
        address: Where in memory; valid as long as this is there, even if the journal is closed.
    """

    __slots__ = ("_memory", "_slot", "address", "listener")

    def __init__(self, listener: JournaledListener, slot: int) -> None:
        self.listener = listener
        self._slot = slot
        self._memory = listener.journal.notification(slot)
        self.address = listener.journal.address(slot)

    def used(self, notification: bytes) -> None:
        """*notification* is in it, and is to be answered by the listener."""
        self.listener.adopt(self._slot, notification)

    def give_back(self) -> None:
        """It is not used any more."""
        self.listener.journal.put_back(self._slot)


def _link(fd: int) -> str:
    try:
        return os.readlink(f"/proc/thread-self/fd/{fd}")
    except OSError:
        return ""
