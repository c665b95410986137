"""A listener whose calls under way survive its supervisor.

It is a listener like any other, with a `Journal`: each notification is received into it, and leaves
it when it is answered. Its descriptor and the journal's are to be kept by somebody else too, before
the first is received; a successor makes the same of the copies, and gets back what was under way.

That costs two to four microseconds a call: the kernel has to write at an address, and
`fcntl.ioctl` would copy, after it has waited for the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import errno
from struct import Struct
from typing import Final

from unotify.abi.structs import NotifSizes
from unotify.abi.types import NotificationId
from unotify.errors import KernelError, TargetGone
from unotify.kernel._libc import NATIVE, libc
from unotify.kernel.journal import Journal
from unotify.kernel.listener import LinuxListener, notif_sizes
from unotify.protocol import Exchange, Fail
from unotify.protocol.codec import pad_response

__all__ = ["MOST_TRIES", "JournaledListener"]

MOST_TRIES: Final = 5
"""How many supervisors may begin to serve a call; who comes after them refuses it."""

_RECV: Final = NATIVE.ioctls.recv
_ID: Final = Struct("=Q")
_id_of = _ID.unpack_from

_ioctl = libc["ioctl"]
_ioctl.restype = ctypes.c_int
_ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]
_get_errno = ctypes.get_errno


class JournaledListener(LinuxListener):
    """A listener with a journal; owns both descriptors.

    Args:
        fd: A listener, taken over. `from_fd` checks that it is one.
        journal: What its predecessor left, taken over; a new one if not given.
        sizes: The kernel's struct sizes; asked for if not given.
    """

    __slots__ = ("_slots", "journal")

    def __init__(
        self, fd: int, journal: Journal | None = None, *, sizes: NotifSizes | None = None
    ) -> None:
        sizes = notif_sizes() if sizes is None else sizes
        # Before the descriptor is ours: whoever fails here leaves it to the caller.
        self.journal = Journal.create(sizes.notif) if journal is None else journal
        self._slots: dict[int, int] = {}
        super().__init__(fd, sizes=sizes)

    @property
    def under_way(self) -> int:
        """How many calls were received and not answered."""
        return len(self._slots)

    def recover(self) -> tuple[list[bytes], list[bytes]]:
        """Look what the predecessor left; once, and before anything is received.

        Returns:
            Notifications to serve again, and those that `MOST_TRIES` supervisors have died of,
            which should be refused. Whoever does not wait any more is in neither.
        """
        again: list[bytes] = []
        hopeless: list[bytes] = []
        for slot, notification, tries in self.journal.entries():
            (number,) = _id_of(notification)
            # Not valid: answered, dead, or never quite received (N6, N9).
            if len(notification) == self._size and self.is_valid(NotificationId(number)):
                self._slots[number] = slot
                self.journal.tried(slot)
                (again if tries + 1 < MOST_TRIES else hopeless).append(notification)
            else:
                self.journal.put_back(slot)
        return again, hopeless

    def receive_into(self, buffer: bytearray) -> bool:
        """Receive the oldest pending notification; see `LinuxListener.receive_into`.

        It is in the journal as soon as the kernel has handed it out.

        Raises:
            KernelError: As there; ENOMEM: the journal is full and cannot grow.
        """
        journal = self.journal
        slot = journal.take()
        while slot is None:
            self._make_room()
            slot = journal.take()
        address = journal.address(slot)
        while _ioctl(self._fd, _RECV, address):
            number = _get_errno()
            if number != errno.EINTR:
                journal.put_back(slot)
                if number == errno.ENOENT:
                    return False
                raise KernelError(number, "ioctl(SECCOMP_IOCTL_NOTIF_RECV)")
        buffer[:] = journal.notification(slot)
        self._slots[_id_of(buffer)[0]] = slot
        return True

    def send(self, response: bytes | bytearray) -> bool:
        """Answer; see `LinuxListener.send`. Then the journal has it no more."""
        taken = super().send(response)
        self._forget(_id_of(response)[0])
        return taken

    def add_fd(
        self, id: NotificationId, fd: int, *, at: int | None = None, cloexec: bool = False
    ) -> int:
        """Put a copy of *fd* into the target; see `LinuxListener.add_fd`."""
        try:
            return super().add_fd(id, fd, at=at, cloexec=cloexec)
        except TargetGone:
            self._forget(id)
            raise

    def refuse(self, notification: bytes, number: int) -> bool:
        """Answer *notification* with the errno *number*; False if nobody waits for it."""
        response = Exchange(notification).answer(Fail(number))
        return self.send(pad_response(response, self.sizes))

    def close(self) -> None:
        """Close both; see `LinuxListener.close`. Other copies keep them alive (R3)."""
        super().close()
        self.journal.close()

    def detach(self) -> int:
        """Give the descriptor back and close the journal; see `LinuxListener.detach`."""
        fd = super().detach()
        self.journal.close()
        return fd

    def _forget(self, number: int) -> None:
        slot = self._slots.pop(number, None)
        if slot is not None:
            self.journal.put_back(slot)

    def _make_room(self) -> None:
        # A target may die while its call is with a handler that never answers.
        gone = [id for id in list(self._slots) if not self.is_valid(NotificationId(id))]
        for number in gone:
            self._forget(number)
        if not gone:
            self.journal.grow()
