"""A target thread: who it is, its memory, and acting for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from unotify.abi.types import Address, Tid
from unotify.calls.acts import Act
from unotify.calls.lookups import Spot

__all__ = ["Done", "Memory", "Pinned", "Thread"]


class Memory(Protocol):
    """One target's memory; each result is a snapshot that the target may change meanwhile."""

    def read(self, address: Address, length: int) -> bytes:
        """Read exactly *length* bytes; raises :exc:`BadAddress`, :exc:`TargetGone`."""

    def read_string(self, address: Address, limit: int) -> bytes:
        """Read up to a NUL, which is not returned; at most *limit* bytes with it.

        Raises:
            PathTooLong: No NUL within *limit*.
            BadAddress: An unreadable byte before the NUL.
        """

    def write(self, address: Address, data: bytes) -> None:
        """Write *data*; defensible only under WAIT_KILLABLE_RECV (M8)."""


class Pinned(Protocol):
    """What a path names, held so that nobody can put something else there."""

    @property
    def text(self) -> str:
        """Its path, as seen from the target's root; old at once."""

    def close(self) -> None:
        """Let it go."""


class Done(Protocol):
    """What came of an act."""

    @property
    def value(self) -> int:
        """The result, or a negative errno."""

    @property
    def fd(self) -> int:
        """A new descriptor, which is the caller's; -1 for none."""

    @property
    def outs(self) -> Mapping[str, bytes]:
        """What was written, by argument."""


class Thread(Protocol):
    """A blocked target thread, opened once and then immune to pid reuse (P8)."""

    @property
    def tid(self) -> Tid:
        """Its id, as seen from here."""

    @property
    def tgid(self) -> int:
        """The process it belongs to, as seen from here."""

    @property
    def memory(self) -> Memory:
        """Its memory."""

    def fileno(self) -> int:
        """A pidfd of the thread (of its process before Linux 6.9)."""

    def comm(self) -> str:
        """The thread's name, up to 15 characters."""

    def ids(self) -> tuple[int, int]:
        """Its effective user and group id, as our user namespace numbers them."""

    def started(self) -> int:
        """When its process started, in clock ticks: with `tgid`, a name that is not reused."""

    def exe(self) -> str:
        """The path of the program that it runs, as seen from here."""

    def cgroup(self) -> str:
        """Its path in the unified hierarchy of cgroups; empty without one."""

    def fd_kind(self, fd: int) -> str:
        """One of file, directory, socket, pipe, char, block, anon (no type), none (not open)."""

    def fd_path(self, fd: int) -> str:
        """What its descriptor *fd* is open on, as ``/proc/PID/fd`` says; empty if it is not."""

    def defer(self) -> None:
        """Ask only in `act` whether it still waits, for all that is looked at until then."""

    def forget(self) -> None:
        """Ask at once again, if `act` was never reached."""

    def pin(self, spot: Spot) -> Pinned:
        """Find out what *spot* names, and hold it; the caller closes it.

        Raises:
            Refused: The kernel would refuse the path too; has its errno.
        """

    def act(self, act: Act, pins: Mapping[str, Any]) -> Done:
        """Do *act* as this thread would, with its rights and not with ours.

        Args:
            act: What.
            pins: Paths that `pin` was asked about already, by argument.

        Raises:
            TargetGone: It does not wait any more.
            TargetError: It cannot be done; has the errno that the target gets.
        """

    def rights(self) -> Any:
        """Its credentials and umask: a `unotify.kernel.rights.Rights`."""

    def argv(self) -> tuple[bytes, ...]:
        """The arguments of its program."""

    def namespaces(self) -> dict[str, int]:
        """The inode numbers of its namespaces, by their kind."""

    def directory(self, name: str) -> str:
        """Its ``cwd`` as seen from its root, or its ``root`` as seen from ours."""

    def fd_flags(self, fd: int) -> int:
        """The flags of its descriptor *fd*, O_CLOEXEC among them; -1 if it has none."""

    def around(self, container: str | None) -> Any:
        """What surrounds it: a `unotify.kernel.surroundings.Surroundings`.

        Args:
            container: The user namespace that its container began in, as its link says; empty if
                nobody told, ``None`` for ours.
        """

    def kill(self) -> None:
        """Send SIGKILL to its process, and to no other."""

    def steal_fd(self, fd: int) -> int:
        """Duplicate the target's descriptor *fd* with pidfd_getfd(2)."""

    def close(self) -> None:
        """Free it; later use raises :exc:`TargetGone`."""
