"""Into a target: its memory and its descriptors."""

from __future__ import annotations

from unotify.abi.types import Address
from unotify.errors import Unsupported
from unotify.kernel.interface import Memory
from unotify.supervisor.opened import Opened

__all__ = ["Reaching"]


class Reaching(Opened):
    """What a :class:`unotify.Target` reads, writes and duplicates; reading marks the call."""

    __slots__ = ()

    def read(self, address: Address, length: int) -> bytes:
        """Read exactly *length* bytes of its memory, and mark the call.

        Raises:
            BadAddress: It could not read that itself; propagates as ``EFAULT``.
            TargetGone: It does not wait any more; what was read is thrown away.
        """
        return self._mark().memory.read(address, length)

    def read_string(self, address: Address, limit: int = 4096) -> bytes:
        """Read up to a NUL, at most *limit* bytes with it, and mark the call.

        Raises:
            PathTooLong: No NUL within *limit*; propagates as ``ENAMETOOLONG``.
            BadAddress: An unreadable byte before the NUL.
            TargetGone: It does not wait any more.
        """
        return self._mark().memory.read_string(address, limit)

    @property
    def observer(self) -> Memory:
        """Its memory, without marking the call; for those who only look."""
        return self._open().memory

    def write(self, address: Address, data: bytes) -> None:
        """Write to its memory: only defensible where it cannot be interrupted (M8).

        Without WAIT_KILLABLE_RECV the call may have been interrupted since the
        last check, and the address reused for something else.

        Raises:
            Unsupported: The filter was installed without it, or nobody knows.
            BadAddress: It could not write there itself.
            TargetGone: It does not wait any more.
        """
        self.require_quiet()
        self._open().memory.write(address, data)

    def require_quiet(self) -> None:
        """Raise :exc:`Unsupported` where writing to its memory is not defensible (M8)."""
        if not self._quiet:
            raise Unsupported(
                "wait-killable-recv",
                "seccomp(2)",
                "an answer in the target's memory needs a filter with WAIT_KILLABLE_RECV (M8)",
                hint="Linux 5.19 has it; of an attached listener say attach(wait_killable=True), "
                "of a container's `unotify profile --wait-killable`",
            )

    def fd_kind(self, fd: int) -> str:
        """What kind of thing its descriptor *fd* is open on; marks the call.

        ``file``, ``directory``, ``socket``, ``pipe``, ``char``, ``block``, ``anon`` for what
        has no name (an eventfd, a pidfd ...), or ``none``. Another thread may put something
        else there meanwhile.
        """
        return self._mark().fd_kind(fd)

    def fd_path(self, fd: int) -> str:
        """What its descriptor *fd* is open on, as ``/proc/PID/fd`` says; marks the call.

        Empty if it is not open.
        """
        return self._mark().fd_path(fd)

    def fd_flags(self, fd: int) -> int:
        """The flags of its descriptor *fd*, O_CLOEXEC among them; -1 if it has none."""
        return self._mark().fd_flags(fd)

    def fileno(self) -> int:
        """A pidfd of the thread (of its process before Linux 6.9); valid until the reply."""
        return self._open().fileno()

    def steal_fd(self, fd: int) -> int:
        """Duplicate the target's descriptor *fd* into the supervisor; the caller closes it.

        Raises:
            TargetGone: The target does not wait any more.
            KernelError: EBADF if it has no such descriptor; EPERM without
                ptrace rights over it.
        """
        return self._open().steal_fd(fd)
